from __future__ import annotations

import errno
import shutil
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest

from otel_audit.exporter.wal import Position, Wal, WalFull, read_durable
from otel_audit.exporter.wal.segment import ALLOCATE_BYTES, FREE_BYTES_MIN, RESERVE_BYTES
from tests.support.wal_files import FaultyFiles, SmallDisk
from tests.support.wal_frames import FAST, frame, recovered

MIB = 1 << 20
OWN = 50_000
ROOM = FREE_BYTES_MIN + ALLOCATE_BYTES + RESERVE_BYTES + MIB


def fill(wal: Wal, size: int = MIB // 2) -> list[bytes]:
    """Append ordinary frames until one is refused for want of space; return those that were taken."""
    taken: list[bytes] = []
    while True:
        item = frame(len(taken), size=size)
        try:
            wal.append(item)
        except WalFull:
            return taken
        taken.append(item)


def own_events(wal: Wal, first: int = 1000, size: int = OWN) -> list[bytes]:
    """Append reserved frames, each a group of events, until one is refused; return those before it."""
    taken: list[bytes] = []
    while True:
        item = frame(first + len(taken), size=size)
        try:
            wal.append(item, reserved=True)
        except WalFull:
            return taken
        taken.append(item)


def test_a_full_disk_refuses_others_and_keeps_the_events_of_the_service(tmp_path: Path) -> None:
    disk = SmallDisk(ROOM)
    with Wal.open(tmp_path / "wal", fs=disk) as wal:
        others = fill(wal)
        assert others
        with pytest.raises(WalFull) as refusal:
            wal.append(frame(1, size=MIB))
        assert refusal.value.cause == "ENOSPC"
        assert refusal.value.hint
        # Another program takes all that is left.
        disk.free = 0
        own = own_events(wal)
        assert len(own) * OWN > RESERVE_BYTES - 2 * MIB
        with pytest.raises(WalFull):
            wal.append(frame(1))
        assert [item for _, item in read_durable(tmp_path / "wal")] == [*others, *own]
        assert wal.failure is None
    assert recovered(tmp_path / "wal") == [*others, *own]


def test_room_to_seal_stays_free(tmp_path: Path) -> None:
    disk = SmallDisk(ROOM + 10 * MIB)
    with Wal.open(tmp_path / "wal", fs=disk) as wal:
        fill(wal)
        assert FREE_BYTES_MIN <= disk.free < FREE_BYTES_MIN + 2 * ALLOCATE_BYTES


def test_space_that_comes_back_is_used_and_the_reserve_is_made_whole_first(tmp_path: Path) -> None:
    disk = SmallDisk(ROOM)
    with Wal.open(tmp_path / "wal", fs=disk) as wal:
        stored = fill(wal)
        disk.free = 0
        stored += own_events(wal)
        disk.free = FREE_BYTES_MIN + RESERVE_BYTES + 2 * MIB
        item = frame(5000, size=MIB)
        wal.append(item)
        stored.append(item)
        disk.free = 0
        again = own_events(wal, first=6000)
        assert len(again) * OWN > RESERVE_BYTES - 2 * MIB
    assert recovered(tmp_path / "wal") == [*stored, *again]


def test_a_full_disk_can_be_emptied_by_sealing_and_removing_the_only_segment(tmp_path: Path) -> None:
    disk = SmallDisk(ROOM)
    with Wal.open(tmp_path / "wal", fs=disk) as wal:
        fill(wal)
        disk.free = 0
        wal.append(frame(1, size=OWN), reserved=True)
        # The store has all rows in Parquet files.
        assert wal.roll() == 2
        # The reserve has moved to the new segment.
        own = own_events(wal)
        assert len(own) * OWN > RESERVE_BYTES - MIB
        wal.remove(1)
        disk.free += FREE_BYTES_MIN + RESERVE_BYTES
        wal.append(frame(2))
        assert wal.segments() == [2]
    assert recovered(tmp_path / "wal") == [*own, frame(2)]


def test_the_reserve_is_there_after_a_restart_on_a_full_disk(tmp_path: Path) -> None:
    disk = SmallDisk(ROOM)
    with Wal.open(tmp_path / "wal", fs=disk) as wal:
        stored = fill(wal)
    # Not even the block for the new `durable`.
    disk.free = 0
    with Wal.open(tmp_path / "wal", fs=disk) as wal:
        with pytest.raises(WalFull):
            wal.append(frame(1, size=MIB))
        own = own_events(wal)
        assert len(own) * OWN > RESERVE_BYTES - MIB
    assert recovered(tmp_path / "wal") == [*stored, *own]


def test_a_start_after_a_kill_on_a_full_disk_lives_on_what_was_allocated(tmp_path: Path) -> None:
    disk = SmallDisk(ROOM)
    with Wal.open(tmp_path / "wal", fs=disk) as wal:
        durable = (tmp_path / "wal" / "durable").read_bytes()
        stored = fill(wal, size=100_000)
        shutil.copytree(tmp_path / "wal", tmp_path / "killed")
    # As after a power loss: everything has to be written again.
    (tmp_path / "killed" / "durable").write_bytes(durable)
    full = SmallDisk(4096)
    for path in (tmp_path / "killed").iterdir():
        full.adopt(path)
    with Wal.open(tmp_path / "killed", fs=full) as wal:
        assert wal.recovery.rewritten_records == len(stored)
        own = own_events(wal)
        assert len(own) * OWN > RESERVE_BYTES - MIB
    assert recovered(tmp_path / "killed") == [*stored, *own]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EMFILE, errno.EROFS])
def test_a_segment_that_cannot_be_followed_still_takes_the_events_of_the_service(
    tmp_path: Path, code: int
) -> None:
    fs = FaultyFiles(1, code, for_ever=True, only=frozenset())
    with Wal.open(tmp_path / "wal", fs=fs, segment_bytes_max=5000) as wal:
        wal.append(frame(0, size=600))
        fs.only = frozenset({"open"})
        with pytest.raises(WalFull):
            wal.append(frame(1, size=900))
        own = [frame(number, size=900) for number in range(2, 6)]
        for item in own:
            wal.append(item, reserved=True)
        assert wal.segments() == [1]
        fs.heal()
        wal.append(frame(7, size=900))
        assert wal.segments() == [1, 2]
    assert recovered(tmp_path / "wal") == [frame(0, size=600), *own, frame(7, size=900)]


def test_in_one_group_only_the_frames_of_others_are_refused(tmp_path: Path) -> None:
    fs = FaultyFiles(1, errno.ENOSPC, for_ever=True, only=frozenset())
    reached, go = threading.Event(), threading.Event()

    def hold(position: Position) -> None:
        reached.set()
        go.wait(20)

    with Wal.open(tmp_path / "wal", fs=fs) as wal:
        wal.submit(frame(0, size=3 * MIB), hold)
        assert reached.wait(20)
        group: list[Future[Position]] = [
            wal.submit(frame(number, size=MIB), reserved=number % 2 == 1) for number in range(1, 6)
        ]
        fs.only = frozenset({"allocate"})
        go.set()
        for number, future in enumerate(group, 1):
            if number % 2 == 1:
                future.result(20)
            else:
                with pytest.raises(WalFull):
                    future.result(20)
        assert wal.queued_bytes == 0
    assert recovered(tmp_path / "wal") == [
        frame(0, size=3 * MIB),
        *(frame(number, size=MIB) for number in (1, 3, 5)),
    ]


def test_a_queue_full_of_others_still_takes_the_events_of_the_service(tmp_path: Path) -> None:
    reached, go = threading.Event(), threading.Event()

    def hold(position: Position) -> None:
        reached.set()
        go.wait(20)

    with Wal.open(tmp_path / "wal", fs=FAST, queue_bytes_max=1000, reserve_bytes=500) as wal:
        futures = [wal.submit(frame(0), hold)]
        assert reached.wait(20)
        futures += [wal.submit(frame(number)) for number in range(1, 8)]
        with pytest.raises(WalFull) as refusal:
            wal.submit(frame(9, size=400))
        assert refusal.value.cause == "queue"
        futures.append(wal.submit(frame(10, size=300), reserved=True))
        # Bounded all the same.
        with pytest.raises(WalFull):
            wal.submit(frame(11, size=300), reserved=True)
        go.set()
        for future in futures:
            future.result(20)
    assert recovered(tmp_path / "wal") == [*(frame(n) for n in range(8)), frame(10, size=300)]


def test_a_refused_write_does_not_cost_the_reserve(tmp_path: Path) -> None:
    fs = FaultyFiles(1, errno.ENOSPC, short=True, for_ever=True, only=frozenset())
    with Wal.open(tmp_path / "wal", fs=fs) as wal:
        wal.append(frame(0))
        fs.calls, fs.only = 0, frozenset({"pwrite"})
        with pytest.raises(WalFull):
            wal.append(frame(1, size=900))
        fs.only = frozenset({"allocate"})
        wal.append(frame(2, size=900), reserved=True)
    assert recovered(tmp_path / "wal") == [frame(0), frame(2, size=900)]
