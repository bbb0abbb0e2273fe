"""Counts for the histogram and the facets, over the same rows that search pages through."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from otel_audit.exporter.store.snapshot import Snapshot, SnapshotSource

from .engine import Engine
from .event_json import rfc3339
from .filters import SPECS, FilterError, Filters
from .position import Position, decode_position, encode_position, micros, moment
from .search import on_snapshot, partial_of, position_condition

HISTOGRAM_BY: Final = ("severity", "category", "outcome")
BUCKETS_MAX: Final = 500
FACET_VALUES_MAX: Final = 100
# Facet → the expression whose values its filter takes.
FACETS: Final = {
    "category": "category",
    "action": "action",
    "severity": "severity",
    "outcome": "outcome",
    "resource_type": "resource_type",
    "user": "coalesce(user_email, user_id)",
    "ip": "client_address",
    "service": "service_name",
}
_MINUTE: Final = 60
_HOUR: Final = 3_600
# The first bucket may begin before year 1, which no datetime can say.
_FIRST_US: Final = micros(datetime.min.replace(tzinfo=UTC))
_DAY: Final = 86_400
# Widths a person can read off an axis, in seconds.
_WIDTHS: Final = (
    1, 2, 5, 10, 15, 30, _MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE,
    _HOUR, 2 * _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR, _DAY, 2 * _DAY, 7 * _DAY, 14 * _DAY, 30 * _DAY,
)  # fmt: skip


def histogram(
    engine: Engine,
    source: SnapshotSource,
    tenant: str,
    filters: Filters,
    *,
    as_of: str | None = None,
    by: str = "severity",
    buckets: int = 60,
) -> dict[str, Any]:
    """Counts per time bucket and value of `by`: severity, category or outcome.

    buckets: at most so many, 1 to 500; their width is a round one and they start at its multiples in UTC.
    Buckets without events are there with no counts. Raises FilterError, InvalidPosition, QueryFailed.
    """
    if by not in HISTOGRAM_BY:
        raise FilterError("by", by, "not a histogram", allowed=", ".join(HISTOGRAM_BY))
    if not 1 <= buckets <= BUCKETS_MAX:
        raise FilterError("buckets", str(buckets), "out of range", allowed=f"1 to {BUCKETS_MAX}")
    pinned = decode_position(as_of) if as_of else None
    filters = filters.at(pinned.taken) if pinned else filters
    end = _shown_end(filters)
    width = bucket_seconds(filters.time_from, end, buckets)

    def count(snapshot: Snapshot, position: Position) -> dict[str, Any]:
        condition, params = filters.where()
        straddle, more = position_condition(snapshot.files, position)
        with engine.scan(snapshot.files, snapshot.hot) as scan:
            rows = scan.fetch(
                "SELECT epoch_us(time) // $width AS start, coalesce(", by, ", 'unknown'), count(*) FROM",
                scan.source, "WHERE", condition, "AND", straddle, "GROUP BY ALL",
                params=params | more | {"width": width * 1_000_000},
            )  # fmt: skip
        # A clock that runs ahead puts events after now: the axis grows to show them.
        last = max((row[0] for row in rows), default=0)
        shown = max(end, min(filters.time_to, moment((last + 1) * width * 1_000_000))) if rows else end
        return {
            "from": rfc3339(filters.time_from),
            "to": rfc3339(shown),
            "bucket_seconds": width,
            "buckets": _buckets(rows, filters.time_from, shown, width),
            "total": sum(row[2] for row in rows),
            "as_of": encode_position(position),
            "partial": partial_of(snapshot),
        }

    return on_snapshot(source, tenant, filters, pinned, count)


def bucket_seconds(start: datetime, end: datetime, buckets: int) -> int:
    """The smallest round width, in seconds, that covers [start, end) with at most `buckets` buckets."""
    span_s = max(1, -(-(micros(end) - micros(start)) // 1_000_000))
    # One bucket less than asked for, because the first and the last may be cut.
    least_s = -(-span_s // max(1, buckets - 1))
    for width in _WIDTHS:
        if width >= least_s:
            return width
    return -(-least_s // (365 * _DAY)) * 365 * _DAY if least_s > 365 * _DAY else -(-least_s // _DAY) * _DAY


def _shown_end(filters: Filters) -> datetime:
    if filters.values("to"):
        return filters.time_to
    return max(filters.now, filters.time_from)


def _buckets(rows: list[tuple[Any, ...]], start: datetime, end: datetime, width: int) -> list[dict[str, Any]]:
    width_us = width * 1_000_000
    counts: dict[int, dict[str, int]] = {}
    for index, value, number in rows:
        counts.setdefault(index, {})[value] = number
    first, last = micros(start) // width_us, max(micros(start), micros(end) - 1) // width_us
    return [
        {
            "start": rfc3339(max(index * width_us, _FIRST_US)),
            "counts": dict(sorted(counts.get(index, {}).items())),
        }
        for index in range(first, last + 1)
    ]


def facets(
    engine: Engine,
    source: SnapshotSource,
    tenant: str,
    filters: Filters,
    *,
    as_of: str | None = None,
    limit: int = 20,
) -> dict[str, Any]:
    """The most frequent values of each facet with their counts, each facet ignoring its own filter.

    limit: values a facet, 1 to 100. Raises FilterError, InvalidPosition, QueryFailed.
    """
    if not 1 <= limit <= FACET_VALUES_MAX:
        raise FilterError("limit", str(limit), "out of range", allowed=f"1 to {FACET_VALUES_MAX}")
    pinned = decode_position(as_of) if as_of else None
    filters = filters.at(pinned.taken) if pinned else filters
    # Facets that are not filtered see the same rows and share one pass.
    passes: dict[Filters, list[str]] = {}
    for name in FACETS:
        passes.setdefault(_without(filters, name), []).append(name)

    def count(snapshot: Snapshot, position: Position) -> dict[str, Any]:
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in FACETS}
        for seen, names in passes.items():
            chosen = [
                v.lower()
                for name in names
                for v in (*filters.values(name), *filters.values(f"not.{name}"), *filters.tokens(name))
            ]
            for name, value, number in _counted(engine, snapshot, position, seen, names, limit, chosen):
                found[name].append({"value": value, "count": number})
        return {"facets": found, "as_of": encode_position(position), "partial": partial_of(snapshot)}

    return on_snapshot(source, tenant, filters, pinned, count)


def _without(filters: Filters, name: str) -> Filters:
    ignored = (name, "not." + name) if SPECS[name].negatable else (name,)
    if name == "severity":
        ignored = (*ignored, "min_severity")
    for each in ignored:
        if filters.values(each):
            filters = filters.replace(each, ())
    return filters


def _shown(name: str, filtered: bool) -> str:
    # A user who was chosen by id is counted under that id, not under the address.
    if name == "user" and filtered:
        by_id = "list_contains($chosen::VARCHAR[], lower(user_id))"
        return f"CASE WHEN {by_id} THEN user_id ELSE {FACETS[name]} END"
    return FACETS[name]


def _counted(
    engine: Engine,
    snapshot: Snapshot,
    position: Position,
    filters: Filters,
    names: list[str],
    limit: int,
    chosen: list[str],
) -> list[tuple[str, str, int]]:
    """(facet, value, count) of the most frequent values and, whatever their rank, of the chosen ones."""
    condition, params = filters.where()
    straddle, more = position_condition(snapshot.files, position)
    columns = ", ".join(f"{_shown(name, bool(chosen))} AS facet_{index}" for index, name in enumerate(names))
    keys = ", ".join(f"facet_{index}" for index in range(len(names)))
    sets = ", ".join(f"(facet_{index})" for index in range(len(names)))
    with engine.scan(snapshot.files, snapshot.hot) as scan:
        rows = scan.fetch(
            "SELECT which, value, number FROM (SELECT grouping_id(", keys, ") AS which,",
            "coalesce(", keys, ") AS value, count(*) AS number FROM (SELECT", columns, "FROM", scan.source,
            "WHERE", condition, "AND", straddle, ") GROUP BY GROUPING SETS (", sets, "))",
            "WHERE value IS NOT NULL",
            "QUALIFY row_number() OVER (PARTITION BY which ORDER BY number DESC, value) <= $limit",
            "OR list_contains($chosen::VARCHAR[], lower(value))",
            "ORDER BY which, number DESC, value",
            params=params | more | {"limit": limit, "chosen": chosen},
        )  # fmt: skip
    # grouping_id has a 1 for each key that is not grouped by, the first key at the highest bit.
    everything = (1 << len(names)) - 1
    which = {everything ^ (1 << (len(names) - 1 - index)): name for index, name in enumerate(names)}
    return [(which[bits], value, number) for bits, value, number in rows]


def redaction_hits(engine: Engine, source: SnapshotSource, tenant: str, filters: Filters) -> dict[str, Any]:
    """How often each redaction rule hit in the events of the filters' time, hot rows included.

    Raises QueryFailed.
    """

    def count(snapshot: Snapshot, position: Position) -> dict[str, Any]:
        condition, params = filters.where()
        straddle, more = position_condition(snapshot.files, position)
        with engine.scan(snapshot.files, snapshot.hot) as scan:
            rows = scan.fetch(
                "SELECT hit.rule, sum(hit.count)::BIGINT FROM (SELECT unnest(redactions) AS hit FROM",
                scan.source, "WHERE", condition, "AND", straddle, ") GROUP BY 1 ORDER BY 2 DESC, 1",
                params=params | more,
            )  # fmt: skip
        shown = {"from": rfc3339(filters.time_from), "to": rfc3339(_shown_end(filters))}
        return {**shown, "hits": dict(rows), "partial": partial_of(snapshot)}

    return on_snapshot(source, tenant, filters, None, count)
