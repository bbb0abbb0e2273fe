from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from otel_audit.exporter.wal import Wal, WalFailed, read_durable
from otel_audit.exporter.wal.errors import WalLocked
from tests.support.wal_files import FastFiles, FaultyFiles
from tests.support.wal_frames import FAST, frame, recovered


class Unlocked(FastFiles):
    """A file system whose locks do not hold, as on some network file systems."""

    def lock(self, descriptor: int) -> None:
        pass


def test_another_process_is_turned_away_and_told_what_to_do(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from otel_audit.exporter.wal import Wal; Wal.open(pathlib.Path(sys.argv[1]))"
    )
    with Wal.open(tmp_path / "wal") as wal:
        wal.append(frame(0))
        second = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "wal")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode != 0
        assert "WalLocked" in second.stderr
        wal.append(frame(1))
    assert recovered(tmp_path / "wal") == [frame(0), frame(1)]


def test_the_lock_is_given_up_with_the_log_also_after_a_failure(tmp_path: Path) -> None:
    fs = FaultyFiles(1, errno.EIO, only=frozenset())
    wal = Wal.open(tmp_path / "wal", fs=fs)
    fs.only = frozenset({"sync"})
    with pytest.raises(WalFailed):
        wal.append(frame(0))
    with Wal.open(tmp_path / "wal", fs=FAST) as again:
        with pytest.raises(WalLocked):
            Wal.open(tmp_path / "wal", fs=FAST)
        again.append(frame(1))


def refused_for_good(wal: Wal) -> None:
    for number in (90, 91):
        with pytest.raises(WalFailed) as failure:
            wal.append(frame(number))
        assert failure.value.hint
    assert wal.failure is not None


@pytest.mark.parametrize("segment_bytes_max", [1 << 20, 4500], ids=["same_segment", "next_segment"])
def test_a_writer_whose_folder_was_replaced_acknowledges_nothing(
    tmp_path: Path, segment_bytes_max: int
) -> None:
    wal = Wal.open(tmp_path / "wal", fs=FAST, segment_bytes_max=segment_bytes_max)
    wal.append(frame(0, size=300))
    # A restore under a running server: the lock is on the old folder and does not stop the second one.
    (tmp_path / "wal").rename(tmp_path / "moved")
    shutil.copytree(tmp_path / "moved", tmp_path / "wal")
    with Wal.open(tmp_path / "wal", fs=FAST) as second:
        second.append(frame(1))
        names = sorted(path.name for path in (tmp_path / "wal").iterdir())
        refused_for_good(wal)
        # Nor does it leave anything in the folder that is the other one's now.
        assert sorted(path.name for path in (tmp_path / "wal").iterdir()) == names
        second.append(frame(2))
    wal.close()
    assert recovered(tmp_path / "wal") == [frame(0, size=300), frame(1), frame(2)]


def test_a_writer_whose_folder_was_deleted_acknowledges_nothing(tmp_path: Path) -> None:
    wal = Wal.open(tmp_path / "wal", fs=FAST)
    wal.append(frame(0))
    shutil.rmtree(tmp_path / "wal")
    refused_for_good(wal)
    wal.close()


def test_where_locks_do_not_hold_the_earlier_writer_is_fenced_off(tmp_path: Path) -> None:
    first = Wal.open(tmp_path / "wal", fs=Unlocked())
    first.append(frame(0))
    second = Wal.open(tmp_path / "wal", fs=Unlocked())
    # Every opening makes a new `durable`; the first writer's is no longer the one.
    refused_for_good(first)
    first.close()
    second.roll()
    second.append(frame(1))
    assert [item for _, item in read_durable(tmp_path / "wal")] == [frame(0), frame(1)]
    second.close()


def test_a_folder_that_cannot_be_asked_about_stops_the_log_before_it_acknowledges(tmp_path: Path) -> None:
    fs = FaultyFiles(1, errno.EIO, only=frozenset())
    with Wal.open(tmp_path / "wal", fs=fs) as wal:
        wal.append(frame(0))
        fs.only = frozenset({"identity"})
        refused_for_good(wal)
    assert recovered(tmp_path / "wal")[0] == frame(0)
