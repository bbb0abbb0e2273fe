"""What an import refused is kept aside as long as standard events, and then goes like them."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from otel_audit.query_service.cli.main import run as run_command

WRITTEN = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """An organization with the refused lines of two imports, one of them written long ago."""
    folder = tmp_path / "data"
    assert call(folder, "tenant", "add", "acme") == 0
    for name in ("old", "young"):
        source = tmp_path / f"{name}.ndjson"
        source.write_text(f"{name} is no event\n")
        assert call(folder, "import", "--tenant", "acme", str(source)) == 1
        if name == "old":
            [path] = aside(folder)
            os.utime(path, (WRITTEN.timestamp(),) * 2)
    return folder


def call(data_dir: Path, *arguments: str) -> int:
    return run_command([*arguments, "--data-dir", str(data_dir)])


def aside(data_dir: Path) -> list[Path]:
    return list((data_dir / "store/tenant=acme/_quarantine").glob("import-*.ndjson"))


def retained(data_dir: Path, capsys: pytest.CaptureFixture[str], now: str, *more: str) -> list[Any]:
    capsys.readouterr()
    assert call(data_dir, "retention", "run", "--now", now, "--json", *more) == 0
    return [(p["retention"], p["date"]) for p in json.loads(capsys.readouterr().out)["partitions"]]


def told(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    capsys.readouterr()
    asked = ("search", "--tenant", "acme", "--action", "retention_delete", "--format", "ndjson")
    assert call(data_dir, *asked) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_refused_lines_go_by_the_day_they_were_written_and_that_is_recorded(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert retained(data_dir, capsys, "2026-09-01") == []
    gone = [("kept-aside", "2026-03-01")]
    assert retained(data_dir, capsys, "2026-09-02", "--dry-run") == gone
    assert len(aside(data_dir)) == 2
    assert retained(data_dir, capsys, "2026-09-02") == gone
    assert [path.stat().st_mtime > WRITTEN.timestamp() for path in aside(data_dir)] == [True]
    assert retained(data_dir, capsys, "2026-09-02") == []
    [event] = told(data_dir, capsys)
    assert event["attributes"]["audit.retention.kept_aside"] == 1
    assert event["message"] == "Retention deleted 1 file of refused lines"
    assert call(data_dir, "verify", "--tenant", "acme") == 0


def test_refused_lines_stay_under_any_hold(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hold = ("--tenant", "acme", "--name", "a", "--reason", "x", "--user", "ada@example.com")
    assert call(data_dir, "hold", "add", *hold) == 0
    assert retained(data_dir, capsys, "2026-09-02") == []
    assert len(aside(data_dir)) == 2
    assert told(data_dir, capsys) == []
