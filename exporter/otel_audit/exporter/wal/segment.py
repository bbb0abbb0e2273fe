"""Segment files: their names, reading one whole, and the active one that grows."""

from __future__ import annotations

import contextlib
import errno
import os
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
# Allocated behind the records for frames that may not be refused: some 4,000 of the service's own events of
# 2 KiB, more than a day of administration and searches until an operator has freed space.
RESERVE_BYTES: Final = 8 << 20
# Sealing is what empties the log: 64 MiB of records become 6 to 12 MiB of Parquet, and that needs a place.
FREE_BYTES_MIN: Final = 16 << 20
# What `durable` or a segment without records occupies: two of the largest blocks of common file systems.
SMALL_FILE_BYTES: Final = 128 << 10


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


def require_free(fs: FileSystem, descriptor: int, missing: int) -> None:
    """Raises OSError (ENOSPC) when allocating `missing` bytes would leave no room for sealing."""
    if fs.free_bytes(descriptor) - missing < FREE_BYTES_MIN:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class ActiveSegment:
    """The segment that takes records. end: where the next one starts. Not thread-safe.

    reserve_bytes: allocated space behind the records that only reserved frames may use.
    """

    def __init__(
        self,
        fs: FileSystem,
        descriptor: int,
        header: Header,
        end: int,
        *,
        allocated: int,
        reserve_bytes: int,
    ) -> None:
        self._fs = fs
        self._descriptor = descriptor
        self._allocated = allocated
        self._reserve_bytes = reserve_bytes
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
        reserve_bytes: int,
        ahead_bytes: int,
    ) -> ActiveSegment:
        """Make a segment and its name durable. Raises OSError with nothing changed, WalFailed.

        carried: records of the segment before it that are written again here, with their indexes.
        ahead_bytes: to allocate behind them.
        """
        header = Header(number, new_marker(), first_index, previous)
        records = [encode_record(header.marker, record.record_index, record.payload) for record in carried]
        content = b"".join((header.encode(), *records))
        path = segment_path(folder, number)
        allocated = len(content) + ahead_bytes
        descriptor = put_file(fs, path, content, allocated)
        try:
            sync_folder_or_fail(fs, folder_descriptor)
        except BaseException:
            fs.close(descriptor)
            raise
        return cls(fs, descriptor, header, len(content), allocated=allocated, reserve_bytes=reserve_bytes)

    @classmethod
    def resume(
        cls, fs: FileSystem, folder: Path, header: Header, end: int, *, reserve_bytes: int
    ) -> ActiveSegment:
        """Go on behind the last record of a segment that ends cleanly. Raises OSError, WalFailed."""
        descriptor = fs.open(segment_path(folder, header.segment), WRITE)
        try:
            allocated = fs.size(descriptor)
            sync_or_fail(fs, descriptor)
        except BaseException:
            fs.close(descriptor)
            raise
        return cls(fs, descriptor, header, end, allocated=allocated, reserve_bytes=reserve_bytes)

    def write(self, first_index: int, frames: list[bytes], *, reserved: bool = False) -> list[Position]:
        """Write the frames behind `end`, unsynced, and return where each ends; `end` stays until `sync`.

        reserved: write into the space held for this, and allocate nothing.
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
        self._make_room(offset, reserved=reserved)
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

    def _make_room(self, end: int, *, reserved: bool) -> None:
        if reserved:
            if end > self._allocated:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return
        missing = end + self._reserve_bytes - self._allocated
        if missing <= 0:
            return
        missing = max(missing, ALLOCATE_BYTES)
        require_free(self._fs, self._descriptor, missing)
        self._fs.allocate(self._descriptor, self._allocated, missing)
        self._allocated += missing

    def _take_back(self) -> None:
        # A whole record of a refused write must not outlive it: the next one may be shorter.
        if not self._unclean:
            return
        self._fs.truncate(self._descriptor, self.end)
        self._allocated = self.end
        self._unclean = False
        # The reserve went with it: take it again before anybody else fills the disk.
        self.take_reserve()

    def take_reserve(self) -> None:
        """Allocate the reserve, or as much of it as there is; the next ordinary frame asks for the rest."""
        step = self.end + self._reserve_bytes - self._allocated
        while step > 0:
            try:
                self._fs.allocate(self._descriptor, self._allocated, step)
                self._allocated += step
            except OSError:
                # At most seven times from 8 MiB down.
                if step <= SMALL_FILE_BYTES:
                    return
                step //= 2
            step = min(step, self.end + self._reserve_bytes - self._allocated)

    def give_back(self, size: int) -> bool:
        """Free up to `size` bytes of the unused space; False when there is none. Raises OSError."""
        found = self._fs.size(self._descriptor)
        kept = max(self.end, found - size)
        if kept >= found:
            return False
        self._fs.truncate(self._descriptor, kept)
        self._allocated = min(self._allocated, kept)
        return True

    def rest(self) -> None:
        """Close at the end of a run: the reserve stays, so that the next start has it on a full disk too."""
        with contextlib.suppress(OSError):
            if self._fs.size(self._descriptor) > self.end + self._reserve_bytes:
                self._fs.truncate(self._descriptor, self.end + self._reserve_bytes)
        self.close()

    def seal(self) -> None:
        """Give back the space allocated ahead and close. Failing to give it back is harmless: it is zeros."""
        with contextlib.suppress(OSError):
            self._fs.truncate(self._descriptor, self.end)
        self.close()

    def close(self) -> None:
        """Close as is."""
        with contextlib.suppress(OSError):
            self._fs.close(self._descriptor)
