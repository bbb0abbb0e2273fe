"""The commands that read a data directory, with and without a running server."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.support.otlp_client import record, send
from tests.support.process import Serve, run, secret, wait_for


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One organization with three events, its server stopped again."""
    folder = tmp_path_factory.mktemp("local") / "data"
    with Serve(folder) as server:
        secret(folder, "tenant", "add", "acme")
        key = secret(folder, "key", "create", "--tenant", "acme")
        events = [record(), record("security", "access_denied"), record("authentication", "login_failed")]
        send(server.addresses["otlp_http"], key, events)
        lines = run(folder, "search", "--tenant", "acme", "--service", "tests", "--format", "ndjson").stdout
        assert len(lines.splitlines()) == 3, "a command beside the server sees what was acknowledged"
    return folder


def test_a_search_is_itself_in_the_trail_once_a_writer_ran(data_dir: Path) -> None:
    run(data_dir, "search", "--tenant", "acme", "--q", "my-leaked-passphrase")
    run(data_dir, "files", "--tenant", "acme", "--seal")
    output = run(data_dir, "search", "--tenant", "acme", "--action", "search", "--format", "ndjson").stdout
    events = [json.loads(line) for line in output.splitlines()]
    assert events
    assert all(event["user_id"].startswith("os:") for event in events)
    assert "my-leaked-passphrase" not in output
    assert "[SEARCH_TEXT:" in output


def test_sql_and_export_see_every_event(data_dir: Path, tmp_path: Path) -> None:
    statement = "SELECT count(*) AS n FROM audit_events WHERE service_name = 'tests'"
    output = run(data_dir, "sql", "--tenant", "acme", "--format", "ndjson", statement).stdout
    assert json.loads(output) == {"n": 3}
    target = tmp_path / "out.csv"
    run(data_dir, "export", "--tenant", "acme", "-o", str(target), "--service", "tests")
    with target.open(newline="") as file:
        assert {row["action"] for row in csv.DictReader(file)} == {"read", "access_denied", "login_failed"}
    again = run(data_dir, "export", "--tenant", "acme", "-o", str(target), check=False)
    assert (again.returncode, "hint:" in again.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("search", "--tenant", "nobody"), 1),
        (("search", "--tenant", "acme", "--severity", "loud"), 2),
        (("search",), 2),
        (("sql", "--tenant", "acme", "DROP TABLE x"), 1),
        (("sql", "--tenant", "acme", "SELECT 1; SELECT 2"), 1),
        (("retention", "run", "--now", "yesterday"), 2),
        (("serve", "--http", "0.0.0.0:0"), 1),
        (("serve", "--http", "nowhere"), 1),
    ],
)
def test_a_mistake_is_one_line_and_a_hint(data_dir: Path, arguments: tuple[str, ...], status: int) -> None:
    done = run(data_dir, *arguments, check=False)
    assert done.returncode == status
    lines = done.stderr.splitlines()
    assert lines[0].startswith("error: ")
    assert all(line.startswith("hint: ") for line in lines[1:])
    assert len(lines) == 2


def test_a_second_server_on_the_directory_exits_1_with_a_hint(data_dir: Path) -> None:
    with Serve(data_dir) as server:
        done = run(data_dir, "serve", "--lock-timeout", "1s", *_free_ports(), check=False)
        assert done.returncode == 1
        assert "another process" in done.stderr
        assert "hint: " in done.stderr
        assert server.process is not None


def test_retention_beside_a_running_server_is_done_by_it_and_recorded(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with Serve(folder) as server:
        secret(folder, "tenant", "add", "acme")
        key = secret(folder, "key", "create", "--tenant", "acme")
        send(server.addresses["otlp_http"], key, [record(), record(action="response_generate")])
        asked = ("retention", "run", "--now", "2099-01-01", "--json")
        would = json.loads(run(folder, *asked, "--dry-run").stdout)
        done = json.loads(run(folder, *asked).stdout)
        classes = {(p["tenant"], p["retention"]) for p in done["partitions"]}
        assert {("acme", "standard"), ("acme", "rag")} <= classes
        assert len(would["partitions"]) == len(done["partitions"])

        def recorded() -> bool:
            output = run(folder, "search", "--tenant", "acme", "--format", "ndjson").stdout
            return any(json.loads(line)["action"] == "retention_delete" for line in output.splitlines())

        assert wait_for(recorded)
        assert run(folder, "verify", "--tenant", "acme").returncode == 0


def _free_ports() -> list[str]:
    flags = ("--otlp-grpc", "--otlp-http", "--http", "--metrics")
    return [part for flag in flags for part in (flag, "127.0.0.1:0")]
