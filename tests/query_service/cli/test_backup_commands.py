"""`backup`, `restore`, `checkpoint` and `verify --checkpoint` as their users type them."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from otel_audit.query_service.cli.main import run as run_here
from otel_audit.query_service.control.outbox import os_actor
from tests.support.otlp_client import record, send
from tests.support.process import Serve, run, secret, wait_for

Capture = pytest.CaptureFixture[str]


def found(data_dir: Path, tenant: str, *filters: str) -> list[dict[str, Any]]:
    done = run(data_dir, "search", "--tenant", tenant, "--limit", "1000", "--format", "ndjson", *filters)
    return [json.loads(line) for line in done.stdout.splitlines()]


def read_events(data_dir: Path) -> list[str]:
    return sorted(event["event_id"] for event in found(data_dir, "acme", "--service", "tests"))


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with an organization that has a sealed file."""
    folder = tmp_path_factory.mktemp("stored") / "data"
    run(folder, "tenant", "add", "acme")
    run(folder, "files", "--tenant", "acme", "--seal")
    return folder


def test_a_backup_of_a_busy_server_becomes_a_server_that_goes_on(tmp_path: Path) -> None:
    data, copy, backup = tmp_path / "data", tmp_path / "copy", tmp_path / "backup"
    acknowledged: list[Any] = []
    done = threading.Event()
    with Serve(data) as server:
        run(data, "tenant", "add", "acme")
        key = secret(data, "key", "create", "--tenant", "acme")
        token = secret(
            data, "token", "create", "--org", "acme", "--user", "ada@example.com", "--role", "admin"
        )

        def traffic() -> None:
            # At most what one search returns.
            while len(acknowledged) < 900 and not done.wait(0.02):
                events = [record(), record("security", "access_denied")]
                send(server.addresses["otlp_http"], key, events)
                acknowledged.extend(events)

        sender = threading.Thread(target=traffic)
        sender.start()
        try:
            wait_for(lambda: len(acknowledged) > 20)
            before = list(acknowledged)
            run(data, "backup", "--to", str(backup))
        finally:
            done.set()
            sender.join()
        run(data, "verify")
    run(copy, "restore", "--from", str(backup))
    run(copy, "verify")
    events = read_events(copy)
    assert {event_id(each) for each in before} <= set(events) <= {event_id(each) for each in acknowledged}
    assert len(events) == len(set(events))
    trail = found(copy, "operator")
    assert {event["user_id"] for event in trail} == {os_actor().user_id}
    assert [event["action"] for event in trail].count("backup_started") == 1
    assert [event["action"] for event in trail].count("restore_completed") == 1
    with Serve(copy) as server:
        send(server.addresses["otlp_http"], key, before[-20:])
        assert read_events(copy) == events, "what was stored before the backup is a repeat after it"
        answer = httpx.get(
            server.url("/api/v1/orgs/acme/events"), headers={"authorization": f"Bearer {token}"}, timeout=30
        )
        assert answer.status_code == 200, "tokens are kept"
        fresh = record()
        send(server.addresses["otlp_http"], key, [fresh])
        assert read_events(copy) == sorted([*events, event_id(fresh)])
        [event] = [each for each in found(copy, "acme") if each["event_id"] == event_id(fresh)]
    assert event["writer"] != (backup / "writer-id").read_text()
    run(copy, "verify")
    completed = [event for event in found(data, "operator") if event["action"] == "backup_completed"]
    assert completed[0]["attributes"]["otel_audit.backup.files"] > 5


def event_id(event: Any) -> str:
    [value] = [each.value.string_value for each in event.attributes if each.key == "audit.record.id"]
    return str(value)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("backup",), 2),
        (("backup", "--to", "/proc/version"), 2),
        (("restore", "--from", "nowhere"), 1),
        (("checkpoint",), 2),
        (("checkpoint", "--tenant", "nobody"), 1),
        (("checkpoint", "--tenant", "../acme"), 1),
        (("verify", "--checkpoint", "nowhere"), 1),
    ],
)
def test_a_mistake_is_one_line_and_a_hint(
    stored: Path, capsys: Capture, arguments: tuple[str, ...], status: int
) -> None:
    assert run_here([*arguments, "--data-dir", str(stored)]) == status
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["error", "hint"]


def test_a_backup_is_not_read_as_if_it_were_a_data_directory(
    stored: Path, tmp_path: Path, capsys: Capture
) -> None:
    run(stored, "backup", "--to", str(tmp_path / "b"))
    control = (tmp_path / "b" / "control.sqlite").read_bytes()
    for command in (["search", "--tenant", "acme"], ["verify"], ["files", "--tenant", "acme", "--seal"]):
        assert run_here([*command, "--data-dir", str(tmp_path / "b")]) == 1
        assert "is a backup" in capsys.readouterr().err
    assert (tmp_path / "b" / "control.sqlite").read_bytes() == control


def test_a_checkpoint_is_printed_or_written_and_verified(
    stored: Path, tmp_path: Path, capsys: Capture
) -> None:
    there = ["--tenant", "acme", "--data-dir", str(stored)]
    path = str(tmp_path / "checkpoint.json")
    assert run_here(["checkpoint", *there]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert run_here(["checkpoint", *there, "-o", path]) == 0
    written = json.loads(Path(path).read_bytes())
    assert printed["writers"] == written["writers"]
    assert run_here(["checkpoint", *there, "-o", path]) == 1, "an older checkpoint is never replaced"
    capsys.readouterr()
    assert run_here(["verify", *there, "--checkpoint", path]) == 0
    assert "extends the checkpoint" in capsys.readouterr().out
    [mark] = written["writers"].values()
    for field, value, message in (
        ("sha256", "0" * 64, "history was rewritten"),
        ("entry", mark["entry"] + 1, "older than the checkpoint"),
    ):
        changed = json.loads(json.dumps(written))
        next(iter(changed["writers"].values()))[field] = value
        Path(path).write_text(json.dumps(changed))
        assert run_here(["verify", *there, "--checkpoint", path]) == 1
        errors = capsys.readouterr().err
        assert message in errors
        assert "hint: " in errors


def test_a_checkpoint_of_another_organization_is_wrong_use(
    stored: Path, tmp_path: Path, capsys: Capture
) -> None:
    path = str(tmp_path / "checkpoint.json")
    Path(path).write_text('{"version": 1, "tenant": "operator", "time": "", "writers": {}}')
    asked = ["verify", "--tenant", "acme", "--checkpoint", path, "--data-dir", str(stored)]
    assert run_here(asked) == 2
    assert "checkpoint of operator" in capsys.readouterr().err
