"""Rows that are durable in the WAL but not yet in a file, in memory for queries, dedupe and sealing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from ..schema import VIEW
from .frame import Frame

# Every frame costs some 25 KB beside its rows, in Arrow's own bookkeeping of 46 columns: a small tenant's
# rows are kept as one frame. Larger frames are joined with those of their kind only, so that each row is
# copied a handful of times.
_FRAME_BYTES: Final = 25_000
_SMALL_ROWS: Final = 256


@dataclass(slots=True)
class HotTenant:
    """One tenant's hot frames in sequence order. since: when the oldest was received, seconds.

    tables: of the same frames, as queries see them, made when first asked for.
    """

    frames: list[Frame] = field(default_factory=list)
    tables: list[pa.Table | None] = field(default_factory=list)
    ids: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rows: int = 0
    bytes: int = 0
    since: float = 0.0


class HotRows:
    """All tenants' hot rows. Not thread-safe: the store holds the lock.

    Bounded by the store: it refuses new rows when `bytes` passes its limit.
    """

    def __init__(self) -> None:
        self.tenants: dict[str, HotTenant] = {}
        self.bytes = 0

    def add(self, frame: Frame, now: float) -> None:
        """Publish a durable frame."""
        hot = self.tenants.setdefault(frame.tenant, HotTenant(since=now))
        for event_id, digest in _pairs(frame.rows):
            hot.ids[event_id] = (*hot.ids.get(event_id, ()), digest)
        hot.rows += frame.rows.num_rows
        joined = [frame]
        while hot.frames and _joins(hot.frames[-1], joined):
            joined.insert(0, hot.frames.pop())
            hot.tables.pop()
        hot.frames.append(Frame.joined(joined))
        hot.tables.append(None)
        self._count(hot)

    def drop(self, tenant: str, writer: str, seq_to: int, now: float) -> None:
        """Forget a writer's rows up to `seq_to`, which are in files now."""
        hot = self.tenants.pop(tenant)
        self.bytes -= hot.bytes
        kept = [frame.above(seq_to) if frame.writer == writer else frame for frame in hot.frames]
        for frame in kept:
            if frame.rows.num_rows:
                self.add(frame, now)

    def _count(self, hot: HotTenant) -> None:
        size = sum(frame.rows.nbytes + _FRAME_BYTES for frame in hot.frames)
        self.bytes += size - hot.bytes
        hot.bytes = size

    def known(self, tenant: str, event_id: str) -> tuple[str, ...]:
        """Digests under which `event_id` is held here."""
        hot = self.tenants.get(tenant)
        return hot.ids.get(event_id, ()) if hot else ()

    def tables(self, tenant: str) -> list[pa.Table]:
        """The rows of a tenant, one table a frame (schema VIEW)."""
        hot = self.tenants.get(tenant)
        if hot is None:
            return []
        hot.tables = [table or frame.view() for table, frame in zip(hot.tables, hot.frames, strict=True)]
        return list(hot.tables)

    def position(self, tenant: str) -> dict[str, int]:
        """writer → highest sequence number held here."""
        hot = self.tenants.get(tenant)
        position: dict[str, int] = {}
        for frame in hot.frames if hot else ():
            position[frame.writer] = max(position.get(frame.writer, 0), frame.seq_max)
        return position


def _joins(last: Frame, joined: list[Frame]) -> bool:
    """Whether the frame before `joined` becomes one with them."""
    rows = sum(frame.rows.num_rows for frame in joined)
    follows = last.writer == joined[0].writer and last.seq_max + 1 == joined[0].seq_min
    return follows and last.rows.num_rows <= max(_SMALL_ROWS, 2 * rows)


def _pairs(rows: pa.RecordBatch) -> zip[tuple[str, str]]:
    return zip(rows.column("event_id").to_pylist(), rows.column("content_digest").to_pylist(), strict=True)


def join(tables: list[pa.Table], as_of: Mapping[str, int] | None) -> pa.Table:
    """One table of the rows at or below `as_of` (all rows when None)."""
    table = pa.concat_tables(tables) if tables else VIEW.empty_table()
    if as_of is None or not table.num_rows:
        return table
    keep = pc.or_kleene(False, pc.equal(table["writer"], ""))
    for writer, seq in as_of.items():
        mine = pc.and_(pc.equal(table["writer"], writer), pc.less_equal(table["seq"], seq))
        keep = pc.or_(keep, mine)
    return table.filter(keep)
