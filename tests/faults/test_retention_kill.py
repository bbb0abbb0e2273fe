"""The process is killed around a deletion by retention: what went is told once, what stayed is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from otel_audit.exporter.store.ledger.verify import verify_tenant
from otel_audit.query_service.app.core import Core
from otel_audit.query_service.engine import Engine
from otel_audit.query_service.filters import Filters
from otel_audit.query_service.search import search
from otel_audit.query_service.settings import Settings
from tests.support.process import run
from tests.support.retention_victim import POINTS
from tests.support.rows import batch, row

ROOT = Path(__file__).resolve().parents[2]
DAY = datetime(2026, 3, 1, 12, tzinfo=UTC)
DUE = datetime(2027, 3, 1, tzinfo=UTC)


def fill(data_dir: Path) -> None:
    core = Core(Settings(data_dir=data_dir))
    core.tenants.add("acme")
    rows = [row(time=DAY + timedelta(days=day, seconds=n)) for day in (0, 1) for n in range(4)]
    core.store.append({"acme": batch(*rows)})
    core.store.seal()
    core.close()


def kill_at(data_dir: Path, point: str) -> None:
    command = [sys.executable, "-m", "tests.support.retention_victim"]
    done = subprocess.run([*command, str(data_dir), DUE.isoformat(), point], cwd=ROOT, env=os.environ)
    assert done.returncode == -signal.SIGKILL


def told(core: Core) -> list[list[str]]:
    """The partitions of every event that tells of a deletion, each event as often as it is stored."""
    engine = Engine(memory_limit="256MB", threads=1)
    asked = Filters.parse([("action", "retention_delete")], now=datetime.now(UTC))
    found = search(engine, core.store, "acme", asked, limit=1000).events
    engine.close()
    assert all(event["user_id"] == "system:retention" for event in found)
    return sorted(event["attributes"]["audit.retention.partitions"] for event in found)


@pytest.mark.parametrize("point", POINTS)
def test_whenever_retention_is_killed_each_deletion_is_told_once(tmp_path: Path, point: str) -> None:
    data_dir = tmp_path / "data"
    fill(data_dir)
    kill_at(data_dir, point)
    core = Core(Settings(data_dir=data_dir))
    try:
        for _ in range(2):
            core.run_retention(DUE, dry_run=False, actor="system:retention")
            partitions = [each for event in told(core) for each in event]
            assert sorted(partitions) == ["standard/2026-03-01", "standard/2026-03-02"]
        assert not list(core.root.store.rglob("_untold/*.json"))
        core.store.seal()
        assert verify_tenant(core.root, "acme").problems == []
    finally:
        core.close()


def test_a_deletion_before_a_kill_is_told_although_nothing_more_is_due(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    fill(data_dir)
    kill_at(data_dir, "before the event")
    core = Core(Settings(data_dir=data_dir))
    try:
        assert told(core) == []
        assert core.run_retention(DAY, dry_run=False, actor="system:retention") == []
        assert told(core) == [["standard/2026-03-01", "standard/2026-03-02"]]
    finally:
        core.close()


def test_a_backup_of_what_a_kill_left_untold_tells_it_when_it_is_restored(tmp_path: Path) -> None:
    data_dir, copy = tmp_path / "data", tmp_path / "copy"
    fill(data_dir)
    kill_at(data_dir, "before the event")
    run(data_dir, "backup", "--to", str(tmp_path / "backup"))
    run(copy, "restore", "--from", str(tmp_path / "backup"))
    core = Core(Settings(data_dir=copy))
    try:
        core.run_retention(DAY, dry_run=False, actor="system:retention")
        assert told(core) == [["standard/2026-03-01", "standard/2026-03-02"]]
    finally:
        core.close()
