from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from otel_audit.exporter.wal import Wal, read_durable
from tests.support.wal_frames import LONG, TIMEOUT_S

pytestmark = pytest.mark.timeout(TIMEOUT_S)

CYCLES = 2000 if LONG else 10
VICTIM = Path(__file__).parents[1] / "support" / "wal_victim.py"


def kill_while_writing(directory: Path, notes: Path, cycle: int, after_s: float) -> None:
    victim = subprocess.Popen(
        [sys.executable, str(VICTIM), str(directory), str(notes), str(cycle)], stdout=subprocess.PIPE
    )
    try:
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"ready\n"
        time.sleep(after_s)
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.communicate()


def test_every_frame_acknowledged_before_a_kill_is_there_exactly_once(tmp_path: Path) -> None:
    rng = random.Random(3)
    notes = tmp_path / "acknowledged"
    total = 0
    for cycle in range(CYCLES):
        kill_while_writing(tmp_path / "wal", notes, cycle, rng.uniform(0.0, 0.12))
        acknowledged = notes.read_bytes().split(b"\n")[:-1] if notes.exists() else []
        before_recovery = [name(payload) for _, payload in read_durable(tmp_path / "wal")]
        assert set(acknowledged) <= set(before_recovery)
        if cycle % 50 == 49 or cycle == CYCLES - 1:
            with Wal.open(tmp_path / "wal") as wal:
                assert not wal.recovery.damaged
                assert not wal.recovery.missing_records
                found = [name(payload) for _, payload in wal.replay()]
                for segment in wal.segments()[:-1]:
                    wal.remove(segment)
            assert Counter(found).most_common(1)[0][1] == 1
            assert set(acknowledged) <= set(found)
            assert in_order(found)
            total += len(acknowledged)
            # Start over: what was checked need not be read again.
            with Wal.open(tmp_path / "wal") as wal:
                wal.append(b"0 0 0\0")
                wal.roll()
                for segment in wal.segments()[:-1]:
                    wal.remove(segment)
            notes.unlink()
    assert total > CYCLES


def name(payload: bytes) -> bytes:
    return payload[: payload.index(b"\0")]


def in_order(found: list[bytes]) -> bool:
    """Whether the frames of every writer of every process stand in the order they were submitted."""
    last: dict[tuple[int, int], int] = {}
    for item in found:
        cycle, who, number = map(int, item.split())
        if last.get((cycle, who), 0) >= number:
            return False
        last[cycle, who] = number
    return True
