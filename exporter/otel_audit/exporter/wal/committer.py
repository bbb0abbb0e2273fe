"""The one-thread core of the writer: a group of frames in, durable positions out.

Fault table: docs/wal-format.md.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from pathlib import Path

from .durable import Durable
from .errors import WalClosed, WalError, WalFailed
from .files import FileSystem
from .format import FIRST, Position, record_bytes
from .recovery import Recovered
from .segment import ALLOCATE_BYTES, SMALL_FILE_BYTES, ActiveSegment, require_free, segment_path


class Committer:
    """Owns the active segment and the folder. `commit` and `roll` are the WAL thread's alone."""

    def __init__(
        self,
        fs: FileSystem,
        directory: Path,
        folder_descriptor: int,
        recovered: Recovered,
        *,
        segment_bytes_max: int,
        reserve_bytes: int,
    ) -> None:
        self._fs = fs
        self._directory = directory
        self._folder_descriptor = folder_descriptor
        self._segment_bytes_max = segment_bytes_max
        self._reserve_bytes = reserve_bytes
        self._active: ActiveSegment = recovered.active
        self._next_index = recovered.next_index
        self._publisher = recovered.publisher
        # Guarded by the lock: removals come from other threads, and the folder must not close under them.
        self._names = threading.Lock()
        self._segments = list(recovered.segments)
        self._is_closed = False
        # Replaced whole, so that other threads read it without a lock.
        self.durable = recovered.active.position

    def segments(self) -> list[int]:
        """Numbers of the segments that exist, ascending; the last one is active."""
        with self._names:
            return list(self._segments)

    def commit(self, frames: list[bytes], *, reserved: bool = False) -> list[Position]:
        """Write, sync and publish the frames, and return where each ends.

        reserved: write into the space held for this; a new segment is for ordinary frames to begin, so the
        active one may grow beyond its bound by the reserve. Raises OSError with the log unchanged, WalFailed.
        """
        size = sum(record_bytes(len(frame)) for frame in frames)
        if not reserved and self._active.end + size > self._segment_bytes_max:
            self.roll()
        positions = self._active.write(self._next_index, frames, reserved=reserved)
        self._active.sync(positions[-1].offset)
        self._next_index += len(frames)
        self._publish()
        return positions

    def roll(self, *, without_room: bool = False) -> Position:
        """Make the next segment durable, then seal the active one unless it is empty; return the new end.

        without_room: also where it can have no space ahead, because sealing this one is how space is freed.
        Raises OSError with the log unchanged, WalFailed.
        """
        if self._active.end == FIRST:
            return self._active.position
        # Names are made by path: not in a folder that is another writer's by now.
        if self._publisher.is_superseded():
            raise _superseded(self._directory)
        try:
            ahead = ALLOCATE_BYTES + self._reserve_bytes
            require_free(self._fs, self._folder_descriptor, ahead)
            following = self._create(ahead)
        except OSError as error:
            if error.errno != errno.ENOSPC or not without_room:
                raise
            self._active.give_back(SMALL_FILE_BYTES)
            following = self._create(0)
        sealed, self._active = self._active, following
        sealed.seal()
        # What the sealed one held is free now.
        following.take_reserve()
        with self._names:
            self._segments.append(following.number)
        self._publish()
        return following.position

    def _create(self, ahead_bytes: int) -> ActiveSegment:
        return ActiveSegment.create(
            self._fs,
            self._directory,
            self._folder_descriptor,
            number=self._active.number + 1,
            first_index=self._next_index,
            previous=self._active.position,
            reserve_bytes=self._reserve_bytes,
            ahead_bytes=ahead_bytes,
        )

    def _publish(self) -> None:
        durable = Durable(self._active.position, self._next_index)
        try:
            # After the fsync and before anybody is told: a superseded writer acknowledges nothing.
            if self._publisher.is_superseded():
                raise _superseded(self._directory)
            self._publisher.publish(durable)
        except OSError as error:
            # The records are in the log, so they cannot be refused, and unseen they must not be acknowledged.
            raise WalFailed(
                f"the write-ahead log could not publish its durable offset: {error.strerror}",
                hint="check the disk of the data directory, then restart",
            ) from error
        self.durable = durable.position

    def remove(self, segment: int) -> None:
        """Delete a sealed segment and make that durable; one that is gone already is fine. Any thread."""
        with self._names:
            if self._is_closed:
                raise WalClosed("the write-ahead log is closed", hint="open it to remove segments")
            if segment >= self._segments[-1]:
                raise WalError(f"segment {segment} is active", hint="roll the log first")
            try:
                with contextlib.suppress(FileNotFoundError):
                    self._fs.unlink(segment_path(self._directory, segment))
                self._segments = [number for number in self._segments if number != segment]
                self._fs.sync_folder(self._folder_descriptor)
            except OSError as error:
                raise WalError(
                    f"segment {segment} could not be removed: {error.strerror}",
                    hint="it is removed after the next restart",
                ) from error

    def close(self, *, failed: bool) -> None:
        """Close everything and give up the lock. failed: leave the files exactly as they are."""
        if failed:
            self._active.close()
        else:
            self._active.rest()
        with contextlib.suppress(OSError):
            self._publisher.close()
        with self._names, contextlib.suppress(OSError):
            self._is_closed = True
            # Last: it holds the lock.
            self._fs.close(self._folder_descriptor)


def _superseded(directory: Path) -> WalFailed:
    return WalFailed(
        f"the write-ahead log in {directory} was replaced, or another writer has opened it",
        hint="only one server may run on a data directory: stop the others, then restart this one",
    )
