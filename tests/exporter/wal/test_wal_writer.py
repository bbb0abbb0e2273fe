from __future__ import annotations

import errno
import shutil
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest

from otel_audit.exporter.wal import (
    Position,
    SegmentVanished,
    Wal,
    WalClosed,
    WalFailed,
    WalFull,
    read_durable,
)
from otel_audit.exporter.wal.errors import FrameRefused, WalError, WalLocked
from otel_audit.exporter.wal.format import FRAME_BYTES_MAX
from tests.support.wal_files import FastFiles, FaultyFiles
from tests.support.wal_frames import FAST, frame, recovered


class HeldFiles(FastFiles):
    """A disk whose syncs of file content wait until they are let go."""

    def __init__(self) -> None:
        self.may_sync = threading.Event()
        self.may_sync.set()
        self.syncs = 0

    def sync(self, descriptor: int) -> None:
        self.syncs += 1
        assert self.may_sync.wait(20)


def test_an_appended_frame_is_there_after_a_restart(tmp_path: Path) -> None:
    with Wal.open(tmp_path / "wal") as wal:
        positions = [wal.append(frame(number)) for number in range(5)]
        assert positions == sorted(set(positions))
        assert wal.durable == positions[-1]
    with Wal.open(tmp_path / "wal") as wal:
        assert list(wal.replay()) == [(positions[number], frame(number)) for number in range(5)]
        assert wal.recovery.records == 5
        assert not wal.recovery.damaged


def test_a_clean_restart_goes_on_in_the_same_segment(tmp_path: Path) -> None:
    for number in range(4):
        with Wal.open(tmp_path / "wal", fs=FAST) as wal:
            wal.append(frame(number))
            assert wal.segments() == [1]
    assert recovered(tmp_path / "wal") == [frame(number) for number in range(4)]


def test_frames_keep_the_order_in_which_they_were_submitted(tmp_path: Path) -> None:
    told: list[Position] = []
    with Wal.open(tmp_path / "wal", fs=FAST, segment_bytes_max=20_000) as wal:
        futures = [wal.submit(frame(number), told.append) for number in range(500)]
        assert [future.result(20) for future in futures] == told == sorted(told)
        assert len(wal.segments()) > 3
    assert recovered(tmp_path / "wal") == [frame(number) for number in range(500)]


def test_concurrent_submitters_each_keep_their_order(tmp_path: Path) -> None:
    with Wal.open(tmp_path / "wal", segment_bytes_max=50_000) as wal:

        def submit(who: int) -> None:
            for number in range(40):
                wal.append(b"%d %d" % (who, number) + bytes(50))

        threads = [threading.Thread(target=submit, args=(who,)) for who in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        written = [payload.rstrip(b"\0").split() for _, payload in read_durable(tmp_path / "wal")]
    for who in range(8):
        mine = [int(number) for name, number in written if int(name) == who]
        assert mine == list(range(40))


def test_frames_that_arrive_during_a_sync_share_the_next_one(tmp_path: Path) -> None:
    fs = HeldFiles()
    with Wal.open(tmp_path / "wal", fs=fs) as wal:
        before = fs.syncs
        fs.may_sync.clear()
        futures = [wal.submit(frame(0))]
        deadline = threading.Event()
        while fs.syncs == before:
            deadline.wait(0.001)
        futures += [wal.submit(frame(number)) for number in range(1, 50)]
        fs.may_sync.set()
        for future in futures:
            future.result(20)
        assert fs.syncs == before + 2


def test_nobody_is_told_before_readers_can_see_the_frame(tmp_path: Path) -> None:
    seen: list[list[bytes]] = []
    with Wal.open(tmp_path / "wal", fs=FAST) as wal:
        for number in range(3):
            wal.submit(
                frame(number), lambda _: seen.append([item for _, item in read_durable(tmp_path / "wal")])
            ).result(20)
    assert [len(frames) for frames in seen] == [1, 2, 3]


def test_an_error_of_a_callback_reaches_its_caller_and_stops_nothing(tmp_path: Path) -> None:
    def refuse(position: Position) -> None:
        raise LookupError(str(position))

    with Wal.open(tmp_path / "wal", fs=FAST) as wal:
        future = wal.submit(frame(0), refuse)
        with pytest.raises(LookupError):
            future.result(20)
        wal.append(frame(1))
        assert wal.failure is None
    assert recovered(tmp_path / "wal") == [frame(0), frame(1)]


def test_an_append_that_was_refused_raises_what_the_disk_said(tmp_path: Path) -> None:
    fs = FaultyFiles(1, errno.ENOSPC, for_ever=True, only=frozenset())
    with Wal.open(tmp_path / "wal", fs=fs) as wal:
        fs.only = frozenset({"pwrite"})
        refusals: list[WalFull] = []

        def append(number: int) -> None:
            with pytest.raises(WalFull) as refusal:
                wal.append(frame(number))
            refusals.append(refusal.value)

        threads = [threading.Thread(target=append, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        # One for each: an exception that many raise would show the traceback of another.
        assert len({id(refusal) for refusal in refusals}) == 8
        fs.heal()
        wal.append(frame(8))
    assert recovered(tmp_path / "wal") == [frame(8)]


def test_a_full_queue_refuses_and_takes_frames_again_when_it_drained(tmp_path: Path) -> None:
    fs = HeldFiles()
    with Wal.open(tmp_path / "wal", fs=fs, queue_bytes_max=1000) as wal:
        fs.may_sync.clear()
        taken: list[Future[Position]] = []
        while wal.queued_bytes + 128 <= 1000:
            taken.append(wal.submit(frame(len(taken))))
        with pytest.raises(WalFull) as refusal:
            wal.submit(frame(100))
        assert refusal.value.cause == "queue"
        assert refusal.value.retry_after_s > 0
        assert wal.queued_bytes <= 1000
        fs.may_sync.set()
        for future in taken:
            future.result(20)
        wal.append(frame(100))
        assert wal.queued_bytes == 0
    assert recovered(tmp_path / "wal") == [*(frame(number) for number in range(len(taken))), frame(100)]


@pytest.mark.parametrize("bad", [b"", bytes(FRAME_BYTES_MAX + 1)])
def test_a_frame_that_cannot_be_a_record_is_refused_at_once(tmp_path: Path, bad: bytes) -> None:
    with Wal.open(tmp_path / "wal", fs=FAST) as wal, pytest.raises(FrameRefused):
        wal.submit(bad)


def test_a_frame_larger_than_a_segment_gets_one_of_its_own(tmp_path: Path) -> None:
    with Wal.open(tmp_path / "wal", fs=FAST, segment_bytes_max=8192) as wal:
        for number in range(3):
            wal.append(frame(number, size=50_000))
        assert len(wal.segments()) == 3
    assert recovered(tmp_path / "wal") == [frame(number, size=50_000) for number in range(3)]


def test_a_second_writer_is_turned_away(tmp_path: Path) -> None:
    with Wal.open(tmp_path / "wal", fs=FAST) as wal:
        wal.append(frame(0))
        with pytest.raises(WalLocked) as refusal:
            Wal.open(tmp_path / "wal", fs=FAST)
        assert refusal.value.hint
        wal.append(frame(1))
    assert recovered(tmp_path / "wal") == [frame(0), frame(1)]


def test_closing_writes_what_is_queued_and_refuses_what_comes_later(tmp_path: Path) -> None:
    wal = Wal.open(tmp_path / "wal", fs=FAST)
    futures = [wal.submit(frame(number)) for number in range(50)]
    wal.close()
    wal.close()
    assert all(future.done() for future in futures)
    with pytest.raises(WalClosed):
        wal.submit(frame(50))
    with pytest.raises(WalClosed):
        wal.remove(0)
    assert wal.failure is None
    assert recovered(tmp_path / "wal") == [frame(number) for number in range(50)]


def test_rolling_seals_what_was_written_and_an_empty_segment_stays(tmp_path: Path) -> None:
    with Wal.open(tmp_path / "wal", fs=FAST) as wal:
        assert wal.roll() == 1
        wal.append(frame(0))
        assert wal.roll() == 2
        assert wal.roll() == 2
        wal.append(frame(1))
        assert wal.segments() == [1, 2]
        sealed_bytes = (tmp_path / "wal" / "000000000001.wal").stat().st_size
        assert sealed_bytes < 5000
    assert recovered(tmp_path / "wal") == [frame(0), frame(1)]


def test_only_sealed_segments_can_be_removed_and_removing_twice_is_fine(tmp_path: Path) -> None:
    with Wal.open(tmp_path / "wal", fs=FAST) as wal:
        wal.append(frame(0))
        with pytest.raises(WalError):
            wal.remove(1)
        wal.roll()
        wal.append(frame(1))
        wal.remove(1)
        wal.remove(1)
        assert wal.segments() == [2]
        assert [item for _, item in read_durable(tmp_path / "wal")] == [frame(1)]
    assert recovered(tmp_path / "wal") == [frame(1)]


def test_segment_numbers_rise_even_when_every_sealed_segment_is_gone(tmp_path: Path) -> None:
    used: list[int] = []
    for number in range(6):
        with Wal.open(tmp_path / "wal", fs=FAST) as wal:
            used.append(wal.append(frame(number)).segment)
            wal.roll()
            for segment in wal.segments()[:-1]:
                wal.remove(segment)
            assert len(wal.segments()) == 1
    assert used == sorted(set(used))


def test_segment_numbers_rise_even_when_somebody_deletes_all_segments(tmp_path: Path) -> None:
    with Wal.open(tmp_path / "wal", fs=FAST) as wal:
        wal.append(frame(0))
        wal.roll()
        last = wal.append(frame(1)).segment
    for path in (tmp_path / "wal").glob("*.wal"):
        path.unlink()
    with Wal.open(tmp_path / "wal", fs=FAST) as wal:
        assert wal.segments() == [last + 1]
        assert [damage.reason for damage in wal.recovery.damaged] == ["segment file is missing"]


def test_a_failed_sync_is_never_tried_again(tmp_path: Path) -> None:
    fs = FaultyFiles(1, errno.EIO, only=frozenset())
    wal = Wal.open(tmp_path / "wal", fs=fs)
    wal.append(frame(0))
    fs.calls, fs.only = 0, frozenset({"sync"})
    with pytest.raises(WalFailed):
        wal.append(frame(1))
    for _ in range(3):
        with pytest.raises(WalFailed):
            wal.append(frame(2))
    assert fs.calls == 1
    assert wal.failure is not None
    assert wal.failure.hint
    assert [item for _, item in read_durable(tmp_path / "wal")] == [frame(0)]
    wal.close()
    with Wal.open(tmp_path / "wal", fs=FAST) as again:
        # What was never acknowledged may come back, but then from a new file.
        assert again.recovery.rewritten_records == 1
        assert [item for _, item in again.replay()] == [frame(0), frame(1)]
        assert again.segments() == [1, 2]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.EROFS])
@pytest.mark.parametrize("call", ["pwrite", "allocate", "open", "rename"])
def test_a_full_disk_refuses_and_heals_by_itself(tmp_path: Path, code: int, call: str) -> None:
    fs = FaultyFiles(1, code, for_ever=True, only=frozenset())
    with Wal.open(tmp_path / "wal", fs=fs, segment_bytes_max=5000) as wal:
        wal.append(frame(0, size=600))
        fs.only = frozenset({call})
        for number in range(1, 4):
            with pytest.raises(WalFull) as refusal:
                wal.append(frame(number, size=900))
            assert refusal.value.cause == errno.errorcode[code]
            assert refusal.value.hint
        assert [item for _, item in read_durable(tmp_path / "wal")] == [frame(0, size=600)]
        fs.heal()
        wal.append(frame(4, size=20))
    assert recovered(tmp_path / "wal") == [frame(0, size=600), frame(4, size=20)]


def test_a_disk_that_fills_up_within_a_segment_refuses_before_it_writes(tmp_path: Path) -> None:
    fs = FaultyFiles(1, errno.ENOSPC, for_ever=True, only=frozenset())
    with Wal.open(tmp_path / "wal", fs=fs) as wal:
        wal.append(frame(0, size=3_000_000))
        before = (tmp_path / "wal" / "000000000001.wal").read_bytes()
        fs.only = frozenset({"allocate"})
        with pytest.raises(WalFull):
            wal.append(frame(1, size=3_000_000))
        assert (tmp_path / "wal" / "000000000001.wal").read_bytes() == before
        wal.append(frame(2))
        fs.heal()
        wal.append(frame(3, size=3_000_000))
    assert recovered(tmp_path / "wal") == [frame(0, size=3_000_000), frame(2), frame(3, size=3_000_000)]


def refuse_after_half(wal: Wal, fs: FaultyFiles, calls: frozenset[str]) -> None:
    """Append frame 0, then have one write of frames 1 to 8 fail after its first half: whole frames."""
    reached, go = threading.Event(), threading.Event()

    def hold(position: Position) -> None:
        reached.set()
        go.wait(20)

    wal.submit(frame(0), hold)
    assert reached.wait(20)
    futures = [wal.submit(frame(number)) for number in range(1, 9)]
    fs.calls, fs.only = 0, calls
    go.set()
    for future in futures:
        with pytest.raises(WalFull):
            future.result(20)


@pytest.mark.parametrize("calls", [{"pwrite"}, {"pwrite", "truncate"}], ids=["cut_at_once", "cut_later"])
def test_whole_records_of_a_refused_write_do_not_come_back(tmp_path: Path, calls: set[str]) -> None:
    fs = FaultyFiles(1, errno.ENOSPC, short=True, for_ever=True, only=frozenset())
    with Wal.open(tmp_path / "wal", fs=fs) as wal:
        refuse_after_half(wal, fs, frozenset(calls))
        if "truncate" not in calls:
            # A kill now finds nothing of them either.
            shutil.copytree(tmp_path / "wal", tmp_path / "killed")
            assert recovered(tmp_path / "killed") == [frame(0)]
        fs.heal()
        # As long as the first of them: the second would follow it.
        wal.append(frame(9))
        shutil.copytree(tmp_path / "wal", tmp_path / "killed_later")
        assert recovered(tmp_path / "killed_later") == [frame(0), frame(9)]
    assert recovered(tmp_path / "wal") == [frame(0), frame(9)]


def test_what_could_not_be_cut_off_a_segment_before_it_was_sealed_is_never_read(tmp_path: Path) -> None:
    fs = FaultyFiles(1, errno.ENOSPC, short=True, for_ever=True, only=frozenset())
    with Wal.open(tmp_path / "wal", fs=fs) as wal:
        refuse_after_half(wal, fs, frozenset({"pwrite", "truncate"}))
        fs.only = frozenset({"truncate"})
        wal.roll()
        wal.append(frame(9))
        assert [item for _, item in read_durable(tmp_path / "wal")] == [frame(0), frame(9)]
    with Wal.open(tmp_path / "wal", fs=FAST) as wal:
        assert [item for _, item in wal.replay()] == [frame(0), frame(9)]
        assert not wal.recovery.damaged


def test_a_segment_whose_name_could_not_be_synced_is_not_written_by_the_next_start(tmp_path: Path) -> None:
    fs = FaultyFiles(1, errno.EIO, only=frozenset())
    with Wal.open(tmp_path / "wal", fs=fs) as wal:
        wal.append(frame(0))
        fs.only = frozenset({"sync_folder"})
        with pytest.raises(WalFailed):
            wal.roll()
    with Wal.open(tmp_path / "wal", fs=FAST) as wal:
        assert wal.segments() == [1, 3]
        assert [item for _, item in wal.replay()] == [frame(0)]


def test_a_reader_is_told_that_a_segment_vanished(tmp_path: Path) -> None:
    with Wal.open(tmp_path / "wal", fs=FAST) as wal:
        wal.append(frame(0))
        wal.roll()
        wal.append(frame(1))
        wal.roll()
        wal.append(frame(2))
        reading = read_durable(tmp_path / "wal")
        assert next(reading)[1] == frame(0)
        wal.remove(2)
        with pytest.raises(SegmentVanished) as gone:
            list(reading)
        assert gone.value.segment == 2
        assert [item for _, item in read_durable(tmp_path / "wal")] == [frame(0), frame(2)]
