"""From `wal.append` to durable under full load, beside a bare write and fdatasync on the same disk.

The two take turns, so that what else the machine does meets both. Full load is what the log meets in
the service: its one user, the store's writer, always has a next group of records, one a tenant. The
promise is for that; 64 threads that append each for itself are told beside it, and what they cost
without a disk.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

from otel_audit.exporter.wal import Wal
from otel_audit.exporter.wal.files import OS
from tests.bench.figures import summary
from tests.support.wal_files import FastFiles

FRAME_BYTES = 4096
# Records the store's writer has under way at once.
GROUP = 16
GROUPS = 40
SUBMITTERS = 64
ROUNDS = 10
# A round of each lasts some tenths of a second.
BARE_WRITES = 600
APPENDS = 100
# As many frames as one commit takes under this load.
GROUP_BYTES = SUBMITTERS * FRAME_BYTES
P99_RATIO_MAX = 4.0


def append_to_durable(folder: Path) -> dict[str, Any]:
    """Bare writes and a full log in turn, ten rounds of each; the ratio is that of all rounds' p99.

    append_unsynced is the threads' load on a log whose syncs do nothing: what 64 threads of Python cost.
    """
    writer: list[float] = []
    bare: list[float] = []
    group: list[float] = []
    appends: list[float] = []
    seconds = 0.0
    unsynced: list[float] = []
    with (
        Wal.open(folder / "wal") as wal,
        Wal.open(folder / "unsynced", fs=FastFiles()) as fast_wal,
        Submitters(wal) as submitters,
        Submitters(fast_wal) as fast_submitters,
    ):
        submitters.round()
        fast_submitters.round()
        for _ in range(ROUNDS):
            bare += bare_writes(folder / "bare", FRAME_BYTES, BARE_WRITES)
            writer += one_writer(wal)
            group += bare_writes(folder / "bare", GROUP_BYTES, BARE_WRITES // 10)
            unsynced += fast_submitters.round()
            started = time.perf_counter()
            appends += submitters.round()
            seconds += time.perf_counter() - started
    figures = {
        "bare": summary(bare),
        "bare_group": summary(group),
        "append_unsynced": summary(unsynced),
        "append": summary(writer),
        "append_64_threads": summary(appends),
    }
    ratio = figures["append"]["p99_ms"] / figures["bare"]["p99_ms"]
    threads_ratio = figures["append_64_threads"]["p99_ms"] / figures["bare"]["p99_ms"]
    return {
        "frame_bytes": FRAME_BYTES,
        "group": GROUP,
        "appends": len(writer),
        "threads": SUBMITTERS,
        "threads_appends_per_s": round(len(appends) / seconds),
        **figures,
        "p99_ratio": round(ratio, 2),
        "p99_ratio_64_threads": round(threads_ratio, 2),
        "p99_ratio_max": P99_RATIO_MAX,
        "ok": ratio <= P99_RATIO_MAX,
    }


def bare_writes(path: Path, size: int, count: int) -> list[float]:
    """What the disk needs for one write and its fdatasync in space allocated before, ms."""
    data = os.urandom(size)
    times: list[float] = []
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        OS.allocate(descriptor, 0, size * count)
        os.fsync(descriptor)
        for number in range(count):
            started = time.perf_counter()
            os.pwrite(descriptor, data, number * size)
            OS.sync(descriptor)
            times.append(1000 * (time.perf_counter() - started))
    finally:
        os.close(descriptor)
        path.unlink()
    return times


def one_writer(wal: Wal) -> list[float]:
    """Groups of frames one after the other, as the store's writer makes them; each frame's time, ms."""
    frame = os.urandom(FRAME_BYTES)
    times: list[float] = []
    for _ in range(GROUPS):
        started = time.perf_counter()
        for future in [wal.submit(frame) for _ in range(GROUP)]:
            future.result()
            times.append(1000 * (time.perf_counter() - started))
    return times


class Submitters:
    """Threads that append without a pause during a round and wait between rounds."""

    def __init__(self, wal: Wal) -> None:
        self._wal = wal
        self._frame = os.urandom(FRAME_BYTES)
        self._times: list[float] = []
        self._ended = False
        # The thread that asks for a round is one more.
        self._turn = threading.Barrier(SUBMITTERS + 1)
        self._threads = [threading.Thread(target=self._run) for _ in range(SUBMITTERS)]

    def __enter__(self) -> Submitters:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended = True
        self._turn.wait()
        for thread in self._threads:
            thread.join()

    def round(self) -> list[float]:
        """Every submitter appends its frames; how long each append took, ms."""
        self._times = []
        self._turn.wait()
        self._turn.wait()
        return self._times

    def _run(self) -> None:
        while True:
            self._turn.wait()
            if self._ended:
                return
            times: list[float] = []
            for _ in range(APPENDS):
                started = time.perf_counter()
                self._wal.append(self._frame)
                times.append(1000 * (time.perf_counter() - started))
            self._times += times
            self._turn.wait()
