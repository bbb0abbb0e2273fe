from __future__ import annotations

import random
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from otel_audit.exporter.wal import Wal, read_durable
from tests.faults.conftest import Count
from tests.support.wal_frames import LONG, TIMEOUT_S
from tests.support.wal_nursery import Nursery
from tests.support.wal_victim import payload

pytestmark = pytest.mark.timeout(TIMEOUT_S)

CYCLES = 2000 if LONG else 200
# What was checked need not be read again and again.
FRESH_LOG_EVERY = 10


def test_every_frame_acknowledged_before_a_kill_is_there_exactly_once(
    tmp_path: Path, ram_path: Path, count: Count
) -> None:
    # The long form on a disk, with kills during real syncs; the short one where more frames fit into a cycle.
    folder = tmp_path if LONG else ram_path
    rng = random.Random(3)
    notes = folder / "history"
    acknowledged: set[bytes] = set()
    durable_once: set[bytes] = set()
    total = 0
    with Nursery() as nursery:
        for cycle in range(CYCLES):
            victim = nursery.start(directory=str(folder / "wal"), notes=str(notes), cycle=cycle)
            assert nursery.line() == b"ready\n"
            time.sleep(rng.uniform(0.0, 0.04))
            nursery.kill(victim)
            history = notes.read_bytes().split(b"\n")[:-1] if notes.exists() else []
            total += len(history)
            acknowledged.update(history)
            notes.unlink(missing_ok=True)
            # As another process sees it, before anybody has recovered anything.
            found = names(item for _, item in read_durable(folder / "wal"))
            assert exactly_once(found)
            assert acknowledged <= set(found)
            # What readers saw once, no later kill takes away.
            assert durable_once <= set(found)
            durable_once = set(found)
            count("kill -9 of a writer under load", 1)
            if cycle % FRESH_LOG_EVERY == FRESH_LOG_EVERY - 1:
                with Wal.open(folder / "wal") as wal:
                    assert not wal.recovery.damaged
                    assert not wal.recovery.missing_records
                    found = names(item for _, item in wal.replay())
                    assert exactly_once(found)
                    assert durable_once <= set(found)
                    wal.roll()
                    for segment in wal.segments()[:-1]:
                        wal.remove(segment)
                acknowledged.clear()
                durable_once.clear()
    count("frames acknowledged before kills, none lost, none twice", total)
    assert total > CYCLES


def names(payloads: Iterable[bytes]) -> list[bytes]:
    """The name each frame carries; every other byte must be the one that name stands for."""
    found: list[bytes] = []
    for item in payloads:
        name = item[: item.index(b"\0")]
        assert item == payload(name)
        found.append(name)
    return found


def exactly_once(found: list[bytes]) -> bool:
    """Whether no frame is there twice and those of each writer stand in the order of submission."""
    last: dict[tuple[int, int], int] = {}
    for item in found:
        cycle, who, number = map(int, item.split())
        if last.get((cycle, who), 0) >= number:
            return False
        last[cycle, who] = number
    return True
