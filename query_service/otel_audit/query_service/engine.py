"""One DuckDB instance a process, a cursor a query, over exact file lists and hot rows.

Values are bound, never formatted into SQL, file paths included. What DuckDB says about an error never
leaves this module: its messages repeat the literals of the query.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from otel_audit.exporter.store.schema import VIEW
from otel_audit.exporter.store.snapshot import FileRef, Snapshot
from otel_audit.instrumentation.errors import AuditError

DEADLINE_S: Final = 30.0
"""A query longer than this has no reader any more: proxies and browsers give up at about that time."""

# Explicit types, because engines guess that tenant=007 is a number. Columns go by name, because older
# files have fewer of them; the empty or hot Arrow table has them all.
_FILES: Final = (
    "SELECT * FROM read_parquet({paths}, hive_partitioning = true, union_by_name = true, "
    "hive_types = {{'tenant': VARCHAR, 'retention': VARCHAR, 'date': VARCHAR}}, filename = true)"
)
_HOT: Final = "SELECT *, NULL::VARCHAR AS filename FROM hot_rows"
_UNION: Final = " ".join(("(", _FILES, "UNION ALL BY NAME", _HOT, ")"))
_HOT_ONLY: Final = " ".join(("(", _HOT, ")"))


class QueryFailed(AuditError):
    """DuckDB could not answer; its own words stay in the process."""


class QueryTimeout(QueryFailed):
    """The query was cut off at its deadline."""


class QueryTooLarge(QueryFailed):
    """The query needed more memory than it may have."""


class FilesChanged(QueryFailed):
    """A file went away during the query: take a new snapshot and go on from the last key."""


class Scan:
    """One cursor over some files and hot rows. `source` stands for the rows in a FROM clause."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, paths: list[str]) -> None:
        self.cursor = cursor
        self.source = _UNION.format(paths="$files") if paths else _HOT_ONLY
        self._bound: dict[str, Any] = {"files": paths} if paths else {}

    def fetch(self, *parts: str, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """All rows of the statement made of `parts`; `params` are exactly its named parameters."""
        return self.cursor.execute(" ".join(parts), {**self._bound, **params}).fetchall()

    def table(self, *parts: str, params: Mapping[str, Any]) -> pa.Table:
        """Like `fetch`, as an Arrow table."""
        relation = self.cursor.sql(" ".join(parts), params={**self._bound, **params})
        return relation.to_arrow_table()


class Engine:
    """A long-lived DuckDB without extensions, network or spill files.

    memory_limit: of all its queries together, DuckDB's notation. threads: likewise.
    deadline_s: how long one query may run.
    """

    def __init__(self, memory_limit: str = "1GB", threads: int = 2, deadline_s: float = DEADLINE_S) -> None:
        self._database = open_duckdb(memory_limit, threads)
        self._deadline_s = deadline_s
        # Also when nobody closes it: a DuckDB thread that outlives the interpreter aborts the process.
        self._finish = weakref.finalize(self, self._database.close)

    def close(self) -> None:
        """End the instance; later calls do nothing."""
        self._finish()

    @contextmanager
    def scan(
        self, files: Sequence[FileRef], hot: pa.Table, *, deadline_s: float | None = None
    ) -> Iterator[Scan]:
        """A cursor over `files` and `hot` rows (schema VIEW), closed at the end.

        Raises FilesChanged, QueryTimeout, QueryTooLarge, QueryFailed.
        """
        with self._cursor(files, deadline_s or self._deadline_s) as cursor:
            cursor.register("hot_rows", hot)
            yield Scan(cursor, [literal_path(ref.path) for ref in files])

    @contextmanager
    def view(
        self, snapshot: Snapshot, *, deadline_s: float | None = None
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """A DuckDB cursor whose view `audit_events` (schema VIEW) is the snapshot's rows.

        Raises what `scan` raises.
        """
        with self._cursor(snapshot.files, deadline_s or self._deadline_s) as cursor:
            create_view(cursor, snapshot)
            yield cursor

    @contextmanager
    def _cursor(self, files: Sequence[FileRef], deadline_s: float) -> Iterator[duckdb.DuckDBPyConnection]:
        cursor = self._database.cursor()
        # Set before the interrupt, so that an error after the deadline is known to be its doing.
        late = threading.Event()

        def cut_off() -> None:
            late.set()
            cursor.interrupt()

        timer = threading.Timer(deadline_s, cut_off)
        timer.daemon = True
        timer.start()
        try:
            yield cursor
        except duckdb.Error as error:
            raise translated(error, late.is_set(), files, deadline_s) from None
        finally:
            timer.cancel()
            cursor.close()


def open_duckdb(memory_limit: str, threads: int) -> duckdb.DuckDBPyConnection:
    """A DuckDB in memory that loads no extension, writes no spill file and sees no Python variable."""
    database = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": memory_limit,
            "threads": threads,
            "temp_directory": "",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
            "preserve_insertion_order": False,
        },
    )
    # Files are never changed under a name, so footers stay good.
    database.execute("SET GLOBAL parquet_metadata_cache = true")
    database.execute("SET GLOBAL TimeZone = 'UTC'")
    return database


def create_view(cursor: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> None:
    """Make the temporary view `audit_events` of a snapshot's rows, columns of schema VIEW in order."""
    cursor.register("hot_rows", snapshot.hot)
    paths = [literal_path(ref.path) for ref in snapshot.files]
    source = _HOT_ONLY
    if paths:
        # A view takes no parameters, but it may read a variable, which does.
        cursor.execute("SET VARIABLE audit_files = $files", {"files": paths})
        source = _UNION.format(paths="getvariable('audit_files')")
    cursor.execute(
        " ".join(("CREATE TEMP VIEW audit_events AS SELECT", ", ".join(VIEW.names), "FROM", source))
    )


def literal_path(path: Path) -> str:
    """The path as DuckDB's file lists want it: a pattern character in a folder's name is itself."""
    text = str(path)
    if not any(character in text for character in "*?["):
        return text
    return "".join(f"[{character}]" if character in "*?[" else character for character in text)


def translated(error: duckdb.Error, late: bool, files: Iterable[FileRef], deadline_s: float) -> QueryFailed:
    """The error of ours that stands for one of DuckDB's."""
    if late:
        return QueryTimeout(
            f"the query did not finish within {deadline_s:g} s",
            hint="narrow the time range or add a filter; for everything use an export",
        )
    if not all(ref.path.exists() for ref in files):
        return FilesChanged("files changed during the query", hint="try again")
    if isinstance(error, duckdb.OutOfMemoryException | MemoryError):
        return QueryTooLarge(
            "the query needs more memory than it may have", hint="narrow the time range or add a filter"
        )
    return QueryFailed(f"the query failed ({type(error).__name__})", hint="see `otel-audit doctor`")
