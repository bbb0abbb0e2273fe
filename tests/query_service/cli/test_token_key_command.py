"""`tenant rotate-token-key`: recorded, and old keys go only when nothing of theirs can be left."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from otel_audit.query_service.control.database import FILE_NAME, ControlDatabase
from otel_audit.query_service.control.outbox import Outbox
from tests.support.process import run


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """An organization with keys made one and two years ago."""
    data_dir = tmp_path / "data"
    run(data_dir, "tenant", "add", "acme")
    folder = data_dir / "keys" / "tokens" / "acme"
    folder.mkdir(parents=True)
    for number, days in ((1, 730), (2, 365)):
        created = (datetime.now(UTC) - timedelta(days=days)).isoformat()
        (folder / f"{number}.json").write_text(json.dumps({"created": created, "key": secrets.token_hex(32)}))
    return data_dir


def rotate(data_dir: Path) -> dict[str, Any]:
    return dict(json.loads(run(data_dir, "tenant", "rotate-token-key", "acme", "--json").stdout))


def store_event(data_dir: Path, days_ago: int) -> None:
    time = (datetime.now(UTC) - timedelta(days=days_ago)).isoformat()
    line = {"time": time, "category": "data_access", "action": "read", "user_id": "ada"}
    path = data_dir.parent / "events.ndjson"
    path.write_text(json.dumps(line) + "\n")
    run(data_dir, "import", "--tenant", "acme", "--historic", "--allow-expired", str(path))
    run(data_dir, "files", "--tenant", "acme", "--seal")


def test_a_key_that_nothing_stored_was_made_with_goes_and_the_change_is_recorded(data_dir: Path) -> None:
    store_event(data_dir, 30)
    assert rotate(data_dir) == {"tenant": "acme", "number": 3, "kept": [2, 3], "deleted": [1]}
    assert sorted(path.name for path in (data_dir / "keys/tokens/acme").iterdir()) == ["2.json", "3.json"]
    database = ControlDatabase.open(data_dir / FILE_NAME)
    events = {row.tenant: row.event for row in Outbox(database).waiting(100)}
    database.close()
    for tenant in ("acme", "operator"):
        assert events[tenant].changes == {"token_key": (2, 3)}
        assert events[tenant].attributes == {"otel_audit.token_keys_deleted": [1]}


def test_a_key_stays_while_an_older_event_is_stored(data_dir: Path) -> None:
    store_event(data_dir, 400)
    assert rotate(data_dir)["kept"] == [1, 2, 3]


def test_a_key_stays_while_a_hold_is_in_force(data_dir: Path) -> None:
    run(data_dir, "hold", "add", "--tenant", "acme", "--name", "m1", "--reason", "r")
    assert rotate(data_dir)["kept"] == [1, 2, 3]


def test_a_key_stays_while_the_retention_is_longer(data_dir: Path) -> None:
    run(data_dir, "tenant", "set", "acme", "--retention", "standard=2y")
    assert rotate(data_dir)["kept"] == [1, 2, 3]


def test_an_organization_that_does_not_exist_gets_no_key(data_dir: Path) -> None:
    done = run(data_dir, "tenant", "rotate-token-key", "nobody", check=False)
    assert done.returncode == 1
    assert "there is no organization" in done.stderr
    assert not (data_dir / "keys" / "tokens" / "nobody").exists()
