"""Segment files: their names, reading one whole, and the active one that grows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from .files import (
    READ,
    WRITE,
    FileSystem,
    put_file,
    read_all,
    sync_folder_or_fail,
    sync_or_fail,
    write_all,
)
from .format import FIRST, Header, Position, Record, encode_record, new_marker, record_bytes

SUFFIX: Final = ".wal"
# A full disk is met once in 4 MiB and before anything is written; small roots do not pay 64 MiB.
ALLOCATE_BYTES: Final = 4 << 20


def segment_path(folder: Path, number: int) -> Path:
    return folder / f"{number:012d}{SUFFIX}"


def list_segments(fs: FileSystem, folder: Path) -> list[int]:
    """The numbers of all segments, ascending. Raises OSError."""
    stems = (name.removesuffix(SUFFIX) for name in fs.listdir(folder) if name.endswith(SUFFIX))
    return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdigit())


def read_segment(fs: FileSystem, folder: Path, number: int, size_max: int | None = None) -> bytes:
    """A segment's bytes from its start, all of them or the first `size_max`. Raises OSError.

    One segment is held in memory at a time: 64 MiB by default, one largest record more at most.
    """
    descriptor = fs.open(segment_path(folder, number), READ)
    try:
        return read_all(fs, descriptor, fs.size(descriptor) if size_max is None else size_max)
    finally:
        fs.close(descriptor)


def load_header(fs: FileSystem, folder: Path, number: int) -> Header | None:
    """A segment's header, None when both copies are damaged. Raises OSError, NewerWal."""
    return Header.decode(read_segment(fs, folder, number, FIRST), number)


class ActiveSegment:
    """The segment that takes records. end: where the next one starts. Not thread-safe."""

    def __init__(self, fs: FileSystem, descriptor: int, header: Header, end: int, allocated: int) -> None:
        self._fs = fs
        self._descriptor = descriptor
        self._allocated = allocated
        self._unclean = False
        self.header = header
        self.end = end

    @property
    def number(self) -> int:
        return self.header.segment

    @property
    def position(self) -> Position:
        return Position(self.header.segment, self.end)

    @classmethod
    def create(
        cls,
        fs: FileSystem,
        folder: Path,
        folder_descriptor: int,
        *,
        number: int,
        first_index: int,
        previous: Position,
        carried: Iterable[Record] = (),
    ) -> ActiveSegment:
        """Make a segment and its name durable. Raises OSError with nothing changed, WalFailed.

        carried: records of the segment before it that are written again here, with their indexes.
        """
        header = Header(number, new_marker(), first_index, previous)
        records = [encode_record(header.marker, record.record_index, record.payload) for record in carried]
        content = b"".join((header.encode(), *records))
        path = segment_path(folder, number)
        allocated = max(len(content), ALLOCATE_BYTES)
        descriptor = put_file(fs, path, content, allocated)
        try:
            sync_folder_or_fail(fs, folder_descriptor)
        except BaseException:
            fs.close(descriptor)
            raise
        return cls(fs, descriptor, header, len(content), allocated)

    @classmethod
    def resume(cls, fs: FileSystem, folder: Path, header: Header, end: int) -> ActiveSegment:
        """Go on behind the last record of a segment that ends cleanly. Raises OSError, WalFailed."""
        descriptor = fs.open(segment_path(folder, header.segment), WRITE)
        try:
            allocated = fs.size(descriptor)
            sync_or_fail(fs, descriptor)
        except BaseException:
            fs.close(descriptor)
            raise
        return cls(fs, descriptor, header, end, allocated)

    def write(self, first_index: int, frames: list[bytes]) -> list[Position]:
        """Write the frames behind `end`, unsynced, and return where each ends; `end` stays until `sync`.

        Raises OSError: the frames are not part of the log, and what was written of them is taken back now
        or before the next write.
        """
        self._take_back()
        marker, number, offset = self.header.marker, self.header.segment, self.end
        records: list[bytes] = []
        positions: list[Position] = []
        for index, frame in enumerate(frames, first_index):
            records.append(encode_record(marker, index, frame))
            offset += record_bytes(len(frame))
            positions.append(Position(number, offset))
        if offset > self._allocated:
            missing = max(offset - self._allocated, ALLOCATE_BYTES)
            self._fs.allocate(self._descriptor, self._allocated, missing)
            self._allocated += missing
        self._unclean = True
        try:
            write_all(self._fs, self._descriptor, b"".join(records), self.end)
        except OSError:
            with contextlib.suppress(OSError):
                self._take_back()
            raise
        return positions

    def sync(self, end: int) -> None:
        """Make everything written durable and advance `end`. Raises WalFailed."""
        sync_or_fail(self._fs, self._descriptor)
        self._unclean = False
        self.end = end

    def _take_back(self) -> None:
        # A whole record of a refused write must not outlive it: the next one may be shorter.
        if self._unclean:
            self._fs.truncate(self._descriptor, self.end)
            self._allocated = self.end
            self._unclean = False

    def seal(self) -> None:
        """Give back the space allocated ahead and close. Failing to give it back is harmless: it is zeros."""
        with contextlib.suppress(OSError):
            self._fs.truncate(self._descriptor, self.end)
        self.close()

    def close(self) -> None:
        """Close as is."""
        with contextlib.suppress(OSError):
            self._fs.close(self._descriptor)
