"""Rows that are durable in the WAL but not yet in a file, in memory for queries, dedupe and sealing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from ..schema import VIEW
from .frame import Frame


@dataclass(slots=True)
class HotTenant:
    """One tenant's hot frames in sequence order. since: when the oldest was received, seconds."""

    frames: list[Frame] = field(default_factory=list)
    tables: list[pa.Table] = field(default_factory=list)
    ids: dict[str, set[str]] = field(default_factory=dict)
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

    def add(self, frame: Frame, now: float) -> pa.Table:
        """Publish a durable frame; returns its rows as queries see them."""
        hot = self.tenants.setdefault(frame.tenant, HotTenant(since=now))
        table = frame.view()
        hot.frames.append(frame)
        hot.tables.append(table)
        for event_id, digest in _pairs(frame.rows):
            hot.ids.setdefault(event_id, set()).add(digest)
        hot.rows += frame.rows.num_rows
        hot.bytes += frame.rows.nbytes
        self.bytes += frame.rows.nbytes
        return table

    def drop(self, tenant: str, sealed: list[Frame], now: float) -> None:
        """Forget frames that are in files now."""
        hot = self.tenants[tenant]
        gone = {id(frame) for frame in sealed}
        kept = [frame for frame in hot.frames if id(frame) not in gone]
        if not kept:
            del self.tenants[tenant]
            self.bytes -= hot.bytes
            return
        self.bytes -= hot.bytes
        fresh = self.tenants[tenant] = HotTenant(since=now)
        for frame in kept:
            self.add(frame, now)
        fresh.since = now

    def known(self, tenant: str, event_id: str) -> set[str]:
        """Digests under which `event_id` is held here."""
        hot = self.tenants.get(tenant)
        return hot.ids.get(event_id, set()) if hot else set()

    def tables(self, tenant: str) -> list[pa.Table]:
        """The rows of a tenant, one table a frame (schema VIEW)."""
        hot = self.tenants.get(tenant)
        return list(hot.tables) if hot else []

    def position(self, tenant: str) -> dict[str, int]:
        """writer → highest sequence number held here."""
        hot = self.tenants.get(tenant)
        position: dict[str, int] = {}
        for frame in hot.frames if hot else ():
            position[frame.writer] = max(position.get(frame.writer, 0), frame.seq_max)
        return position


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
