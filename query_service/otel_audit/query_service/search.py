"""Search: newest first, page by page, over a position that the first page fixes.

Files are read newest first in growing groups, narrow columns first; wide rows only for the page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from otel_audit.exporter.store.schema import VIEW
from otel_audit.exporter.store.snapshot import FileRef, Snapshot, SnapshotSource
from otel_audit.instrumentation.ids import canonical_uuid

from .engine import Engine, FilesChanged
from .event_json import EVENT_COLUMNS, event_of, rfc3339
from .filters import FilterError, Filters
from .position import (
    InvalidPosition,
    Key,
    Position,
    decode_cursor,
    decode_position,
    encode_cursor,
    encode_position,
    micros,
    moment,
)

LIMIT_MAX: Final = 1_000
"""Events of one page: about 2 MB of JSON."""

SNAPSHOT_TRIES: Final = 20
"""A round of merges takes files away eight times in a row, and each may cost a slow query one try; what needs
more, even with retention at work, has another trouble."""

# The first group answers an unfiltered page alone; each next one is larger, so that a rare filter over
# a long time costs a handful of queries.
_FIRST_GROUP_ROWS: Final = 60_000
_GROUP_GROWTH: Final = 4
# An id made now may be of an event that waited two days in a spool.
_ID_BEFORE: Final = timedelta(hours=1)
_ID_AFTER: Final = timedelta(hours=49)
ORDER: Final = "time {way}, event_id {way}, writer {way}, seq {way}"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Page:
    """One page. next: cursor of the page after, None at the end; as_of: what all its pages share."""

    events: list[dict[str, Any]]
    next: str | None
    as_of: str
    partial: list[dict[str, str]]


class _Found(NamedTuple):
    """A row of a page; hot when `file` is None."""

    key: Key
    file: FileRef | None


def search(
    engine: Engine,
    source: SnapshotSource,
    tenant: str,
    filters: Filters,
    *,
    limit: int = 100,
    cursor: str | None = None,
    as_of: str | None = None,
) -> Page:
    """Events that match, newest first by (time, event_id).

    limit: 1 to 1,000 events. cursor: `next` of the page before. as_of: a page's, to see no more than it.
    Raises FilterError, InvalidPosition, QueryFailed and what `source.snapshot` raises.
    """
    if not 1 <= limit <= LIMIT_MAX:
        raise FilterError("limit", str(limit), "out of range", allowed=f"1 to {LIMIT_MAX}")
    pinned = decode_position(as_of) if as_of else None
    after: Key | None = None
    if cursor:
        after, mine = decode_cursor(cursor)
        if pinned is not None and pinned != mine:
            raise InvalidPosition("cursor for this as_of")
        pinned = mine
    filters = filters.at(pinned.taken) if pinned else filters
    time_to = filters.time_to if after is None else _at_most(filters.time_to, after.time_us)

    def page(snapshot: Snapshot, position: Position) -> Page:
        found = _newest(engine, snapshot, position, filters, after, limit + 1)
        events = _read(engine, snapshot, found[:limit])
        more = encode_cursor(found[limit - 1].key, position) if len(found) > limit else None
        return Page(events, more, encode_position(position), partial_of(snapshot))

    return on_snapshot(source, tenant, filters, pinned, page, time_to=time_to)


def on_snapshot(
    source: SnapshotSource,
    tenant: str,
    filters: Filters | None,
    pinned: Position | None,
    query: Callable[[Snapshot, Position], _T],
    *,
    time_to: datetime | None = None,
) -> _T:
    """Answer `query` from a snapshot at `pinned` (else: now), again from a new one when files went away.

    filters: their time range and free text choose the files; None is all of them. Raises FilesChanged after
    SNAPSHOT_TRIES.
    """
    start = filters.time_from if filters else None
    end = time_to or (filters.time_to if filters else None)
    text = filters.text if filters else None
    fixed = pinned
    tries = 0
    while True:
        tries += 1
        seen = fixed.writers if fixed else None
        snapshot = source.snapshot(tenant, time_from=start, time_to=end, as_of=seen, text=text)
        fixed = fixed or Position(dict(snapshot.position), filters.now if filters else datetime.now(UTC))
        try:
            return query(within(snapshot, fixed), fixed)
        except FilesChanged:
            if tries == SNAPSHOT_TRIES:
                raise


def within(snapshot: Snapshot, position: Position) -> Snapshot:
    """The snapshot without files that lie wholly above `position`."""
    files = tuple(ref for ref in snapshot.files if ref.seq_min <= position.writers.get(ref.writer, -1))
    return replace(snapshot, files=files)


def position_condition(files: Sequence[FileRef], position: Position) -> tuple[str, dict[str, Any]]:
    """SQL that keeps rows at or below `position`; needed only for files that reach above it."""
    straddling = {ref.writer for ref in files if ref.seq_max > position.writers.get(ref.writer, -1)}
    tests: list[str] = []
    params: dict[str, Any] = {}
    for index, writer in enumerate(sorted(straddling)):
        tests.append(f"(writer <> $p_writer{index} OR seq <= $p_seq{index})")
        params |= {f"p_writer{index}": writer, f"p_seq{index}": position.writers.get(writer, -1)}
    return " AND ".join(tests) or "TRUE", params


def key_condition(key: Key, way: str) -> tuple[str, dict[str, Any]]:
    """SQL for rows beyond `key`; way: `<` for older ones, `>` for newer ones."""
    # The first test repeats what the second implies, because only it can skip row groups.
    sql = f"time {way}= $k_time AND (time, event_id, writer, seq) {way} ($k_time, $k_id, $k_writer, $k_seq)"
    params = {"k_time": moment(key.time_us), "k_id": key.event_id, "k_writer": key.writer, "k_seq": key.seq}
    return sql, params


def partial_of(snapshot: Snapshot) -> list[dict[str, str]]:
    """What is missing from answers over this snapshot, as the API tells it."""
    return [
        {"file": d.file, "reason": d.reason, "from": rfc3339(d.time_from), "to": rfc3339(d.time_to)}
        for d in snapshot.damaged
    ]


def _at_most(time_to: datetime, time_us: int) -> datetime:
    if time_us >= micros(time_to):
        return time_to
    return moment(time_us + 1)


def _groups(files: Sequence[FileRef]) -> Iterator[list[FileRef]]:
    """Newest files first, in groups of growing row counts; one empty group when there are no files."""
    ordered = sorted(files, key=lambda ref: ref.time_max, reverse=True)
    group: list[FileRef] = []
    rows, rows_max = 0, _FIRST_GROUP_ROWS
    for ref in ordered:
        if group and rows + ref.rows > rows_max:
            yield group
            group, rows, rows_max = [], 0, rows_max * _GROUP_GROWTH
        group.append(ref)
        rows += ref.rows
    yield group


def _newest(
    engine: Engine, snapshot: Snapshot, position: Position, filters: Filters, after: Key | None, count: int
) -> list[_Found]:
    condition, params = filters.where()
    if after is not None:
        beyond, more = key_condition(after, "<")
        condition, params = f"{condition} AND {beyond}", params | more
    by_path = {str(ref.path): ref for ref in snapshot.files}
    hot, found = snapshot.hot, list[_Found]()
    for group in _groups(snapshot.files):
        tests, bound = [condition], dict(params)
        if len(found) == count:
            oldest = moment(found[-1].key.time_us)
            if max(ref.time_max for ref in group) < oldest:
                break
            tests.append("time >= $oldest")
            bound["oldest"] = oldest
        straddle, more = position_condition(group, position)
        with engine.scan(group, hot) as scan:
            rows = scan.fetch(
                "SELECT epoch_us(time), event_id, writer, seq, filename FROM", scan.source,
                "WHERE", " AND ".join([*tests, straddle]),
                "ORDER BY", ORDER.format(way="DESC"), "LIMIT $count",
                params=bound | more | {"count": count},
            )  # fmt: skip
        found += [_Found(Key(*row[:4]), by_path.get(row[4])) for row in rows]
        found.sort(key=lambda each: each.key, reverse=True)
        del found[count:]
        hot = VIEW.empty_table()
    return found


def _read(engine: Engine, snapshot: Snapshot, found: Sequence[_Found]) -> list[dict[str, Any]]:
    """The whole events of `found`, in its order."""
    if not found:
        return []
    files = list(dict.fromkeys(each.file for each in found if each.file is not None))
    numbers = pa.array([each.key.seq for each in found if each.file is None], pa.int64())
    hot = snapshot.hot.filter(pc.is_in(snapshot.hot["seq"], numbers))
    with engine.scan(files, hot) as scan:
        # Ids, not positions: one scan over all files, and pages without a wanted row are skipped.
        rows = scan.fetch(
            "SELECT", EVENT_COLUMNS, "FROM", scan.source, "WHERE event_id IN (SELECT unnest($ids))",
            params={"ids": [each.key.event_id for each in found]},
        )  # fmt: skip
    writer, seq = VIEW.get_field_index("writer"), VIEW.get_field_index("seq")
    by_number = {(row[writer], row[seq]): row for row in rows}
    return [event_of(by_number[each.key.writer, each.key.seq]) for each in found]


def get_event(engine: Engine, source: SnapshotSource, tenant: str, event_id: str) -> dict[str, Any] | None:
    """One event by its id, of any time; None when there is none. Of an id kept twice, the first stored."""
    wanted = canonical_uuid(event_id)
    if wanted is None:
        return None

    def find(snapshot: Snapshot, position: Position) -> dict[str, Any] | None:
        for files, hot in _likely_first(snapshot, wanted):
            straddle, params = position_condition(files, position)
            with engine.scan(files, hot) as scan:
                rows = scan.fetch(
                    "SELECT", EVENT_COLUMNS, "FROM", scan.source, "WHERE event_id = $id AND", straddle,
                    "ORDER BY received_time, writer, seq LIMIT 1",
                    params=params | {"id": wanted},
                )  # fmt: skip
            if rows:
                return event_of(rows[0])
        return None

    return on_snapshot(source, tenant, None, None, find)


def _likely_first(snapshot: Snapshot, event_id: str) -> Iterator[tuple[list[FileRef], pa.Table]]:
    """Hot rows and the files of the time that is in a UUIDv7, then all other files."""
    rest = list(snapshot.files)
    near: list[FileRef] = []
    if event_id[14] == "7":
        made = moment(0) + timedelta(milliseconds=int(event_id[:8] + event_id[9:13], 16) % 2**47)
        low, high = made - _ID_BEFORE, made + _ID_AFTER
        near = [ref for ref in rest if ref.time_min <= high and ref.time_max >= low]
        rest = [ref for ref in rest if not (ref.time_min <= high and ref.time_max >= low)]
    yield near, snapshot.hot
    if rest:
        yield rest, VIEW.empty_table()
