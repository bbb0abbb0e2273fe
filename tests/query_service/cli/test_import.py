"""`otel-audit import` as a user runs it, beside a running server and without one."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import pty
import random
import re
import signal
import sqlite3
import string
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import zstandard
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from tests.support.otlp_client import post, record, request
from tests.support.otlp_json import as_json
from tests.support.process import OTEL_AUDIT, Serve, environment, find_bytes, run, secret, wait_for


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory with one organization and no server."""
    folder = tmp_path / "data"
    secret(folder, "tenant", "add", "acme")
    return folder


_ANY = ("search", "--tenant", "acme", "--service", "tests", "--format", "ndjson", "--limit", "1")


def line_of(records: Sequence[LogRecord]) -> str:
    return json.dumps(as_json(request(records)))


def write(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def load(data_dir: Path, *arguments: str, status: int = 0) -> dict[str, Any]:
    """Import and return the summary."""
    done = run(data_dir, "import", "--tenant", "acme", "--json", *arguments, check=False)
    assert done.returncode == status, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def events(data_dir: Path, *filters: str) -> list[dict[str, Any]]:
    asked = ("search", "--tenant", "acme", "--format", "ndjson", "--limit", "1000000", *filters)
    return [json.loads(line) for line in run(data_dir, *asked).stdout.splitlines()]


def test_what_came_over_the_wire_is_not_imported_again_nor_the_other_way_round(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    both = [request([record(), record()]), request([record()])]
    for each in (one for batch in both for one in batch.resource_logs[0].scope_logs[0].log_records[1:]):
        del each.attributes[0]  # one without an id
    file = write(tmp_path / "logs.json", *(json.dumps(as_json(batch)) for batch in both))
    with Serve(folder) as server:
        secret(folder, "tenant", "add", "acme")
        key = secret(folder, "key", "create", "--tenant", "acme")
        address = server.addresses["otlp_http"]
        assert post(address, key, both[0].SerializeToString())[0] == 200
        summary = load(folder, file)
        assert (summary["new"], summary["repeats"]) == (1, 2)
        assert post(address, key, both[1].SerializeToString())[0] == 200
        assert len(events(folder, "--service", "tests")) == 3
    assert load(folder, file)["repeats"] == 3
    assert run(folder, "verify", "--tenant", "acme").returncode == 0


def test_a_bad_line_is_told_by_its_number_kept_aside_and_makes_the_exit_status_1(
    data_dir: Path, tmp_path: Path
) -> None:
    file = write(tmp_path / "in.json", line_of([record()]), '{"resourceLogs": [', line_of([record()]))
    done = run(data_dir, "import", "--tenant", "acme", file, check=False)
    assert (done.returncode, done.stdout) == (1, "3 lines, 2 events: 2 new, 0 repeats, 1 rejected\n")
    assert f"{file}:2: not JSON, or cut off" in done.stderr
    (kept,) = (data_dir / "store" / "tenant=acme" / "_quarantine").iterdir()
    assert str(kept) in done.stderr.replace("\n", "")
    assert json.loads(kept.read_text())["line"] == 2


def test_an_export_comes_back_as_repeats_from_gzip_zstd_and_standard_input(
    data_dir: Path, tmp_path: Path
) -> None:
    load(data_dir, write(tmp_path / "in.json", line_of([record() for _ in range(5)])))
    out = tmp_path / "out.ndjson"
    run(data_dir, "export", "--tenant", "acme", "--service", "tests", "--format", "ndjson", "-o", str(out))
    packed = (tmp_path / "out.gz", tmp_path / "out.zst")
    packed[0].write_bytes(gzip.compress(out.read_bytes()))
    packed[1].write_bytes(zstandard.compress(out.read_bytes()))
    summary = load(data_dir, str(out), *map(str, packed))
    assert (summary["lines"], summary["new"], summary["repeats"]) == (15, 0, 15)
    piped = subprocess.run(
        [OTEL_AUDIT, "import", "--data-dir", str(data_dir), "--tenant", "acme", "-"],
        input=out.read_bytes(),
        capture_output=True,
        env=environment(),
        check=True,
    )
    assert piped.stdout == b"5 lines, 5 events: 0 new, 5 repeats, 0 rejected\n"
    assert len(events(data_dir, "--service", "tests")) == 5


def test_an_import_is_in_the_trail_with_who_what_and_how_much(data_dir: Path, tmp_path: Path) -> None:
    load(data_dir, write(tmp_path / "in.json", line_of([record()])), "--historic")
    started, completed = reversed(events(data_dir, "--resource-type", "import"))
    assert (started["action"], completed["action"]) == ("task_started", "task_completed")
    assert completed["user_id"].startswith("os:")
    assert started["resource_id"] == completed["resource_id"]
    assert completed["attributes"]["otel_audit.import.new"] == 1
    assert completed["attributes"]["otel_audit.import.files"] == [str(tmp_path / "in.json")]
    assert completed["attributes"]["otel_audit.import.historic"] is True


def test_expired_events_come_in_only_when_asked_for(data_dir: Path, tmp_path: Path) -> None:
    old = datetime.now(UTC) - timedelta(days=400)
    file = write(
        tmp_path / "old.json",
        line_of([record(time_ns=int(old.timestamp()) * 10**9), record(record_id=None)]),
    )
    summary = load(data_dir, file, "--historic", status=1)
    assert (summary["new"], summary["rejected"]) == (1, 1)
    entry = json.loads(Path(summary["kept_aside"]).read_text())
    assert entry["event"]["time"].startswith(old.date().isoformat())
    assert load(data_dir, file, "--historic", "--allow-expired")["new"] == 1
    (event,) = events(data_dir, "--from", (old - timedelta(days=1)).date().isoformat(), "--service", "tests")[
        1:
    ]
    assert (event["date"], event["flags"]) == (old.date().isoformat(), ["imported"])


def test_an_expired_event_that_a_hold_keeps_is_stored_and_stays(data_dir: Path, tmp_path: Path) -> None:
    run(data_dir, "hold", "add", "--tenant", "acme", "--name", "a", "--reason", "x", "--user", "ada")
    run(data_dir, "hold", "add", "--tenant", "acme", "--name", "b", "--reason", "x", "--q", "Nothing")
    old = int((datetime.now(UTC) - timedelta(days=400)).timestamp()) * 10**9
    users = [record(time_ns=old, user__id=name) for name in ("ada", "bo")]
    file = write(tmp_path / "old.json", line_of(users))

    def left() -> list[str]:
        return [event["user_id"] for event in events(data_dir, "--range", "500d", "--service", "tests")]

    summary = load(data_dir, file, "--historic", status=1)
    assert (summary["new"], summary["rejected"], summary["held"], summary["expired"]) == (1, 1, 1, 0)
    assert '"bo"' in Path(summary["kept_aside"]).read_text()
    run(data_dir, "retention", "run")
    assert left() == ["ada"]
    done = run(data_dir, "import", "--tenant", "acme", "--historic", "--allow-expired", file)
    assert "1 expired events are stored because a legal hold keeps them" in done.stderr
    assert "1 events are expired and not held: the next retention run deletes them" in done.stderr
    assert sorted(left()) == ["ada", "bo"]
    run(data_dir, "retention", "run")
    assert left() == ["ada"]


def test_when_a_hold_cannot_be_read_no_expired_event_is_refused(data_dir: Path, tmp_path: Path) -> None:
    run(data_dir, "hold", "add", "--tenant", "acme", "--name", "a", "--reason", "x", "--user", "ada")
    with contextlib.closing(sqlite3.connect(data_dir / "control.sqlite")) as raw, raw:
        raw.execute("""UPDATE holds SET filters = '[["of_a_newer_release", "x"]]'""")
    old = int((datetime.now(UTC) - timedelta(days=400)).timestamp()) * 10**9
    file = write(tmp_path / "old.json", line_of([record(time_ns=old)]))
    summary = load(data_dir, file, "--historic")
    assert (summary["new"], summary["held"]) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("--tenant", "acme"), 2),
        (("--tenant", "acme", "--allow-expired", "FILE"), 2),
        (("FILE",), 2),
        (("--tenant", "acme", "missing.json"), 1),
        (("--tenant", "nobody", "FILE"), 1),
    ],
)
def test_a_mistake_is_one_line_and_a_hint(
    data_dir: Path, tmp_path: Path, arguments: tuple[str, ...], status: int
) -> None:
    file = write(tmp_path / "in.json", line_of([record()]))
    done = run(data_dir, "import", *(file if a == "FILE" else a for a in arguments), check=False)
    assert done.returncode == status
    assert [line.partition(": ")[0] for line in done.stderr.splitlines()] == ["error", "hint"]
    assert events(data_dir) == events(data_dir, "--resource-type", "tenant")


def test_compressed_input_that_ends_too_early_fails_after_storing_what_came_before(
    data_dir: Path, tmp_path: Path
) -> None:
    path = tmp_path / "cut.gz"
    whole = gzip.compress("".join(line_of([record(n=n)]) + "\n" for n in range(3_000)).encode())
    path.write_bytes(whole[: len(whole) // 2])
    other = write(tmp_path / "other.json", line_of([record(n=3_000)]))
    done = run(data_dir, "import", "--tenant", "acme", "--json", str(path), other, check=False)
    assert done.returncode == 1
    error, hint = done.stderr.splitlines()
    told = re.fullmatch(r"error: .*cut\.gz: the compressed input is damaged after line ([0-9]+)", error)
    assert told is not None
    read = int(told[1])
    assert hint.startswith("hint: ")
    assert json.loads(done.stdout)["new"] == read + 1
    assert len(events(data_dir, "--service", "tests")) == read + 1
    (failed,) = events(data_dir, "--action", "task_failed")
    assert failed["outcome"] == "failure"


def test_a_secret_in_a_file_is_found_nowhere_below_the_data_directory(tmp_path: Path) -> None:
    def made(length: int) -> str:
        return "".join(random.choices(string.ascii_letters + string.digits, k=length))

    password, session, key, typed = made(16), made(30), "sk_live_" + made(24), made(12)
    everything = f"password={password} key {key}"
    event = {
        "time": datetime.now(UTC).isoformat(),
        "category": "authentication",
        "action": "login_failed",
        "user_name": typed,
        "session_id": session,
        "message": everything,
        "attributes": {"password": password, "note": everything},
        "redactions": [{"rule": key, "field": f"attributes.{password}", "count": 1}],
        "flags": [key],
    }
    old = {**event, "time": "2020-01-01T00:00:00Z"}
    otlp = line_of([record(body=everything, password=password, session__id=session, note=everything)])
    whole = json.dumps(event)
    lines = [whole, json.dumps(old), otlp, json.dumps({**event, "time": "never"}), json.dumps([event])]
    lines += [text[:cut] for text in (whole, otlp) for cut in range(len(text) // 2, len(text) - 1, 97)]
    lines += [whole.replace('"', "", 1), otlp.replace('"', "", 1), everything]
    file = write(tmp_path / f"{key}.json", *lines)
    needles = [text.encode() for text in (password, session, key, typed)]
    folder = tmp_path / "data"
    outputs = []
    with Serve(folder) as server:
        secret(folder, "tenant", "add", "acme")
        done = run(folder, "import", "--tenant", "acme", "--historic", file, check=False)
        assert done.returncode == 1
        outputs.append(run(folder, "search", "--tenant", "acme", "--format", "ndjson").stdout.encode())
        wait_for(lambda: events(folder, "--action", "task_completed"))
        assert find_bytes(folder, needles) == []
        run(folder, "files", "--tenant", "acme", "--seal")
    outputs.append(server.log.read_bytes())
    # Without a server, everything again.
    outputs.append(
        run(
            folder, "import", "--tenant", "acme", "--historic", "--allow-expired", file, check=False
        ).stdout.encode()
    )
    assert find_bytes(folder, needles) == []
    assert [needle for needle in needles for output in outputs if needle in output] == []
    assert len(events(folder, "--from", "2019-01-01", "--action", "login_failed")) == 2


@pytest.mark.parametrize("beside_a_server", [True, False], ids=["beside a server", "alone"])
def test_kill_9_in_the_middle_and_running_again_stores_every_event_once(
    tmp_path: Path, beside_a_server: bool
) -> None:
    folder = tmp_path / "data"
    secret(folder, "tenant", "add", "acme")
    total = 12_000
    base = time.time_ns()
    lines = []
    for start in range(0, total, 50):
        batch = [record(n=n, time_ns=base + n) for n in range(start, start + 50)]
        for each in batch[::2]:
            del each.attributes[0]  # half of them without an id
        lines.append(line_of(batch))
    file = write(tmp_path / "logs.json", *lines)
    server = Serve(folder, OTEL_AUDIT__STORE__SEAL_INTERVAL_S="1")
    if beside_a_server:
        server.start()
    with subprocess.Popen(
        [OTEL_AUDIT, "import", "--data-dir", str(folder), "--tenant", "acme", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(OTEL_AUDIT__STORE__SEAL_ROWS="3000"),
    ) as killed:
        assert killed.stdin is not None
        half = len(lines) // 2
        killed.stdin.write("\n".join(lines[:half]).encode() + b"\n")
        killed.stdin.flush()
        wait_for(lambda: "tests" in run(folder, *_ANY, check=False).stdout)
        # The kill falls on whatever it is doing with the next ones.
        killed.stdin.write("\n".join(lines[half:-50]).encode())
        time.sleep(random.uniform(0, 0.5))
        killed.kill()
    stored = len(events(folder, "--service", "tests"))
    assert 0 < stored < total, "the kill came too late: the test shows nothing"
    summary = load(folder, file)
    assert (summary["events"], summary["new"] + summary["repeats"]) == (total, total)
    assert summary["repeats"] >= stored
    found = events(folder, "--service", "tests")
    assert len(found) == total
    assert set(Counter(event["attributes"]["n"] for event in found).values()) == {1}
    if beside_a_server:
        assert server.stop() == 0
    assert run(folder, "verify", "--tenant", "acme").returncode == 0


def test_a_server_that_goes_away_ends_the_import_with_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    server = Serve(folder).start()
    secret(folder, "tenant", "add", "acme")
    with subprocess.Popen(
        [OTEL_AUDIT, "import", "--data-dir", str(folder), "--tenant", "acme", "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        batch = line_of([record() for _ in range(2_000)]).encode() + b"\n"
        process.stdin.write(batch)
        process.stdin.flush()
        wait_for(lambda: events(folder, "--service", "tests"))
        server.kill()
        _, errors = process.communicate(batch, timeout=60)
        assert process.returncode == 1
        assert b"the server went away" in errors
        assert b"hint: run the command again" in errors


@pytest.fixture
def at_a_terminal() -> Iterator[None]:
    """Commands hear Ctrl-C, also when a shell runs these tests in the background and so deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("at_a_terminal")
def test_ctrl_c_ends_an_import_at_once_and_is_recorded(data_dir: Path) -> None:
    with subprocess.Popen(
        [OTEL_AUDIT, "import", "--data-dir", str(data_dir), "--tenant", "acme", "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(line_of([record() for _ in range(2_000)]).encode() + b"\n")
        process.stdin.flush()
        wait_for(lambda: "tests" in run(data_dir, *_ANY, check=False).stdout)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    (failed,) = events(data_dir, "--action", "task_failed")
    assert failed["attributes"]["otel_audit.import.lines"] == 1


def test_a_terminal_shows_a_bar_and_a_pipe_does_not(data_dir: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "in.json", line_of([record()]))
    assert run(data_dir, "import", "--tenant", "acme", file).stderr == ""
    leader, follower = pty.openpty()
    command = [OTEL_AUDIT, "import", "--data-dir", str(data_dir), "--tenant", "acme", file]
    subprocess.run(
        command, stderr=follower, stdout=subprocess.DEVNULL, env=environment(TERM="xterm"), check=True
    )
    os.close(follower)
    shown = os.read(leader, 65536)
    os.close(leader)
    assert b"in.json" in shown
    assert b"1 lines" in shown
