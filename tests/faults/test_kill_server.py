"""kill -9 of the real store under load, while sealing, compaction and retention run."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.reader import StoreReader
from otel_audit.exporter.store.store import Store
from tests.support.api_client import admin, tenant_with_key
from tests.support.process import Serve, wait_for
from tests.support.sender import Sender
from tests.support.store_operations import NOW, check_folder, expire_with_a_hold, found_ids
from tests.support.store_worker import DUE_ROW
from tests.support.wal_frames import LONG, TIMEOUT_S

pytestmark = pytest.mark.timeout(TIMEOUT_S)

ROOT = Path(__file__).resolve().parents[2]
CYCLES = 200 if LONG else 20
# Listeners wait for requests under way, the log for its queue; both far less than supervisors wait.
DRAIN_S_MAX = 30.0


def kill_while_working(root: Path, notes: Path, cycle: int, rng: random.Random) -> None:
    """Kill the worker some time after its first acknowledgements of this cycle."""
    command = [sys.executable, "-m", "tests.support.store_worker", str(root), str(notes), str(cycle)]
    worker = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert worker.stdout is not None
        if worker.stdout.readline() == b"ready\n":
            enough = size_of(notes) + rng.randrange(1, 20_000)
            wait_for(lambda: size_of(notes) >= enough or worker.poll() is not None)
            time.sleep(rng.uniform(0, 0.2))
        ended = worker.poll()
    finally:
        worker.kill()
        _, said = worker.communicate()
    assert ended is None, said.decode()


def size_of(notes: Path) -> int:
    return notes.stat().st_size if notes.exists() else 0


def is_due(event_id: str) -> bool:
    return event_id.endswith(str(DUE_ROW))


def test_kills_while_everything_runs_lose_and_double_no_acknowledged_event(tmp_path: Path) -> None:
    rng = random.Random(11)
    root, notes = RegionRoot(tmp_path / "root"), tmp_path / "acknowledged"
    started = time.monotonic()
    acknowledged: set[str] = set()
    for cycle in range(CYCLES):
        kill_while_working(root.path, notes, cycle, rng)
        acknowledged = set(notes.read_text().splitlines())
        to_stay = {name for name in acknowledged if not is_due(name)}
        # As another process sees it, before anybody has recovered it.
        compare(found_ids(StoreReader(root)), to_stay, cycle)
        if cycle % 5 == 4 or cycle == CYCLES - 1:
            store = Store(root, now=NOW.timestamp)
            compare(found_ids(store), to_stay, cycle)
            check_folder(store, cycle, tidied=True)
            expire_with_a_hold(store)
            found = found_ids(store)
            assert not [name for name in found if is_due(name)], cycle
            compare(found, to_stay, cycle)
            store.close()
    assert len(acknowledged) > CYCLES * 10
    seconds = time.monotonic() - started
    print(f"{CYCLES} kills in {seconds:.0f} s: {len(acknowledged)} events acknowledged, 0 lost, 0 doubled")


def test_a_server_told_to_stop_finishes_what_it_took_and_the_rest_is_replayed(tmp_path: Path) -> None:
    server = Serve(tmp_path / "data", OTEL_AUDIT__STORE__SEAL_INTERVAL_S="1").start()
    key = tenant_with_key(server)
    senders = [Sender(server.addresses["otlp_http"], key) for _ in range(3)]
    for sender in senders:
        sender.start()
    for _ in range(20 if LONG else 2):
        time.sleep(random.uniform(0.1, 0.6))
        ports = server.ports
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < DRAIN_S_MAX
        server.start(ports)
    for sender in senders:
        sender.finish.set()
    for sender in senders:
        sender.join(90)
        assert not sender.is_alive()
    acknowledged = [name for sender in senders for name in sender.acknowledged]
    events = admin(server).all_events(service="tests")
    assert Counter(event["event_id"] for event in events) == Counter(acknowledged)
    assert server.stop() == 0


def compare(found: list[str], to_stay: set[str], cycle: int) -> None:
    counts = Counter(found)
    assert not [name for name, count in counts.items() if count > 1], cycle
    assert not to_stay - counts.keys(), cycle
