from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from otel_audit.query_service.control.database import (
    ControlDatabase,
    ControlMissing,
    ControlTooNew,
    ControlUnavailable,
)
from otel_audit.query_service.control.tables import SCHEMA_VERSION
from otel_audit.query_service.control.tenants import Tenants

ADD_TENANTS = """
import sys
from pathlib import Path
from otel_audit.query_service.control.database import ControlDatabase
from otel_audit.query_service.control.tenants import Tenants
tenants = Tenants(ControlDatabase.open(Path(sys.argv[1])))
for number in range(20):
    tenants.add(f"{sys.argv[2]}-{number}")
"""


def test_a_new_database_is_private_durable_and_has_the_operators_tenant(tmp_path: Path) -> None:
    database = ControlDatabase.open(tmp_path / "new" / "control.sqlite")
    with database.read() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}
    assert [t.id for t in Tenants(database).list()] == ["operator"]
    files = [database.path, *database.path.parent.glob("control.sqlite-*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_a_copy_is_one_private_file_with_all_that_was_committed(tmp_path: Path) -> None:
    database = ControlDatabase.open(tmp_path / "control.sqlite")
    Tenants(database).add("acme")
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE tenants SET export_rate = '1/h'")
        database.copy_to(
            tmp_path / "copy" / "control.sqlite"
        )  # not held up, and without what is not committed
    [path] = (tmp_path / "copy").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    copy = ControlDatabase.open(path)
    assert {t.id: t.export_rate for t in Tenants(copy).list()} == {"acme": "10/h", "operator": "10/h"}


def test_a_missing_database_is_not_made_by_a_command_that_reads(tmp_path: Path) -> None:
    with pytest.raises(ControlMissing) as raised:
        ControlDatabase.open(tmp_path / "typo" / "control.sqlite", create=False)
    assert "--data-dir" in raised.value.hint
    assert list(tmp_path.iterdir()) == []


def test_an_older_binary_refuses_a_newer_database_and_leaves_it_alone(tmp_path: Path) -> None:
    path = tmp_path / "control.sqlite"
    ControlDatabase.open(path).close()
    with sqlite3.connect(path) as raw:
        raw.execute(f"UPDATE schema_version SET version = {SCHEMA_VERSION + 1}")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(ControlTooNew, match=f"schema {SCHEMA_VERSION + 1}"):
        ControlDatabase.open(path)
    assert path.read_bytes() == before


def test_a_database_of_an_older_release_gets_what_it_lacks_and_keeps_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "control.sqlite"
    database = ControlDatabase.open(path)
    Tenants(database).add("acme")
    database.close()
    with sqlite3.connect(path) as raw:
        raw.execute("DROP TABLE holds")
        raw.execute("DROP TABLE redaction_policies")
        raw.execute("UPDATE schema_version SET version = 1")
    raw.close()
    database = ControlDatabase.open(path)
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT version FROM schema_version").scalar() == SCHEMA_VERSION
        assert connection.exec_driver_sql("SELECT count(*) FROM holds").scalar() == 0
    assert Tenants(database).show("acme").redaction_version == "default"


def test_a_file_that_is_no_database_is_refused_with_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "control.sqlite"
    path.write_bytes(os.urandom(8192))
    with pytest.raises(ControlUnavailable) as raised:
        ControlDatabase.open(path)
    assert "backup" in raised.value.hint


def test_a_change_that_fails_halfway_leaves_nothing(tmp_path: Path) -> None:
    database = ControlDatabase.open(tmp_path / "control.sqlite")

    def fail_halfway() -> None:
        with database.write() as connection:
            connection.exec_driver_sql("DELETE FROM tenants")
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert Tenants(database).show("operator").id == "operator"


def test_an_error_tells_the_cause_and_never_the_values(tmp_path: Path) -> None:
    database = ControlDatabase.open(tmp_path / "control.sqlite")
    value = os.urandom(8).hex()
    with pytest.raises(ControlUnavailable) as raised, database.write() as connection:
        connection.exec_driver_sql("INSERT INTO aliases VALUES (?, 'nobody')", (value,))
    assert "FOREIGN KEY" in str(raised.value)
    assert value not in str(raised.value)


def test_several_processes_create_and_change_one_database_at_once(tmp_path: Path) -> None:
    path = tmp_path / "control.sqlite"
    writers = [
        subprocess.Popen([sys.executable, "-c", ADD_TENANTS, str(path), name], stderr=subprocess.PIPE)
        for name in ("a", "b")
    ]
    errors = [process.communicate(timeout=60)[1] for process in writers]
    assert errors == [b"", b""]
    ids = {t.id for t in Tenants(ControlDatabase.open(path)).list()}
    assert ids == {"operator", *(f"{name}-{n}" for name in "ab" for n in range(20))}


def test_threads_opening_a_new_database_together_make_its_tables_once(tmp_path: Path) -> None:
    path, failures = tmp_path / "control.sqlite", []

    def open_it() -> None:
        try:
            ControlDatabase.open(path).close()
        except ControlUnavailable as error:
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT version FROM schema_version").fetchall() == [(SCHEMA_VERSION,)]
    raw.close()
