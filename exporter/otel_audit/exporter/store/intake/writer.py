"""The one writer of a region root: drops repeats, numbers rows, makes them durable, publishes them.

Requests queue up; one thread takes all that wait, joins each tenant's rows into one WAL record,
waits for the fsync that covers them and only then numbers the next ones, so that a refused write
leaves no gap in the sequence.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

import pyarrow as pa

from ...wal.format import Position
from ...wal.writer import Wal
from ..errors import StoreError, StoreUnavailable
from ..partition import check_tenant
from .frame import Frame

log = logging.getLogger(__name__)

# Requests that wait at once. Each is at most one OTLP request (64 MiB), typically 0.5 MB.
QUEUE_REQUESTS_MAX: Final = 256
# Rows joined into one group: keeps a WAL record small enough for one write and a quick replay.
GROUP_ROWS_MAX: Final = 16_384
# Half of what a WAL record may hold: Arrow's own framing comes on top.
FRAME_BYTES_MAX: Final = 16 << 20


class Ledger(Protocol):
    """What the writer asks of the store that owns it."""

    def stored(self, tenant: str, event_ids: list[str]) -> Mapping[str, set[str]]:
        """event id → content digests already stored, hot or in files."""

    def next_seq(self, tenant: str) -> int:
        """The number of the tenant's next row. Raises StoreUnavailable when it may have no more."""

    def note(self, position: Position, frame: Frame) -> None:
        """The log holds a frame; called on its thread, before its segment can be any but the active one."""

    def publish(self, frames: list[Frame]) -> None:
        """Durable frames, in sequence order: make them visible to readers."""

    def check_room(self) -> None:
        """Raises StoreUnavailable when nothing more may be taken now."""


@dataclass(slots=True)
class _Request:
    rows: Mapping[str, pa.RecordBatch]
    own: bool = False
    done: Future[None] = field(default_factory=Future)

    @property
    def count(self) -> int:
        return sum(batch.num_rows for batch in self.rows.values())


class StoreWriter:
    """Group commit over `wal`. writer: this root's stable writer id."""

    def __init__(self, wal: Wal, ledger: Ledger, writer: str) -> None:
        self._wal, self._ledger, self._writer = wal, ledger, writer
        self._queue: queue.Queue[_Request | None] = queue.Queue(QUEUE_REQUESTS_MAX)
        self._closed = threading.Event()
        # Held while a request is queued, so that none comes behind the end that `close` queues.
        self._door = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="otel-audit-writer", daemon=True)
        self._thread.start()

    def append(self, rows: Mapping[str, pa.RecordBatch], *, own: bool = False) -> None:
        """Store rows (schema ROW) of one or more tenants; returns when all are durable and visible.

        own: events of the service itself, which may use the log's reserve when the disk is full.
        A row whose event id and digest are stored already changes nothing; the same id with another
        digest is kept with the flag `id_conflict`.
        Raises StoreUnavailable: nothing may be acknowledged, the same request may be sent again.
        """
        for tenant in rows:
            check_tenant(tenant)
        self._ledger.check_room()
        request = _Request({tenant: batch for tenant, batch in rows.items() if batch.num_rows}, own)
        with self._door:
            if self._closed.is_set():
                raise StoreUnavailable("the store is closing", hint="send the batch again")
            if not request.rows:
                return
            try:
                self._queue.put_nowait(request)
            except queue.Full:
                raise StoreUnavailable("the write queue is full", hint="slow down and retry") from None
        request.done.result()

    def flush(self) -> None:
        """Returns when every request that was queued before has been stored or refused."""
        request = _Request({})
        with self._door:
            if self._closed.is_set():
                raise StoreUnavailable("the store is closing", hint="run it again")
            self._queue.put(request)
        request.done.result()

    def close(self) -> None:
        """Finish what is queued, then stop."""
        with self._door:
            if self._closed.is_set():
                return
            self._closed.set()
            self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            request = self._queue.get()
            if request is None:
                break
            self._commit(self._gather(request))

    def _gather(self, first: _Request) -> list[_Request]:
        group, rows = [first], first.count
        while rows < GROUP_ROWS_MAX:
            try:
                request = self._queue.get_nowait()
            except queue.Empty:
                break
            if request is None:
                self._queue.put(None)  # nothing is queued behind it, so there is room
                break
            group.append(request)
            rows += request.count
        return group

    def _commit(self, group: list[_Request]) -> None:
        try:
            failed: dict[tuple[str, bool], Exception] = {}
            frames = list(self._frames(group, failed))
            failed |= self._write(frames)
        except Exception as error:
            # Whatever it is, no caller may be left waiting.
            log.exception("a group of %d requests was not stored", len(group))
            failed = {(tenant, request.own): error for request in group for tenant in request.rows}
        for request in group:
            parts = [(tenant, request.own) for tenant in request.rows]
            errors = [failed[part] for part in parts if part in failed]
            if errors:
                request.done.set_exception(_refusal(errors[0]))
            else:
                request.done.set_result(None)

    def _frames(
        self, group: list[_Request], failed: dict[tuple[str, bool], Exception]
    ) -> Iterator[tuple[Frame, bool]]:
        """Frames in sequence order, each with whether it is the service's own."""
        by_tenant: dict[str, list[pa.RecordBatch]] = {}
        own_rows: dict[str, int] = {}
        # Own events first: when the disk is full they are stored and the others refused, without a gap.
        for request in sorted(group, key=lambda each: not each.own):
            for tenant, batch in request.rows.items():
                by_tenant.setdefault(tenant, []).append(batch)
                own_rows[tenant] = own_rows.get(tenant, 0) + (batch.num_rows if request.own else 0)
        for tenant, batches in by_tenant.items():
            table = pa.Table.from_batches(batches).combine_chunks()
            try:
                batch, own = self._without_repeats(tenant, table.to_batches()[0], own_rows[tenant])
                seq = self._ledger.next_seq(tenant)
            except StoreUnavailable as refusal:
                failed[tenant, True] = failed[tenant, False] = refusal
                continue
            except Exception as error:
                # A tenant whose files cannot be read is refused; its neighbours in the group are not.
                log.exception("repeats of %s could not be looked for", tenant)
                failed[tenant, True] = failed[tenant, False] = error
                continue
            for part, is_own in ((batch.slice(0, own), True), (batch.slice(own), False)):
                for rows in _pieces(part):
                    yield Frame(tenant, self._writer, seq, rows), is_own
                    seq += rows.num_rows

    def _without_repeats(self, tenant: str, batch: pa.RecordBatch, own: int) -> tuple[pa.RecordBatch, int]:
        """The rows that are new, and how many of them are among the first `own`."""
        ids = batch.column("event_id").to_pylist()
        digests = batch.column("content_digest").to_pylist()
        stored = {event_id: set(found) for event_id, found in self._ledger.stored(tenant, ids).items()}
        keep: list[int] = []
        conflicts: set[int] = set()
        for row, (event_id, digest) in enumerate(zip(ids, digests, strict=True)):
            seen = stored.setdefault(event_id, set())
            if digest in seen:
                continue
            if seen:
                conflicts.add(len(keep))
            seen.add(digest)
            keep.append(row)
        if len(keep) == batch.num_rows and not conflicts:
            return batch, own
        kept = batch.take(pa.array(keep, pa.int64()))
        new_own = sum(row < own for row in keep)
        return (_flag(kept, conflicts, "id_conflict") if conflicts else kept), new_own

    def _write(self, frames: list[tuple[Frame, bool]]) -> dict[tuple[str, bool], Exception]:
        """Write the frames; returns (tenant, own) → error of those that are not durable."""
        failed: dict[tuple[str, bool], Exception] = {}
        durable: list[Frame] = []
        pending: list[tuple[Frame, bool, Future[Position]]] = []

        def refuse(frame: Frame, own: bool, error: Exception) -> None:
            # What was numbered behind it cannot be stored either.
            for part in (own, False):
                failed.setdefault((frame.tenant, part), error)

        def settle() -> None:
            for frame, own, future in pending:
                try:
                    future.result()
                    durable.append(frame)
                except Exception as error:  # noqa: BLE001 - that tenant is refused, the others go on
                    refuse(frame, own, error)
            pending.clear()

        for frame, own in frames:
            # A tenant's next record only after its last one is durable: a refused one leaves no gap.
            if pending and pending[-1][0].tenant == frame.tenant:
                settle()
            if (frame.tenant, own) in failed:
                continue
            try:
                # Noted before it is known here: until then sealing would take its segment for done with.
                noted = partial(self._ledger.note, frame=frame)
                pending.append((frame, own, self._wal.submit(frame.encode(), noted, reserved=own)))
            except Exception as error:  # noqa: BLE001
                refuse(frame, own, error)
        settle()
        if durable:
            self._ledger.publish(durable)
        return failed


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The rows in order, in batches that fit a WAL record."""
    if batch.num_rows > 1 and batch.nbytes > FRAME_BYTES_MAX:
        half = batch.num_rows // 2
        yield from _pieces(batch.slice(0, half))
        yield from _pieces(batch.slice(half))
    elif batch.num_rows:
        yield batch


def _flag(batch: pa.RecordBatch, rows: set[int], flag: str) -> pa.RecordBatch:
    at = batch.schema.get_field_index("flags")
    flags = batch.column(at).to_pylist()
    for row in rows:
        flags[row] = [*(flags[row] or []), flag]
    return batch.set_column(at, batch.schema.field(at), pa.array(flags, batch.schema.field(at).type))


def _refusal(error: Exception) -> StoreUnavailable:
    if isinstance(error, StoreUnavailable):
        return error
    hint = error.hint if isinstance(error, StoreError) else "see the server's log; send the batch again"
    refusal = StoreUnavailable("the batch could not be made durable", hint=hint)
    refusal.__cause__ = error
    return refusal
