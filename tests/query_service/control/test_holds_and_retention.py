"""Retention under legal holds: a real store, a real control database, and a real server."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from otel_audit.exporter.store.upkeep.held import Held
from otel_audit.exporter.store.upkeep.retention import DEFAULT_MONTHS
from otel_audit.query_service.app.core import Core
from otel_audit.query_service.app.retention_run import RetentionIncomplete
from otel_audit.query_service.engine import Engine
from otel_audit.query_service.filters import Filters
from otel_audit.query_service.search import search
from otel_audit.query_service.settings import Settings
from tests.support.otlp_client import record, send
from tests.support.process import Serve, run, secret, wait_for
from tests.support.rows import batch, row

DAY = datetime(2026, 3, 1, 12, tzinfo=UTC)
DUE = datetime(2027, 3, 1, tzinfo=UTC)


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    opened = Core(Settings(data_dir=tmp_path / "data"))
    for tenant in ("acme", "globex"):
        opened.tenants.add(tenant)
        for day in (0, 1):
            users = ("ada", "bo", "cy", "ada")
            rows = [row(time=DAY + timedelta(days=day, seconds=n), user_id=u) for n, u in enumerate(users)]
            opened.store.append({tenant: batch(*rows)})
    opened.store.seal()
    yield opened
    opened.close()


def events(core: Core, tenant: str = "acme") -> list[tuple[str, str]]:
    """(date, user) of what is left of the rows above."""
    period = [("from", "2026-03-01"), ("to", "2026-03-03")]
    engine = Engine(memory_limit="256MB", threads=1)
    found = search(engine, core.store, tenant, Filters.parse(period, now=DUE), limit=1000).events
    engine.close()
    return sorted((event["date"], event["user_id"]) for event in found)


def retain(core: Core, *, now: datetime = DUE, dry_run: bool = False) -> list[tuple[str, str]]:
    gone = core.run_retention(now, dry_run=dry_run, actor="os:test")
    return [(partition.tenant, partition.date) for partition in gone]


def recorded(core: Core, tenant: str) -> list[dict[str, Any]]:
    engine = Engine(memory_limit="256MB", threads=1)
    asked = Filters.parse([("action", "retention_delete")], now=datetime.now(UTC))
    found = search(engine, core.store, tenant, asked, limit=1000).events
    engine.close()
    return found


def test_every_held_row_outlives_its_period_and_what_is_not_held_goes(core: Core) -> None:
    core.holds.add("acme", "a", "because", [("user", "ada"), ("to", "2026-03-02")])
    before = events(core)
    retain(core, dry_run=True)
    assert events(core) == before
    retain(core)
    held = [("2026-03-01", "ada")] * 2
    assert [each for each in events(core) if each in held] == held
    assert not [each for each in events(core) if each[0] == "2026-03-02"]
    assert events(core, "globex") == []


def test_a_hold_on_everything_keeps_everything_of_its_organization_alone(core: Core) -> None:
    core.holds.add("acme", "a", "because")
    before = events(core)
    assert {tenant for tenant, _ in retain(core)} == {"globex"}
    assert events(core) == before


def test_after_its_release_took_effect_a_hold_keeps_nothing(core: Core) -> None:
    core.holds.add("acme", "a", "because")
    released = core.holds.release("a", "settled")
    assert released.effective_at is not None
    end = datetime.fromtimestamp(released.effective_at, UTC)
    core.tenants.set("acme", retention={"standard": 1}, reason="so that it is due", at_once=True)
    due = end - timedelta(microseconds=1)
    assert [gone for gone in retain(core, now=due) if gone[0] == "acme"] == []
    assert len(events(core)) == 8
    retain(core, now=max(end, DUE))
    assert events(core) == []


def test_a_damaged_file_that_a_hold_needs_keeps_all_of_its_organization_and_says_so(core: Core) -> None:
    core.holds.add("acme", "a", "because", [("user", "nobody")])
    ref = core.store.snapshot("acme").files[-1]
    data = bytearray(ref.path.read_bytes())
    data[len(data) // 2] ^= 1
    ref.path.write_bytes(data)
    live = core.store.live_files
    for dry_run in (True, False):
        with pytest.raises(RetentionIncomplete, match="hold a needs") as told:
            retain(core, dry_run=dry_run)
        assert told.value.hint
    assert len(list(core.root.tenant("acme").rglob("*.parquet"))) == 2
    assert core.store.live_files == live - 2
    assert events(core, "globex") == []
    [failure] = recorded(core, "acme")
    assert (failure["outcome"], failure["severity"], failure["user_id"]) == ("failure", "error", "os:test")
    assert "hold a needs" in failure["attributes"]["otel_audit.reason"]
    [done] = recorded(core, "globex")
    assert done["outcome"] == "success"


@pytest.mark.parametrize("table", ["holds", "tenants"])
def test_without_the_control_database_nothing_is_deleted(core: Core, table: str) -> None:
    with sqlite3.connect(core.db.path) as raw:
        raw.execute("PRAGMA foreign_keys = OFF")
        raw.execute(f"ALTER TABLE {table} RENAME TO gone")
    raw.close()
    with pytest.raises(RetentionIncomplete):
        retain(core)
    with sqlite3.connect(core.db.path) as raw:
        raw.execute(f"ALTER TABLE gone RENAME TO {table}")
    raw.close()
    assert len(events(core)) == len(events(core, "globex")) == 8


def test_a_hold_that_came_between_judging_and_deleting_counts(core: Core) -> None:
    late = Held(is_current=lambda: False)
    [store] = core.store.stores
    store.run_retention(
        lambda *_: DEFAULT_MONTHS, now=DUE, actor="test", held=lambda tenant, files, now: late
    )
    assert len(events(core)) == 8


def test_a_hold_made_beside_a_server_survives_its_death_and_wins_over_retention(tmp_path: Path) -> None:
    folder, delay = tmp_path / "data", {"OTEL_AUDIT__RETENTION__HOLD_RELEASE_DELAY_S": "0"}
    mine = ("--tenant", "acme", "--user", "ada@example.com", "--format", "ndjson")
    asked = ("retention", "run", "--now", "2099-01-01", "--json")

    def found() -> list[dict[str, Any]]:
        return [json.loads(line) for line in run(folder, "search", *mine).stdout.splitlines()]

    server = Serve(folder, **delay).start()
    secret(folder, "tenant", "add", "acme")
    key = secret(folder, "key", "create", "--tenant", "acme")
    users = ("ada@example.com", "bo@example.com", "ada@example.com")
    send(server.addresses["otlp_http"], key, [record(**{"audit.actor.id": user}) for user in users])
    run(folder, "hold", "add", "--tenant", "acme", "--name", "a", "--reason", "x", *mine[2:4])
    server.kill()
    with Serve(folder, **delay):
        ids = [event["event_id"] for event in wait_for(found)]
        run(folder, *asked)
        assert [event["event_id"] for event in found()] == ids
        assert len(ids) == 2
        run(folder, "hold", "release", "a", "--reason", "settled")
        run(folder, *asked)
        assert found() == []
        assert run(folder, "verify", "--tenant", "acme").returncode == 0
