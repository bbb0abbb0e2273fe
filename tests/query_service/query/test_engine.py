"""The engine: deadlines, bounds, and errors that repeat nothing of the query."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from otel_audit.exporter.store.schema import VIEW
from otel_audit.query_service.engine import Engine, QueryFailed, QueryTimeout, QueryTooLarge
from tests.support.events import DiskStore, event_row, event_rows, table_of

START = datetime(2026, 3, 1, tzinfo=UTC)
EMPTY = VIEW.empty_table()


def test_a_query_past_its_deadline_is_cut_off_with_a_hint() -> None:
    engine = Engine(memory_limit="256MB", deadline_s=0.3)
    with pytest.raises(QueryTimeout) as caught, engine.scan([], EMPTY) as scan:
        scan.fetch("SELECT count(*) FROM range(100000000000) t(a) WHERE hash(a) = 1", params={})
    assert "narrow" in caught.value.hint
    # The instance goes on answering.
    with engine.scan([], EMPTY) as scan:
        assert scan.fetch("SELECT count(*) FROM", scan.source, params={}) == [(0,)]
    engine.close()


def test_a_query_that_needs_too_much_memory_fails_alone() -> None:
    engine = Engine(memory_limit="32MB")
    with pytest.raises(QueryTooLarge), engine.scan([], EMPTY) as scan:
        scan.fetch("SELECT list(a) FROM range(50000000) t(a)", params={})
    with engine.scan([], EMPTY) as scan:
        assert scan.fetch("SELECT 1", params={}) == [(1,)]
    engine.close()


def test_an_error_repeats_neither_the_query_nor_its_values() -> None:
    engine = Engine(memory_limit="256MB")
    planted = "sk_live_" + "9" * 24
    with pytest.raises(QueryFailed) as caught, engine.scan([], EMPTY) as scan:
        scan.fetch("SELECT CAST($v AS INTEGER)", params={"v": planted})
    error = caught.value
    assert planted not in f"{error!r} {error.hint} {error.__cause__!r}"
    assert error.__suppress_context__
    engine.close()


def test_no_extension_network_or_python_variable_is_reachable() -> None:
    engine = Engine(memory_limit="256MB")
    table = table_of([event_row()])
    assert table.num_rows == 1
    for statement in (
        "SELECT * FROM table",
        "SELECT * FROM EMPTY",
        "INSTALL httpfs",
        "SELECT * FROM 'http://127.0.0.1:9/x.parquet'",
        "SELECT * FROM 's3://bucket/x.parquet'",
    ):
        with pytest.raises(QueryFailed), engine.scan([], EMPTY) as scan:
            scan.fetch(statement, params={})
    engine.close()


def test_the_view_has_every_column_in_order_even_without_rows(tmp_path: Path) -> None:
    engine, store = Engine(memory_limit="256MB"), DiskStore(tmp_path)
    for _ in range(2):
        with engine.view(store.snapshot("acme")) as cursor:
            cursor.execute("FROM audit_events LIMIT 0")
            assert [column[0] for column in cursor.description or []] == VIEW.names
        store.add(event_rows(10, start=START, end=START + timedelta(hours=1)))
    engine.close()


def test_queries_of_many_threads_do_not_see_each_others_rows(tmp_path: Path) -> None:
    engine, store = Engine(memory_limit="256MB"), DiskStore(tmp_path)
    for tenant in ("acme", "globex"):
        store.add(event_rows(50, tenant=tenant, start=START, end=START + timedelta(hours=1)))
        store.add_hot(table_of([event_row(tenant=tenant, seq=51)]))
    wrong: list[object] = []

    def ask(tenant: str) -> None:
        for _ in range(10):
            with engine.view(store.snapshot(tenant)) as cursor:
                found = cursor.execute(
                    "SELECT DISTINCT tenant, count(*) FROM audit_events GROUP BY 1"
                ).fetchall()
            if found != [(tenant, 51)]:
                wrong.append(found)

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("acme", "globex", "acme", "globex")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    engine.close()


def test_no_spill_file_is_left_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    engine = Engine(memory_limit="32MB")
    with pytest.raises(QueryFailed), engine.scan([], EMPTY) as scan:
        scan.fetch("SELECT a, hash(a) FROM range(20000000) t(a) ORDER BY 2", params={})
    engine.close()
    assert list(tmp_path.iterdir()) == []
