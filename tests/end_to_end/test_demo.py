"""`otel-audit demo`: one link into a console full of events, no secret, and nothing left behind."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from otel_audit.instrumentation.vocabulary import Category
from tests.support import process

RUN_S = 18
STOP_TIMEOUT_S = 60
ACTIONS_MIN = 25
# Whole secrets, not the prefix and last four that redaction leaves of a key.
SECRETS = {
    "JWT": re.compile(rb"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    "payment key": re.compile(rb"sk_live_[A-Za-z0-9]{24}"),
    "card": re.compile(rb"4000 00[0-9]{2} [0-9]{4} [0-9]{4}"),
    "customer's e-mail": re.compile(rb"[a-z]+\.[a-z0-9]{6}@customer\.example"),
    "typed password": re.compile(rb"(?:Sunflower|Marzipan|Lighthouse)-[A-Za-z0-9]{8}![0-9]"),
    "ingest key": re.compile(rb"oak_[0-9a-z]{12}_[0-9A-Za-z]{43}"),
}
RULES = {"jwt", "stripe_key", "api_key", "card", "email", "unknown_user"}


@contextmanager
def started(data_dir: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The demonstration; killed at the end when a failing test left it running."""
    command = [process.OTEL_AUDIT, "demo", "--data-dir", str(data_dir), *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=process.environment()) as demo:
        try:
            yield demo
        finally:
            if demo.poll() is None:
                demo.kill()


def url_of(demo: subprocess.Popen[str]) -> str:
    """The one line it prints."""
    assert demo.stdout is not None
    line = demo.stdout.readline()
    if not line:
        raise AssertionError(f"the demonstration exited {demo.wait()}: {demo.communicate()[1]}")
    return line.rstrip("\n")


def processes(data_dir: Path) -> dict[int, str]:
    """pid → command line of every process that names the folder, and of their children."""
    command = ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.split(None, 2) for line in listed.stdout.splitlines() if len(line.split(None, 2)) == 3]
    family = {int(pid) for pid, _, line in rows if str(data_dir) in line}
    return {int(pid): line for pid, parent, line in rows if family & {int(pid), int(parent)}}


def running(pids: dict[int, str]) -> dict[int, str]:
    """Those that still run; one that has ended and waits to be reaped by its parent does not."""
    command = ["ps", "-o", "pid=,stat=", "-p", ",".join(map(str, pids))]
    listed = subprocess.run(command, capture_output=True, text=True)
    states = dict(line.split(None, 1) for line in listed.stdout.splitlines())
    return {pid: line for pid, line in pids.items() if states.get(str(pid), "Z")[0] != "Z"}


def wait_until(condition: Callable[[], bool], message: str) -> None:
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(message)
        time.sleep(0.05)


@contextmanager
def logged_in(url: str) -> Iterator[httpx.Client]:
    """A browser that opened the link and let its form spend the ticket."""
    origin = f"http://{urlsplit(url).netloc}"
    [ticket] = parse_qs(urlsplit(url).query)["ticket"]
    with httpx.Client(base_url=origin, timeout=30, trust_env=False) as browser:
        page = browser.get(url)
        assert page.status_code == 200
        assert ticket in unescape(page.text)
        entered = browser.post("/login", data={"ticket": ticket}, headers={"origin": origin})
        assert entered.status_code == 303, entered.text
        form, sender = {"ticket": ticket}, {"origin": origin}
        again = httpx.post(f"{origin}/login", data=form, headers=sender, trust_env=False)
        assert again.status_code != 303, "the link logs in once"
        assert not again.cookies
        yield browser


def events_of(data_dir: Path, tenant: str) -> list[dict[str, Any]]:
    found = process.run(data_dir, "search", "--tenant", tenant, "--format", "ndjson", "--limit", "100000")
    return [json.loads(line) for line in found.stdout.splitlines()]


@pytest.mark.timeout(240)
def test_the_demo_shows_every_category_and_most_actions_and_no_secret(tmp_path: Path) -> None:
    data_dir = tmp_path / "demo"
    with started(data_dir, "--for", str(RUN_S)) as demo:
        with logged_in(url_of(demo)) as browser:
            answer = browser.get("/api/v1/orgs/acme/events", params={"limit": 1000})
            assert answer.status_code == 200
            assert len(answer.json()["events"]) >= 5
            assert browser.get("/o/acme/events").status_code == 200
            assert browser.get("/api/v1/orgs/globex/events").status_code == 404
        family = processes(data_dir)
        assert len(family) == 3, family
        assert not any(SECRETS["ingest key"].search(line.encode()) for line in family.values())
        out, log = demo.communicate(timeout=RUN_S + STOP_TIMEOUT_S)
    assert (demo.returncode, out) == (0, ""), log
    assert running(family) == {}

    events = events_of(data_dir, "acme")
    assert {event["category"] for event in events} == set(Category)
    actions = {(event["category"], event["action"]) for event in events}
    assert len(actions) >= ACTIONS_MIN, sorted(actions)
    assert {hit["rule"] for event in events for hit in event["redactions"] or []} >= RULES
    people = {event["user_email"] for event in events if event["action"] == "read"}
    assert people >= {"ada@acme.example", "ben@acme.example"}
    others = [event for event in events_of(data_dir, "globex") if event["service_name"] == "quire"]
    addresses = {event["client_address"] for event in others}
    assert addresses == {"203.0.113.130", "203.0.113.144"}
    assert not addresses & {event["client_address"] for event in events}

    shown = json.dumps(events).encode()
    for kind, pattern in SECRETS.items():
        assert not pattern.search(shown), kind
        found = [path for path in data_dir.rglob("*") if path.is_file() and pattern.search(path.read_bytes())]
        assert not found, kind
    process.run(data_dir, "verify", "--tenant", "acme")


@pytest.mark.timeout(240)
def test_a_second_run_goes_on_with_the_data_of_the_first_and_both_stop_at_a_signal(tmp_path: Path) -> None:
    data_dir = tmp_path / "demo"
    counts = []
    for stop in (signal.SIGINT, signal.SIGTERM):
        with started(data_dir) as demo:
            url_of(demo)
            family = processes(data_dir)
            demo.send_signal(stop)
            _, log = demo.communicate(timeout=STOP_TIMEOUT_S)
        assert demo.returncode == 0, log
        assert running(family) == {}
        counts.append(len(events_of(data_dir, "acme")))
    assert counts[1] > counts[0] > 0


@pytest.mark.timeout(240)
def test_children_do_not_outlive_a_killed_demo_and_a_second_one_is_refused(tmp_path: Path) -> None:
    data_dir = tmp_path / "demo"
    with started(data_dir) as demo:
        url_of(demo)
        second = process.run(data_dir, "demo", "--for", "1", check=False)
        family = processes(data_dir)
        demo.kill()
        demo.communicate(timeout=STOP_TIMEOUT_S)
    assert (second.returncode, second.stdout) == (1, "")
    refusal = r"^error: another process \(pid \d+\) writes to .*\nhint: .*--data-dir"
    assert re.search(refusal, second.stderr, re.MULTILINE)
    assert len(family) == 3
    wait_until(lambda: not running(family), f"still running: {family}")
