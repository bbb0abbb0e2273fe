"""The control database: one SQLite file that several processes change at the same time."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, select, update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from otel_audit.exporter.store.partition import DEFAULT_REGION, OPERATOR
from otel_audit.instrumentation.errors import AuditError

from .tables import METADATA, SCHEMA, SCHEMA_VERSION, TENANTS

FILE_NAME: Final = "control.sqlite"

# Longer than any transaction here lasts, shorter than a client waits for an answer.
BUSY_TIMEOUT_MS: Final = 5_000
# Worker threads of the server are limited to fewer than this, so that none waits for a connection.
_POOL: Final = {"pool_size": 8, "max_overflow": 56, "pool_timeout": 5}
# SQLite makes files beside the database to read it, and an administrator's change takes a few pages.
_ROOM_BYTES_MIN: Final = 1 << 20
_WRITE: Final = "otel_audit_write"


class ControlUnavailable(AuditError):
    """The control database cannot answer now: to a client this is 503, never 401."""


class ControlTooNew(AuditError):
    """The control database was written by a newer release."""


class ControlMissing(AuditError):
    """There is no control database where one was expected."""


class ControlDatabase:
    """Transactions on the control database; every commit is durable when it returns.

    Safe for any number of threads and processes on one machine (SQLite's write-ahead log needs shared
    memory, so not over a network file system).
    """

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._writer = engine.execution_options(**{_WRITE: True})
        self.path = path

    @classmethod
    def open(
        cls, path: Path, *, create: bool = True, operator_region: str = DEFAULT_REGION
    ) -> ControlDatabase:
        """Open the file, making it (mode 0600) and its tables when `create` says so.

        operator_region: where a new database pins the operator's own tenant.
        Raises ControlMissing (no file and not create), ControlTooNew, ControlUnavailable.
        """
        if not path.exists():
            if not create:
                raise ControlMissing(
                    f"no control database at {path}",
                    hint="check --data-dir; 'otel-audit tenant add' or 'otel-audit serve' makes one",
                )
            _make_file(path)
        engine = create_engine(
            f"sqlite+pysqlite:///{path}",
            connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False},
            hide_parameters=True,
            **_POOL,
        )
        event.listen(engine, "connect", _on_connect)
        event.listen(engine, "begin", _on_begin)
        database = cls(engine, path)
        try:
            database._prepare(operator_region)
        except BaseException:
            engine.dispose()
            raise
        return database

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view of the database. Raises ControlUnavailable."""
        with self._transaction(self._engine) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that holds the write lock from its start: all or nothing, durable on return.

        Waits up to BUSY_TIMEOUT_MS for other writers. Raises ControlUnavailable.
        """
        with self._transaction(self._writer) as connection:
            yield connection

    def copy_to(self, path: Path) -> None:
        """Copy the database as it is now into a new file (mode 0600) while others go on changing it.

        Raises ControlUnavailable.
        """
        _make_file(path)
        source = self._engine.raw_connection()
        try:
            # SQLite's online backup, all pages in one step: a reader, so no writer waits for it.
            with contextlib.closing(sqlite3.connect(path)) as target:
                source.driver_connection.backup(target)  # type: ignore[union-attr]
        except sqlite3.Error as error:
            raise ControlUnavailable(
                f"cannot copy {self.path}: {error}", hint="check both disks and try again"
            ) from error
        finally:
            source.close()

    def close(self) -> None:
        """Close every connection; using the database afterwards opens new ones."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        try:
            with engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise _unavailable(self.path, error) from error

    def _prepare(self, operator_region: str) -> None:
        with self.read() as connection:
            found = _version(connection)
        if found is None:
            _switch_to_wal(self._engine, self.path)
            with self.write() as connection:
                # Another process may have made the tables while this one waited for the lock.
                found = _version(connection)
                if found is None:
                    _make_tables(connection, operator_region)
                    found = SCHEMA_VERSION
        if found < SCHEMA_VERSION:
            with self.write() as connection:
                found = _upgrade(connection)
        if found > SCHEMA_VERSION:
            raise ControlTooNew(
                f"{self.path} has schema {found}, this otel-audit reads up to {SCHEMA_VERSION}",
                hint="run the release that wrote it, or a newer one",
            )


def _make_file(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        # SQLite gives its -wal and -shm files the mode of this one.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise ControlUnavailable(
            f"cannot make {path}: {error.strerror}", hint="check --data-dir, its owner and the free space"
        ) from error


def _make_tables(connection: Connection, operator_region: str) -> None:
    METADATA.create_all(connection)
    connection.execute(insert(SCHEMA).values(version=SCHEMA_VERSION))
    connection.execute(
        insert(TENANTS).values(
            id=OPERATOR,
            region=operator_region,
            retention='{"rag":3,"standard":6}',
            retention_pending="{}",
            export_rate="10/h",
            created_at=time.time(),
        )
    )


def _upgrade(connection: Connection) -> int:
    """Bring an older database up to date; its version afterwards."""
    # Another process, maybe of a newer release, may have done so while this one waited for the lock.
    found = _version(connection)
    if found is not None and found >= SCHEMA_VERSION:
        return found
    # Every version so far only added tables.
    METADATA.create_all(connection)
    connection.execute(update(SCHEMA).values(version=SCHEMA_VERSION))
    return SCHEMA_VERSION


def _version(connection: Connection) -> int | None:
    if not inspect(connection).has_table(SCHEMA.name):
        return None
    version = connection.execute(select(SCHEMA.c.version)).scalar_one_or_none()
    return None if version is None else int(version)


def _switch_to_wal(engine: Engine, path: Path) -> None:
    """The journal mode stays with the file; SQLite's busy timeout does not cover this one statement."""
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        connection = engine.raw_connection()
        try:
            mode = connection.cursor().execute("PRAGMA journal_mode=WAL").fetchone()
        except engine.dialect.loaded_dbapi.OperationalError as error:
            locked = "locked" in str(error)
            if not locked or time.monotonic() > deadline:
                hint = "another process holds it; try again" if locked else disk_trouble(path.parent)
                raise ControlUnavailable(
                    f"cannot prepare {path}: {error}", hint=hint or "check the disk of the data directory"
                ) from error
            mode = None
        finally:
            connection.close()
        if mode is not None:
            if mode[0] == "wal":
                return
            raise ControlUnavailable(
                f"{path} cannot use a write-ahead log", hint="put the data directory on a local disk"
            )
        time.sleep(0.02)


def _on_connect(dbapi_connection: Any, _record: Any) -> None:
    # Transactions are begun by _on_begin alone; the driver's own idea of them is switched off.
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _on_begin(connection: Connection) -> None:
    # A lock taken late, after reading, could only fail; so a change takes the write lock at its start.
    writing = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def disk_trouble(folder: Path) -> str:
    """What keeps anything from being written to the disk of `folder`, as a hint; empty when nothing does."""
    with contextlib.suppress(OSError):
        about = os.statvfs(folder)
        if about.f_flag & os.ST_RDONLY:
            return "its disk is mounted read-only: mount it writable; 'verify' and 'checkpoint' work as it is"
        if about.f_bavail * about.f_frsize < _ROOM_BYTES_MIN:
            return "its disk is full: make room and run the command again; 'verify' works as it is"
    return ""


def _unavailable(path: Path, error: SQLAlchemyError) -> ControlUnavailable:
    # SQLAlchemy's own text quotes the statement; the driver's names the cause only.
    cause = str(error.orig) if isinstance(error, DBAPIError) else type(error).__name__
    if "locked" in cause:
        hint = "another process is changing it; try again"
    elif trouble := disk_trouble(path.parent):
        hint = trouble
    elif "readonly" in cause or "unable to open" in cause:
        hint = "check the owner and mode of the data directory"
    elif "not a database" in cause or "malformed" in cause:
        hint = "restore the control database from a backup"
    else:
        hint = "check the disk of the data directory and its free space"
    return ControlUnavailable(f"control database {path}: {cause}", hint=hint)


__all__ = [
    "FILE_NAME",
    "OPERATOR",
    "ControlDatabase",
    "ControlMissing",
    "ControlTooNew",
    "ControlUnavailable",
]
