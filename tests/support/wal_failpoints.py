"""Every step by which the log changes the disk, by name, and a file system that ends the process at one.

The list is what `docs/wal-format.md` shows; a step that is not in it, or is never taken, fails a test.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

from otel_audit.exporter.wal import Wal, WalFull
from otel_audit.exporter.wal.files import OsFiles
from otel_audit.exporter.wal.segment import ALLOCATE_BYTES, SUFFIX
from tests.support.wal_frames import frame

FAILPOINTS: Final = frozenset(
    {
        "start: make the folder",
        "start: sync the parent folder",
        "start: make the quarantine folder",
        "start: create a quarantine copy",
        "start: write a quarantine copy",
        "start: sync a quarantine copy",
        "start: rename a quarantine copy",
        "start: sync the quarantine folder",
        "start: create a new segment",
        "start: allocate a new segment",
        "start: write a new segment",
        "start: sync a new segment",
        "start: rename a new segment",
        "start: sync a segment",
        "start: allocate a segment",
        "start: truncate a segment",
        "start: remove a segment",
        "start: remove a new segment",
        "start: create a new durable",
        "start: write a new durable",
        "start: sync a new durable",
        "start: rename a new durable",
        "start: sync the folder",
        "append: allocate a segment",
        "append: write a segment",
        "append: sync a segment",
        "append: write durable",
        "append: create a new segment",
        "append: allocate a new segment",
        "append: write a new segment",
        "append: sync a new segment",
        "append: rename a new segment",
        "append: sync the folder",
        "append: truncate a segment",
        "refuse: truncate a segment",
        "refuse: allocate a segment",
        "reserve: write a segment",
        "reserve: sync a segment",
        "reserve: write durable",
        "remove: remove a segment",
        "remove: sync the folder",
        "close: truncate a segment",
    }
)

SEGMENT_BYTES: Final = 8000
# Little, so that copies of the log stay small.
RESERVE_BYTES: Final = 64 << 10
# Of ordinary size; four more follow.
FRAMES: Final = 7

AtStep = Callable[[str, str], None]


class NamedSteps(OsFiles):
    """Real files. at_step is called before every change (after one is before the next), with the step's name.

    The moment it is told is `before`, and between the halves of a write `halfway`.
    writes_stop: writes to segments fail halfway. is_full: nothing can be allocated.
    """

    def __init__(self, at_step: AtStep) -> None:
        self.at_step = at_step
        self.stage = "start"
        self.writes_stop = False
        self.is_full = False
        self._paths: dict[int, Path] = {}

    def _step(self, verb: str, path: Path, act: Callable[[], None]) -> None:
        name = f"{self.stage}: {verb} {role(path)}"
        self.at_step(name, "before")
        act()

    def make_folder(self, path: Path) -> None:
        self._step("make", path, lambda: super(NamedSteps, self).make_folder(path))

    def open(self, path: Path, flags: int) -> int:
        opened: list[int] = []
        if flags & os.O_CREAT:
            self._step("create", path, lambda: opened.append(super(NamedSteps, self).open(path, flags)))
        else:
            opened.append(super().open(path, flags))
        self._paths[opened[0]] = path
        return opened[0]

    def pwrite(self, descriptor: int, data: memoryview, offset: int) -> int:
        path = self._paths[descriptor]
        name = f"{self.stage}: write {role(path)}"
        half = len(data) // 2
        if self.writes_stop and path.suffix == SUFFIX:
            super().pwrite(descriptor, data[:half], offset)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.at_step(name, "before")
        super().pwrite(descriptor, data[:half], offset)
        self.at_step(name, "halfway")
        return half + super().pwrite(descriptor, data[half:], offset + half)

    def allocate(self, descriptor: int, offset: int, size: int) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        path = self._paths[descriptor]
        self._step("allocate", path, lambda: super(NamedSteps, self).allocate(descriptor, offset, size))

    def truncate(self, descriptor: int, size: int) -> None:
        path = self._paths[descriptor]
        self._step("truncate", path, lambda: super(NamedSteps, self).truncate(descriptor, size))

    def sync(self, descriptor: int) -> None:
        path = self._paths[descriptor]
        self._step("sync", path, lambda: super(NamedSteps, self).sync(descriptor))

    def sync_folder(self, descriptor: int) -> None:
        path = self._paths[descriptor]
        self._step("sync", path, lambda: super(NamedSteps, self).sync_folder(descriptor))

    def rename(self, source: Path, target: Path) -> None:
        self._step("rename", source, lambda: super(NamedSteps, self).rename(source, target))
        self._paths = {fd: target if path == source else path for fd, path in self._paths.items()}

    def unlink(self, path: Path) -> None:
        self._step("remove", path, lambda: super(NamedSteps, self).unlink(path))


def role(path: Path) -> str:
    """What a file or folder of the log is called in the names of steps."""
    if path.parent.name == "quarantine":
        return "a quarantine copy"
    if path.name == "quarantine":
        return "the quarantine folder"
    if path.name == "wal":
        return "the folder"
    if path.name == "durable":
        return "durable"
    if path.name == "durable.new":
        return "a new durable"
    if path.name.endswith(".wal.new"):
        return "a new segment"
    return "a segment" if path.suffix == SUFFIX else "the parent folder"


def kill_at(step: int, moment: str) -> AtStep:
    """End this process, as kill -9 does, at one moment of the step of this number, counted from 0."""
    seen = -1

    def at_step(name: str, now: str) -> None:
        nonlocal seen
        seen += now == "before"
        if seen == step and now == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    return at_step


def life_frame(number: int) -> bytes:
    """The frame of this number in a life."""
    return frame(number, size=ALLOCATE_BYTES + 1 if number == FRAMES else 1200)


def live(directory: Path, at_step: AtStep, note: Callable[[str], None]) -> None:
    """One life of a log: start, append over some segments, refuse one frame, remove a segment, close.

    note: told `acknowledged <number>`, and `removing <number>` of frames that may be gone from then on.
    """
    fs = NamedSteps(at_step)
    wal = Wal.open(directory, fs=fs, segment_bytes_max=SEGMENT_BYTES, reserve_bytes=RESERVE_BYTES)
    fs.stage = "append"
    held: dict[int, list[int]] = {}
    for number in range(FRAMES):
        position = wal.append(life_frame(number))
        note(f"acknowledged {number}")
        held.setdefault(position.segment, []).append(number)
    # More than is allocated ahead, then one that begins a new segment.
    for number in (FRAMES, FRAMES + 1):
        wal.append(life_frame(number))
        note(f"acknowledged {number}")
    fs.stage, fs.writes_stop = "refuse", True
    with contextlib.suppress(WalFull):
        wal.append(frame(99))
    fs.stage, fs.writes_stop, fs.is_full = "reserve", False, True
    wal.append(life_frame(FRAMES + 2), reserved=True)
    note(f"acknowledged {FRAMES + 2}")
    fs.stage, fs.is_full = "append", False
    wal.append(life_frame(FRAMES + 3))
    note(f"acknowledged {FRAMES + 3}")
    fs.stage = "remove"
    # Not the first: it also holds what was in the log before.
    segment = sorted(held)[1]
    for number in held[segment]:
        note(f"removing {number}")
    wal.remove(segment)
    fs.stage = "close"
    wal.close()
