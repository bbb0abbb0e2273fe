"""`otel-audit hold`, in this process and beside a running server."""

from __future__ import annotations

import json
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from otel_audit.query_service.cli.main import run as run_command
from tests.support.process import Serve, run, secret, wait_for


def call(capsys: pytest.CaptureFixture[str], data_dir: Path, *arguments: str) -> tuple[int, str, str]:
    code = run_command([*arguments, "--data-dir", str(data_dir)])
    out, err = capsys.readouterr()
    return code, out, err


def add(*more: str) -> tuple[str, ...]:
    return ("hold", "add", "--tenant", "acme", "--name", "matter-42", "--reason", "letter", *more)


def delay_s(shown: dict[str, Any]) -> float:
    times = (datetime.fromisoformat(shown[name]) for name in ("released_at", "effective_at"))
    released, effective = times
    return (effective - released).total_seconds()


@pytest.fixture
def data_dir(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert call(capsys, tmp_path, "tenant", "add", "acme")[0] == 0
    return tmp_path


def test_a_hold_is_added_listed_and_released_as_json(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filters = ("--user", "ada@example.com", "--category", "security", "--not-action", "read")
    code, out, _ = call(capsys, data_dir, *add(*filters, "--from", "2026-01-01", "--json"))
    made = json.loads(out)
    assert (code, made["status"], made["reason"]) == (0, "active", "letter")
    assert made["filters"] == {
        "from": ["2026-01-01"],
        "category": ["security"],
        "user": ["ada@example.com"],
        "not.action": ["read"],
    }
    assert made["created_by"].startswith("os:")
    assert json.loads(call(capsys, data_dir, "hold", "list", "--json")[1]) == [made]
    assert json.loads(call(capsys, data_dir, "hold", "list", "--tenant", "other", "--json")[1]) == []
    code, out, _ = call(capsys, data_dir, "hold", "release", "matter-42", "--reason", "settled", "--json")
    released = json.loads(out)
    assert (code, released["status"], released["release_reason"]) == (0, "releasing", "settled")
    assert delay_s(released) == pytest.approx(7 * 86_400, abs=1)
    table = call(capsys, data_dir, "hold", "list")[1]
    assert "matter-42" in table
    assert "user=ada@example.com" in table


def test_without_a_filter_it_says_that_everything_is_held(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(capsys, data_dir, *add())[1] == "hold matter-42 of acme is in force: everything\n"
    out = call(capsys, data_dir, "hold", "release", "matter-42", "--reason", "settled")[1]
    assert re.fullmatch(r"hold matter-42 of acme ends at [0-9T:-]+Z\n", out)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (add("--range", "7d"), 2, "from and to"),
        (add("--user", ""), 2, "user: is empty"),
        (add("--severity", "loud"), 2, "info, warning"),
        (("hold", "add", "--tenant", "acme", "--name", "a"), 2, "--reason"),
        (("hold", "release", "a"), 2, "--reason"),
        (("hold", "release", "a", "--reason", "x"), 1, "no hold"),
        (("hold", "add", "--tenant", "nobody", "--name", "a", "--reason", "x"), 1, "nobody"),
        (("hold", "add", "--tenant", "acme", "--name", "a/b", "--reason", "x"), 2, "name"),
        (("hold", "add", "--tenant", "acme", "--name", "a", "--reason", " "), 2, "reason"),
    ],
)
def test_a_mistake_is_one_line_and_a_hint_and_holds_nothing(
    data_dir: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], status: int, said: str
) -> None:
    code, out, err = call(capsys, data_dir, *arguments)
    assert (code, out) == (status, "")
    assert re.fullmatch(r"error: [^\n]+\nhint: [^\n]+\n", err)
    assert said in err
    assert json.loads(call(capsys, data_dir, "hold", "list", "--json")[1]) == []


def test_the_delay_is_the_running_servers_else_that_of_the_file_given_else_of_the_data_directory(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data_dir / "config.toml").write_text("[retention]\nhold_release_delay_s = 1000000\n")
    given = data_dir / "given.toml"
    given.write_text("[retention]\nhold_release_delay_s = 60\n")

    def released(name: str, *more: str) -> float:
        call(capsys, data_dir, "hold", "add", "--tenant", "acme", "--name", name, "--reason", "x")
        return delay_s(
            json.loads(call(capsys, data_dir, "hold", "release", name, "--reason", "x", "--json", *more)[1])
        )

    assert released("one") == 1_000_000
    assert released("two", "--config", str(given)) == 60
    (data_dir / "run").mkdir()
    (data_dir / "run" / "serve.json").write_text('{"hold_release_delay_s": 90.0}')
    assert released("three", "--config", str(given)) == 90


def test_beside_a_running_server_a_hold_counts_at_once_and_is_in_the_trail(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with Serve(folder, OTEL_AUDIT__RETENTION__HOLD_RELEASE_DELAY_S="3600") as server:
        secret(folder, "tenant", "add", "acme")
        token = secret(folder, "token", "create", "--org", "acme", "--user", "a@b.example", "--role", "admin")
        run(folder, *add("--user", "ada@example.com"))
        returned = time.monotonic()
        bearer = {"authorization": f"Bearer {token}"}
        with httpx.Client(base_url=server.url("/api/v1/orgs/acme"), headers=bearer, verify=False) as client:
            [seen] = client.get("/holds").json()["holds"]
            assert time.monotonic() - returned < 1
            assert (seen["name"], seen["status"]) == ("matter-42", "active")
            released = run(folder, "hold", "release", "matter-42", "--reason", "settled", "--json").stdout
            assert delay_s(json.loads(released)) == 3600

            def changes() -> list[dict[str, Any]]:
                found = client.get("/events", params={"action": "hold_change"}).json()["events"]
                return list(found) if len(found) == 2 else []

            events = wait_for(changes, 10)
    assert {event["severity"] for event in events} == {"warning"}
    assert all(event["user_id"].startswith("os:") for event in events)


def test_a_name_that_no_hold_can_have_is_wrong_use(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(capsys, data_dir, "hold", "add", "--tenant", "acme", "--name", "-x", "--reason", "r")
    assert (code, [line.partition(": ")[0] for line in err.splitlines()]) == (2, ["error", "hint"])
