"""A user's SQL: one SELECT, this tenant, nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from otel_audit.exporter.store.schema import VIEW
from otel_audit.query_service.sql import SqlRefused, run_sql
from tests.support.events import DiskStore, event_row, event_rows, table_of

START = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    store = DiskStore(tmp_path / "it's here")
    store.add(event_rows(2_500, start=START, end=START.replace(day=2)))
    store.add_hot(table_of([event_row(seq=9_000, time=START, user_roles=["admin"], retention="rag")]))
    store.add(table_of([event_row(tenant="globex", seq=1)]))
    return store


def test_a_select_sees_files_and_hot_rows_as_one_view(store: DiskStore) -> None:
    result = run_sql(
        store, "acme", "SELECT count(*) AS n, max(seq) AS last, min(tenant) AS t FROM audit_events"
    )
    assert (result.columns, list(result.rows), result.partial) == (
        ["n", "last", "t"],
        [(2_501, 9_000, "acme")],
        0,
    )


def test_the_view_has_the_columns_of_an_event_in_order(store: DiskStore) -> None:
    assert run_sql(store, "acme", "FROM audit_events LIMIT 0").columns == VIEW.names
    described = list(run_sql(store, "acme", "DESCRIBE audit_events").rows)
    assert [row[0] for row in described] == VIEW.names


def test_values_keep_their_types(store: DiskStore) -> None:
    statement = (
        "SELECT time, user_roles, retention, http_status AS a, seq AS a FROM audit_events WHERE seq = 9000"
    )
    result = run_sql(store, "acme", statement)
    assert result.columns == ["time", "user_roles", "retention", "a", "a"]
    assert list(result.rows) == [(START, ["admin"], "rag", None, 9_000)]


def test_rows_come_as_they_are_asked_for(store: DiskStore) -> None:
    rows = run_sql(store, "acme", "SELECT seq FROM audit_events ORDER BY seq").rows
    assert next(rows) == (1,)
    assert [row[0] for row in rows] == [*range(2, 2_501), 9_000]


@pytest.mark.parametrize(
    "statement",
    [
        "",
        "SET threads = 1",
        "SELECT 1; SELECT 2",
        "INSERT INTO audit_events VALUES (1)",
        "CREATE TABLE t AS SELECT 1",
        "COPY audit_events TO 'out.csv'",
        "ATTACH 'x.db'",
        "INSTALL httpfs",
        "PRAGMA database_list",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM 'other.parquet'",
        "SELECT nope FROM audit_events",
        "SELECT error('x')",
        "SELECT seq::TINYINT FROM audit_events ORDER BY seq DESC",
        "SELEC",
    ],
)
def test_anything_but_reading_this_tenant_is_refused(store: DiskStore, statement: str) -> None:
    with pytest.raises(SqlRefused) as caught:
        list(run_sql(store, "acme", statement).rows)
    assert caught.value.hint
    assert "\n" not in caught.value.message


def test_another_tenants_file_is_out_of_reach(store: DiskStore) -> None:
    path = str(store.files["globex"][0].path).replace("'", "''")
    with pytest.raises(SqlRefused, match="Permission"):
        run_sql(store, "acme", f"SELECT * FROM read_parquet('{path}')")
    assert list(run_sql(store, "globex", "SELECT count(*) FROM audit_events").rows) == [(1,)]
