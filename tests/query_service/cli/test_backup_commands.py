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
    assert f"extends the checkpoint of {written['time']}, which covers every event" in capsys.readouterr().out
    assert run_here(["verify", *there, "--checkpoint", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["unproved_events"] == 0
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
    there = ["--tenant", "acme", "--data-dir", str(stored)]
    assert run_here(["checkpoint", *there, "-o", path]) == 0
    Path(path).write_text(json.dumps(json.loads(Path(path).read_bytes()) | {"tenant": "operator"}))
    asked = ["verify", "--tenant", "acme", "--checkpoint", path, "--data-dir", str(stored)]
    assert run_here(asked) == 2
    assert "checkpoint of operator" in capsys.readouterr().err


def test_verify_says_of_what_a_checkpoint_proves_nothing(tmp_path: Path, capsys: Capture) -> None:
    there = ["--tenant", "acme", "--data-dir", str(tmp_path / "data")]
    path = tmp_path / "checkpoint.json"
    run(tmp_path / "data", "tenant", "add", "acme")
    assert run_here(["files", *there, "--seal"]) == 0
    assert run_here(["checkpoint", *there, "-o", str(path)]) == 0
    assert run_here(["search", *there]) == 0
    assert run_here(["files", *there, "--seal"]) == 0
    capsys.readouterr()
    assert run_here(["verify", *there, "--checkpoint", str(path)]) == 0
    assert "which proves nothing of up to " in capsys.readouterr().out
    path.write_text(json.dumps(json.loads(path.read_text()) | {"writers": {}}))
    assert run_here(["verify", *there, "--checkpoint", str(path)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"error: {path} names no writer, so it proves nothing",
        "hint: give a file that `otel-audit checkpoint` wrote",
    ]


def test_a_restore_says_what_to_change_in_a_configuration_that_names_the_originals_roots(
    tmp_path: Path, capsys: Capture
) -> None:
    data, copy, backup = tmp_path / "data", tmp_path / "copy", tmp_path / "backup"
    data.mkdir()
    (data / "config.toml").write_text(f'[regions]\neu = "{tmp_path}/eu"\n')
    run(data, "tenant", "add", "acme", "--region", "eu")
    run(data, "backup", "--to", str(backup))
    config = tmp_path / "copy.toml"
    config.write_text(f'[regions]\neu = "{tmp_path}/eu2"\n')
    assert run_here(["restore", "--from", str(backup), "--data-dir", str(copy), "--config", str(config)]) == 0
    assert (
        f"warning: {copy}/config.toml came back as it was; before `serve`, change in [regions] "
        f'eu = "{tmp_path}/eu" to eu = "{tmp_path}/eu2"\n'
    ) in capsys.readouterr().err
    (copy / "config.toml").write_text(config.read_text())
    assert run_here(["verify", "--data-dir", str(copy)]) == 0


def test_nothing_is_handed_over_or_backed_up_into_a_folder_of_the_store(
    stored: Path, tmp_path: Path, capsys: Capture
) -> None:
    for folder in (
        "wal",
        "store",
        "store/tenant=acme",
        "reads",
        "keys",
        "known",
        "run/pins",
        "removed",
        "arriving",
    ):
        for command in (["tenant", "export", "acme"], ["backup"]):
            target = stored / folder / "new"
            assert run_here([*command, "--to", str(target), "--data-dir", str(stored)]) == 1, (
                command,
                folder,
            )
            assert [line.partition(": ")[0] for line in capsys.readouterr().err.splitlines()] == [
                "error",
                "hint",
            ]
            assert not target.exists()
    run(stored, "backup", "--to", str(tmp_path / "b"))
    inside = str(tmp_path / "b" / "new")
    assert run_here(["tenant", "export", "acme", "--to", inside, "--data-dir", str(stored)]) == 1
    assert "lies in the backup" in capsys.readouterr().err
