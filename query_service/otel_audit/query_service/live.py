"""The live stream: what has just become durable, filtered, to many readers, none of whom can slow a write."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import anyio
import pyarrow as pa
from anyio.to_thread import run_sync

from otel_audit.exporter.store.snapshot import Published, Snapshot, SnapshotSource
from otel_audit.instrumentation.errors import AuditError

from .engine import Engine, FilesChanged
from .event_json import EVENT_COLUMNS, event_of, to_json
from .filters import Filters
from .position import Position, decode_position, encode_position
from .search import SNAPSHOT_TRIES

BUFFER_EVENTS_MAX: Final = 10_000
"""Events that wait for one reader: 50 s of a busy organization, about 20 MB."""
HEARTBEAT_S: Final = 15.0
RESUME_MAX: Final = timedelta(hours=24)
STREAMS_MAX: Final = 500
"""Open streams of one server; each costs a query per published batch when it filters."""
# Rows of one query: a burst is filtered in one go, and the first event still leaves quickly.
_BATCH_ROWS: Final = 2_000
_THREADS: Final = 4
# Replays of one reader: each ends nearer to now, so one that needs more is too slow and gets a gap.
_REPLAYS_MAX: Final = 20

Message = dict[str, Any]


class PositionTooOld(AuditError):
    """The position to resume from is older than the stream can replay."""


class TooManyStreams(AuditError):
    """The server has as many open streams as it serves."""


class LiveHub:
    """Fans out what the store publishes. One a server; used on one event loop."""

    def __init__(
        self,
        store_subscribe: Callable[[Callable[[Published], None]], Callable[[], None]],
        engine: Engine,
        source: SnapshotSource,
        *,
        buffer_events_max: int = BUFFER_EVENTS_MAX,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self._engine, self._source = engine, source
        self._buffer_events_max, self._heartbeat_s = buffer_events_max, heartbeat_s
        self._lock = threading.Lock()
        self._mailboxes: dict[str, set[_Mailbox]] = {}
        self._unsubscribe = store_subscribe(self._publish)
        self._limiter: anyio.CapacityLimiter | None = None

    @property
    def streams(self) -> int:
        """Open streams."""
        with self._lock:
            return sum(len(boxes) for boxes in self._mailboxes.values())

    @asynccontextmanager
    async def open(self, tenant: str, filters: Filters, after: str | None) -> AsyncIterator[LiveStream]:
        """A stream of one tenant's events from now, or from position `after` on.

        The filters' time range does not count: what is live is now.
        Raises InvalidPosition, PositionTooOld, TooManyStreams and what `source.snapshot` raises.
        """
        start = decode_position(after, what="after") if after else None
        if start is not None and datetime.now(UTC) - start.taken > RESUME_MAX:
            raise PositionTooOld("this position is older than 24 h", hint="search for the events in between")
        self._limiter = self._limiter or anyio.CapacityLimiter(_THREADS)
        # First the mailbox, then the snapshot: what lands in between is in both and dropped by number.
        mailbox = self._add(tenant)
        try:
            stream = LiveStream(
                self._engine, self._source, tenant, filters, start, mailbox, self._limiter, self._heartbeat_s
            )
            # Before it is handed out, so that whatever happens from then on is in the mailbox.
            await stream.begin()
            yield stream
        finally:
            with self._lock:
                boxes = self._mailboxes[tenant]
                boxes.discard(mailbox)
                if not boxes:
                    del self._mailboxes[tenant]

    async def close(self) -> None:
        """End every stream; called when the server stops."""
        self._unsubscribe()
        with self._lock:
            boxes = [box for group in self._mailboxes.values() for box in group]
        for box in boxes:
            box.close()

    def _add(self, tenant: str) -> _Mailbox:
        mailbox = _Mailbox(self._buffer_events_max)
        with self._lock:
            if sum(len(boxes) for boxes in self._mailboxes.values()) >= STREAMS_MAX:
                raise TooManyStreams(f"{STREAMS_MAX} streams are open", hint="close one, or try again later")
            self._mailboxes.setdefault(tenant, set()).add(mailbox)
        return mailbox

    def _publish(self, item: Published) -> None:
        """On the writer's thread: hand over and return."""
        with self._lock:
            boxes = list(self._mailboxes.get(item.tenant, ()))
        for box in boxes:
            box.put(item)


class _Mailbox:
    """From the writer's thread to one reader on the event loop; full: drops and counts."""

    def __init__(self, events_max: int) -> None:
        self._events_max = events_max
        self._lock = threading.Lock()
        self._items: deque[Published | int] = deque()
        self._rows = 0
        self._loop = asyncio.get_running_loop()
        self._filled = asyncio.Event()
        self._called = False
        self.closed = False

    def put(self, item: Published) -> None:
        rows = item.rows.num_rows
        with self._lock:
            # A slow reader keeps what it missed least: the oldest, and one gap after it.
            full = bool(self._items) and isinstance(self._items[-1], int)
            kept = 0 if full else min(rows, self._events_max - self._rows)
            if kept == rows:
                self._items.append(item)
            elif kept:
                seq_max = item.seq_min + kept - 1
                part = Published(item.tenant, item.writer, item.seq_min, seq_max, item.rows.slice(0, kept))
                self._items.append(part)
            self._rows += kept
            if kept < rows:
                last = self._items[-1] if self._items else None
                if isinstance(last, int):
                    self._items[-1] = last + rows - kept
                else:
                    self._items.append(rows - kept)
        self._wake()

    def forget_overflow(self) -> bool:
        """Whether events were dropped; if so, empty the mailbox: its reader takes a new snapshot."""
        with self._lock:
            if not any(isinstance(item, int) for item in self._items):
                return False
            self._items.clear()
            self._rows = 0
            return True

    def close(self) -> None:
        self.closed = True
        self._wake()

    def take(self) -> list[Published | int]:
        """What waits, up to one batch: published rows, or the number of dropped ones."""
        with self._lock:
            taken: list[Published | int] = []
            rows = 0
            while self._items and rows < _BATCH_ROWS:
                item = self._items.popleft()
                taken.append(item)
                rows += item.rows.num_rows if isinstance(item, Published) else 0
            self._rows -= rows
            if not self._items:
                self._filled.clear()
                self._called = False
            return taken

    async def wait(self, timeout_s: float) -> None:
        """Until something waits, the mailbox closes, or the time is over."""
        with anyio.move_on_after(timeout_s):
            await self._filled.wait()

    def _wake(self) -> None:
        with self._lock:
            # Once is enough until the reader has looked: a stalled loop must not collect calls.
            if self._called and not self.closed:
                return
            self._called = True
        try:
            self._loop.call_soon_threadsafe(self._filled.set)
        except RuntimeError:
            # The loop has ended, and its readers with it.
            self.closed = True


class LiveStream:
    """An async iterator of messages: `event`, `gap` (events this reader missed), `heartbeat`."""

    def __init__(
        self,
        engine: Engine,
        source: SnapshotSource,
        tenant: str,
        filters: Filters,
        start: Position | None,
        mailbox: _Mailbox,
        limiter: anyio.CapacityLimiter,
        heartbeat_s: float,
    ) -> None:
        self._engine, self._source, self._tenant = engine, source, tenant
        self._filters, self._start, self._mailbox = filters, start, mailbox
        self._limiter, self._heartbeat_s = limiter, heartbeat_s
        self._seen: dict[str, int] = {}
        self._snapshot: Snapshot | None = None

    async def begin(self) -> None:
        """Fix where the stream starts; called once, before it is read."""
        snapshot = await self._now()
        position = snapshot.position
        # Kept only for the replay: its hot rows must not live as long as the stream.
        self._snapshot = snapshot if self._start else None
        start = position if self._start is None else self._start.writers
        # Nobody has seen more than there is; numbers above it would hide what comes.
        self._seen = {writer: min(seq, position.get(writer, seq)) for writer, seq in start.items()}

    async def __aiter__(self) -> AsyncIterator[Message]:
        snapshot, self._snapshot = self._snapshot, None
        if snapshot is not None:
            async for message in self._catch_up(snapshot):
                yield message
            del snapshot
        loop = asyncio.get_running_loop()
        beat = loop.time() + self._heartbeat_s
        while not self._mailbox.closed:
            items = self._mailbox.take()
            if not items:
                await self._mailbox.wait(max(0.0, beat - loop.time()))
                items = [] if self._mailbox.closed else self._mailbox.take()
            messages = await self._messages(items)
            if not messages and loop.time() >= beat:
                messages = [{"type": "heartbeat", "position": self._position()}]
            for message in messages:
                yield message
            if messages:
                beat = loop.time() + self._heartbeat_s

    async def _now(self) -> Snapshot:
        # Without a position only the numbers are wanted: no file holds an event of the end of time.
        start = None if self._start else datetime.max.replace(tzinfo=UTC)
        take = partial(self._source.snapshot, self._tenant, time_from=start)
        return await run_sync(take, limiter=self._limiter)

    async def _catch_up(self, snapshot: Snapshot) -> AsyncIterator[Message]:
        """Replay snapshots until the mailbox has everything after the last one."""
        tries = replays = 0
        while True:
            try:
                async for message in self._replay(snapshot):
                    yield message
            except FilesChanged:
                tries += 1
                if tries == SNAPSHOT_TRIES:
                    raise
            else:
                tries, replays = 0, replays + 1
                if replays == _REPLAYS_MAX or not self._mailbox.forget_overflow():
                    return
            snapshot = await self._now()

    async def _replay(self, snapshot: Snapshot) -> AsyncIterator[Message]:
        """Rows between the start and the snapshot, each writer's in order."""
        for writer, last in snapshot.position.items():
            while self._seen.get(writer, 0) < last:
                messages, reached = await run_sync(
                    self._rows_after, snapshot, writer, last, limiter=self._limiter
                )
                for message in messages:
                    yield message
                self._seen[writer] = reached

    def _rows_after(self, snapshot: Snapshot, writer: str, last: int) -> tuple[list[Message], int]:
        seen = self._seen.get(writer, 0)
        files = [ref for ref in snapshot.files if ref.writer == writer and ref.seq_max > seen]
        condition, params = self._filters.where(time=False)
        with self._engine.scan(files, snapshot.hot) as scan:
            rows = scan.fetch(
                "SELECT", EVENT_COLUMNS, "FROM", scan.source, "WHERE", condition,
                "AND writer = $s_writer AND seq > $s_from AND seq <= $s_to ORDER BY seq LIMIT $s_count",
                params=params | {"s_writer": writer, "s_from": seen, "s_to": last, "s_count": _BATCH_ROWS},
            )  # fmt: skip
        messages = list(self._events(event_of(row) for row in rows))
        return messages, messages[-1]["event"]["seq"] if len(rows) == _BATCH_ROWS else last

    async def _messages(self, items: list[Published | int]) -> list[Message]:
        """Messages of what the mailbox held, in order."""
        messages: list[Message] = []
        tables: list[pa.Table] = []
        for item in [*items, 0]:
            if isinstance(item, Published):
                tables += self._unseen(item)
                continue
            if tables:
                messages += await run_sync(self._filtered, pa.concat_tables(tables), limiter=self._limiter)
                tables = []
            if item:
                messages.append({"type": "gap", "dropped": item, "position": self._position()})
        return messages

    def _unseen(self, item: Published) -> list[pa.Table]:
        skip = max(0, self._seen.get(item.writer, 0) - item.seq_min + 1)
        return [item.rows.slice(skip)] if skip < item.rows.num_rows else []

    def _filtered(self, rows: pa.Table) -> list[Message]:
        if self._filters.any_besides_time:
            condition, params = self._filters.where(time=False)
            with self._engine.scan([], rows) as scan:
                found = scan.fetch(
                    "SELECT", EVENT_COLUMNS, "FROM", scan.source, "WHERE", condition, "ORDER BY writer, seq",
                    params=params,
                )  # fmt: skip
            messages = list(self._events(event_of(row) for row in found))
        else:
            messages = list(self._events(to_json(row) for row in rows.to_pylist()))
        for writer, seq in zip(rows["writer"].to_pylist(), rows["seq"].to_pylist(), strict=True):
            self._seen[writer] = max(self._seen.get(writer, 0), seq)
        return messages

    def _events(self, events: Iterable[dict[str, Any]]) -> Iterator[Message]:
        for event in events:
            self._seen[event["writer"]] = event["seq"]
            yield {"type": "event", "position": self._position(), "event": event}

    def _position(self) -> str:
        return encode_position(Position(dict(self._seen), datetime.now(UTC)))
