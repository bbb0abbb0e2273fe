"""The write-ahead log's part of a backup: its records so far, as a log of their own."""

from __future__ import annotations

import shutil
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from typing import Final

from ...wal.errors import SegmentVanished
from ...wal.format import Position
from ...wal.reader import Damage, read_durable
from ...wal.writer import Wal
from ..errors import StoreUnavailable
from ..intake.frame import Frame

# A segment vanishes when its rows were just sealed, at most every few seconds.
_TRIES_MAX: Final = 10
# A quarter of what the log lets wait: the largest frame always fits on top.
_WAITING_BYTES_MAX: Final = 16 << 20


def copy_log(source: Path, target: Path) -> list[Damage]:
    """Copy every record that is durable now; returns the damage that had to be passed over.

    Not the segments' bytes: the active one is being written. Raises StoreUnavailable, NewerData and the
    log's own errors.
    """
    for _ in range(_TRIES_MAX):
        shutil.rmtree(target, ignore_errors=True)
        try:
            return _copy_records(source, target)
        except SegmentVanished:
            continue
    raise StoreUnavailable("the write-ahead log keeps changing", hint="try again in a moment")


def _copy_records(source: Path, target: Path) -> list[Damage]:
    damaged: list[Damage] = []
    waiting: deque[Future[Position]] = deque()
    # Nobody writes to a copy, so it holds no space for that.
    with Wal.open(target, reserve_bytes=0) as wal:
        for _, data in read_durable(source, on_damage=damaged.append):
            Frame.decode(data)  # a newer release's is refused here, not when it is needed
            while waiting and (waiting[0].done() or wal.queued_bytes > _WAITING_BYTES_MAX):
                waiting.popleft().result()
            waiting.append(wal.submit(data))
        for future in waiting:
            future.result()
    return damaged
