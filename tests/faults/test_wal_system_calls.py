from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from otel_audit.exporter.wal import Wal, WalFailed, WalFull, read_durable
from otel_audit.exporter.wal.errors import WalError
from tests.faults.conftest import Count
from tests.support.wal_files import FaultyFiles
from tests.support.wal_frames import LONG, TIMEOUT_S, damaged_log, frame, recovered

pytestmark = pytest.mark.timeout(TIMEOUT_S)

FRAMES = 40 if LONG else 6


def work(directory: Path, fs: FaultyFiles) -> tuple[list[int], list[int]]:
    """Open the log, append, close; return the numbers acknowledged and those refused as full."""
    acknowledged: list[int] = []
    refused: list[int] = []
    try:
        with Wal.open(directory, fs=fs, segment_bytes_max=8000) as wal:
            for number in range(FRAMES):
                try:
                    wal.append(frame(number, size=1200))
                    acknowledged.append(number)
                except WalFull:
                    refused.append(number)
    except WalError:
        pass
    return acknowledged, refused


@pytest.mark.parametrize("start", ["new", "to_recover"])
@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for_ever"])
@pytest.mark.parametrize(
    ("code", "short"),
    [
        (errno.EIO, False),
        (errno.ENOSPC, False),
        (errno.EMFILE, False),
        (errno.ENOSPC, True),
        (errno.EIO, True),
    ],
    ids=["EIO", "ENOSPC", "EMFILE", "short_ENOSPC", "short_EIO"],
)
def test_whichever_call_fails_every_acknowledged_frame_is_there_once(
    ram_path: Path, count: Count, code: int, short: bool, for_ever: bool, start: str
) -> None:
    before: list[bytes] = []
    if start == "to_recover":
        before = damaged_log(ram_path / "template")
    nth, fired = 0, 1
    while fired:
        nth += 1
        assert nth < 10_000
        directory = ram_path / "wal"
        shutil.rmtree(directory, ignore_errors=True)
        if before:
            shutil.copytree(ram_path / "template", directory)
        fs = FaultyFiles(nth, code, for_ever=for_ever, short=short)
        acknowledged, refused = work(directory, fs)
        assert fs.syncs_retried == 0, nth
        fired = fs.fired or (short and fs.calls >= nth)
        count(
            f"system calls failed ({errno.errorcode[code]}{', after a short write' if short else ''})",
            fs.fired,
        )
        found = recovered(directory)
        assert found[: len(before)] == before, nth
        added = found[len(before) :]
        numbers = [number for number in range(FRAMES) if frame(number, size=1200) in added]
        assert added == [frame(number, size=1200) for number in numbers], nth
        assert set(acknowledged) <= set(numbers), nth
        if not for_ever and not short:
            assert not set(refused) & set(numbers), nth
        assert [item for _, item in read_durable(directory)] == found, nth
    assert nth > 30


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EMFILE, errno.EROFS])
def test_after_any_passing_fault_of_a_commit_the_same_log_goes_on(
    tmp_path: Path, count: Count, code: int
) -> None:
    writing = frozenset({"pwrite", "allocate", "open", "rename", "truncate", "identity", "free_bytes"})
    nth, fired = 0, 1
    failed = 0
    while fired:
        nth += 1
        directory = tmp_path / "wal"
        shutil.rmtree(directory, ignore_errors=True)
        fs = FaultyFiles(nth, code, only=frozenset())
        acknowledged: list[int] = []
        with Wal.open(directory, fs=fs, segment_bytes_max=8000) as wal:
            fs.calls, fs.only = 0, writing
            for number in range(FRAMES):
                try:
                    wal.append(frame(number, size=1200))
                    acknowledged.append(number)
                except WalFull:
                    pass
                except WalFailed:
                    # Only what readers could no longer be told about stops the log.
                    failed += 1
                    break
            else:
                assert len(acknowledged) >= FRAMES - 1
                fs.heal()
                wal.append(frame(99))
        fired = fs.fired
        count(f"passing faults of a commit ({errno.errorcode[code]})", fs.fired)
        found = recovered(directory)
        assert set(acknowledged) <= {number for number in range(FRAMES) if frame(number, size=1200) in found}
    assert 0 < failed < nth


def test_a_read_error_at_start_refuses_to_start_and_changes_no_segment(tmp_path: Path) -> None:
    before = damaged_log(tmp_path / "wal")
    held = {path.name: path.read_bytes() for path in (tmp_path / "wal").glob("*.wal")}
    for nth in range(1, 100):
        fs = FaultyFiles(nth, errno.EIO, only=frozenset({"pread"}))
        failure = failure_to_open(tmp_path / "wal", fs)
        if failure is None:
            break
        assert failure.hint
        for path, content in held.items():
            assert (tmp_path / "wal" / path).read_bytes() == content, nth
        assert not list((tmp_path / "wal").glob("*.new"))
    assert nth > 5
    assert recovered(tmp_path / "wal") == before


def failure_to_open(directory: Path, fs: FaultyFiles) -> WalFailed | None:
    try:
        Wal.open(directory, fs=fs).close()
    except WalFailed as failure:
        return failure
    return None
