"""The writer of the log: many threads submit frames, one thread makes them durable in groups.

Format, fault table and recovery: docs/wal-format.md.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple

from .committer import Committer
from .errors import FrameRefused, WalClosed, WalFailed, WalFull, WalLocked, translate
from .files import OS, READ, FileSystem, sync_folder_or_fail
from .format import FIRST, FRAME_BYTES_MAX, Position, record_bytes
from .reader import read_segments
from .receipt import Receipt
from .recovery import Recovery, recover
from .segment import RESERVE_BYTES

# A segment is read whole into memory and is what is deleted at once: small enough for both.
SEGMENT_BYTES_MAX: Final = 64 << 20
# One commit stays in the tens of milliseconds on a plain disk.
COMMIT_BYTES_MAX: Final = 4 << 20
# About a second of a plain disk's writing; beyond it waiting only hides that the disk is too slow.
QUEUE_BYTES_MAX: Final = 64 << 20
# A commit takes far less; longer means the disk hangs, and what is left replays or is sent again.
CLOSE_S_MAX: Final = 30.0

OnDurable = Callable[[Position], None]


class _Entry(NamedTuple):
    """A frame on its way, or with frame None the wish for a new segment. bytes: on disk."""

    frame: bytes | None
    bytes: int
    on_durable: OnDurable | None
    answer: Future[Position] | Receipt
    reserved: bool = False


class Wal:
    """A write-ahead log, open for writing. Thread-safe; open it with `Wal.open`."""

    def __init__(
        self,
        committer: Committer,
        recovery: Recovery,
        replay: Callable[[], Iterator[tuple[Position, bytes]]],
        *,
        group_bytes_max: int,
        commit_delay_s_max: float,
        queue_bytes_max: int,
        reserve_bytes: int,
    ) -> None:
        self._committer = committer
        self._recovery = recovery
        self._replay = replay
        self._group_bytes_max = group_bytes_max
        self._commit_delay_s_max = commit_delay_s_max
        self._queue_bytes_max = queue_bytes_max
        self._reserve_bytes = reserve_bytes
        # Guarded by the condition.
        self._changed = threading.Condition()
        self._queue: deque[_Entry] = deque()
        self._queued_bytes = 0
        self._closing = False
        self._stopped: WalFailed | WalClosed | None = None
        self._thread = threading.Thread(target=self._run, name="otel-audit-wal", daemon=True)

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        fs: FileSystem = OS,
        segment_bytes_max: int = SEGMENT_BYTES_MAX,
        commit_bytes_max: int = COMMIT_BYTES_MAX,
        commit_delay_s_max: float = 0.0,
        queue_bytes_max: int = QUEUE_BYTES_MAX,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> Wal:
        """Recover the log in `directory` (made when missing, its parent must exist) and start writing.

        commit_delay_s_max: how long a commit may wait for company; 0 takes what is queued.
        reserve_bytes: held on the disk, and free in the queue, for reserved frames (see `submit`).
        Raises WalLocked, WalFull (disk), WalFailed, NewerWal; then nothing that was acknowledged is lost
        and opening may be tried again.
        """
        with contextlib.ExitStack() as on_error:
            try:
                fs.make_folder(directory)
                folder = fs.open(directory, READ)
                on_error.callback(fs.close, folder)
                fs.lock(folder)
                _sync_parent(fs, directory)
                recovered = recover(fs, directory, folder, reserve_bytes)
            except BlockingIOError as error:
                raise WalLocked(
                    f"the write-ahead log in {directory} is open in another process",
                    hint="only one server may run on a data directory; stop the other one",
                ) from error
            except OSError as error:
                raise translate(error, "be opened") from error
            on_error.pop_all()
        end, numbers = recovered.active.position, list(recovered.segments)
        wal = cls(
            Committer(
                fs,
                directory,
                folder,
                recovered,
                segment_bytes_max=segment_bytes_max,
                reserve_bytes=reserve_bytes,
            ),
            recovered.recovery,
            lambda: read_segments(fs, directory, numbers, end),
            group_bytes_max=min(commit_bytes_max, segment_bytes_max - FIRST),
            commit_delay_s_max=commit_delay_s_max,
            queue_bytes_max=queue_bytes_max,
            reserve_bytes=reserve_bytes,
        )
        wal._thread.start()
        return wal

    @property
    def durable(self) -> Position:
        """Everything before this position is on disk and visible to readers."""
        return self._committer.durable

    @property
    def recovery(self) -> Recovery:
        """What opening the log found."""
        return self._recovery

    @property
    def failure(self) -> WalFailed | None:
        """Why the log takes nothing any more, None while it does or was closed in order."""
        with self._changed:
            return self._stopped if isinstance(self._stopped, WalFailed) else None

    @property
    def queued_bytes(self) -> int:
        """Bytes submitted and not yet durable, at most `queue_bytes_max`, the reserve and one frame."""
        with self._changed:
            return self._queued_bytes

    def segments(self) -> list[int]:
        """Numbers of the segments that exist, ascending; the last one is active."""
        return self._committer.segments()

    def replay(self) -> Iterator[tuple[Position, bytes]]:
        """The records that were in the log when it was opened, in order, each durable and checked.

        Raises SegmentVanished when a segment was removed before it was read, WalDamaged.
        """
        return self._replay()

    def append(self, frame: bytes, *, reserved: bool = False) -> Position:
        """Make one frame durable and return the position after it.

        frame: 1 byte to 32 MiB, already redacted. Returns after the fsync that covers it.
        reserved: see `submit`. Raises WalFull, WalFailed, WalClosed, FrameRefused.
        """
        receipt = Receipt()
        self._enqueue(_Entry(frame, _record_bytes(frame), None, receipt, reserved))
        return receipt.wait()

    def submit(
        self, frame: bytes, on_durable: OnDurable | None = None, *, reserved: bool = False
    ) -> Future[Position]:
        """Queue one frame; frames enter the log in the order of these calls.

        on_durable runs on the WAL thread, in that order, after the fsync and before the future resolves; it
        must be quick. An error of its own becomes the future's: the frame stays in the log all the same.
        reserved: an event of the service itself, which must be kept when the disk or the queue is full for
        others; it may use the reserve then, and pass frames before it that are refused.
        Raises WalFull (queue), WalFailed, WalClosed, FrameRefused; the future may hold WalFull (disk),
        WalFailed, WalClosed.
        """
        future: Future[Position] = Future()
        # Submitted frames are written even when nobody waits for them: a cancelled future would lie.
        future.set_running_or_notify_cancel()
        self._enqueue(_Entry(frame, _record_bytes(frame), on_durable, future, reserved))
        return future

    def roll(self) -> int:
        """Seal the active segment unless it is empty; return the number of the active one.

        Also on a full disk, where sealing and removing a segment is what frees space. Raises WalFull (the
        segment stays active), WalFailed, WalClosed.
        """
        receipt = Receipt()
        self._enqueue(_Entry(None, 0, None, receipt))
        return receipt.wait().segment

    def remove(self, segment: int) -> None:
        """Delete a sealed segment whose records are durable elsewhere; one that is gone already is fine.

        Raises WalError for the active segment or when the file system refuses, WalClosed.
        """
        self._committer.remove(segment)

    def close(self) -> None:
        """Write what is queued, for at most 30 s, and close. Safe to call again."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(CLOSE_S_MAX)

    def __enter__(self) -> Wal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _enqueue(self, entry: _Entry) -> None:
        with self._changed:
            if self._stopped is not None:
                raise _afresh(self._stopped)
            if self._closing:
                raise _closed()
            bound = self._queue_bytes_max + (self._reserve_bytes if entry.reserved else 0)
            if self._queued_bytes and self._queued_bytes + entry.bytes > bound:
                raise WalFull(
                    f"{self._queued_bytes} bytes wait for the write-ahead log",
                    cause="queue",
                    hint="the disk is slower than what arrives; clients retry",
                )
            self._queue.append(entry)
            self._queued_bytes += entry.bytes
            # With frames in the queue the WAL thread is awake, or waits for company and looks at the clock.
            if len(self._queue) == 1 or self._commit_delay_s_max:
                self._changed.notify()

    def _run(self) -> None:
        reason: WalFailed | WalClosed = WalFailed(
            "the write-ahead log's thread ended unexpectedly", hint="report the traceback above, then restart"
        )
        batch: list[_Entry] = []
        try:
            while batch := self._take():
                self._commit(batch)
            reason = _closed()
        except WalFailed as failure:
            reason = failure
        finally:
            self._stop(reason, batch)

    def _take(self) -> list[_Entry]:
        """Wait for entries and take the next group: one wish to roll, or frames up to the group's bytes."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            if self._commit_delay_s_max > 0 and not self._closing:
                self._changed.wait_for(
                    lambda: self._queued_bytes >= self._group_bytes_max or self._closing,
                    self._commit_delay_s_max,
                )
            batch: list[_Entry] = []
            size = 0
            while self._queue:
                entry = self._queue[0]
                size += entry.bytes
                alone = entry.frame is None or size > self._group_bytes_max
                if batch and alone:
                    break
                batch.append(self._queue.popleft())
                if alone:
                    break
            return batch

    def _commit(self, batch: list[_Entry], *, from_reserve: bool = False) -> None:
        """Make a group durable and tell everybody, or refuse it. Raises WalFailed."""
        frames = [entry.frame for entry in batch if entry.frame is not None]
        try:
            if frames:
                positions = self._committer.commit(frames, reserved=from_reserve)
            else:
                positions = [self._committer.roll(without_room=True)]
        except OSError as error:
            self._refuse([entry for entry in batch if from_reserve or not entry.reserved], error)
            if not from_reserve and (reserved := [entry for entry in batch if entry.reserved]):
                self._commit(reserved, from_reserve=True)
            return
        # Before anybody is told: who was just answered finds room for the next frame.
        self._release(batch)
        for entry, position in zip(batch, positions, strict=True):
            try:
                if entry.on_durable is not None:
                    entry.on_durable(position)
            except Exception as error:  # noqa: BLE001  one subscriber's error must not stop the log
                entry.answer.set_exception(error)
            else:
                entry.answer.set_result(position)

    def _refuse(self, batch: list[_Entry], error: OSError) -> None:
        refusal = translate(error, "be written")
        if isinstance(refusal, WalFailed):
            raise refusal from error
        self._release(batch)
        for entry in batch:
            # One for each: an exception that is raised twice grows its traceback.
            entry.answer.set_exception(translate(error, "be written"))

    def _release(self, batch: list[_Entry]) -> None:
        with self._changed:
            self._queued_bytes -= sum(entry.bytes for entry in batch)

    def _stop(self, reason: WalFailed | WalClosed, batch: list[_Entry]) -> None:
        with self._changed:
            self._stopped = reason
            left = [*batch, *self._queue]
            self._queue.clear()
            self._queued_bytes = 0
        # Before anybody is told: who hears of it may open the log anew.
        self._committer.close(failed=isinstance(reason, WalFailed))
        for entry in left:
            if not entry.answer.done():
                entry.answer.set_exception(_afresh(reason))


def _sync_parent(fs: FileSystem, directory: Path) -> None:
    parent = fs.open(directory.parent, READ)
    try:
        sync_folder_or_fail(fs, parent)
    finally:
        fs.close(parent)


def _record_bytes(frame: bytes) -> int:
    if not 0 < len(frame) <= FRAME_BYTES_MAX:
        raise FrameRefused(
            f"a frame of {len(frame)} bytes cannot be a record (1 to {FRAME_BYTES_MAX})",
            hint="split the batch",
        )
    return record_bytes(len(frame))


def _closed() -> WalClosed:
    return WalClosed("the write-ahead log is closed", hint="the service is stopping; send again")


def _afresh(error: WalFailed | WalClosed) -> WalFailed | WalClosed:
    """A copy to raise: raising one object again and again would grow its traceback for ever."""
    return type(error)(error.message, hint=error.hint)
