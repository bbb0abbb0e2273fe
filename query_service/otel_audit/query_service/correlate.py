"""All events of one request or one trace, across services, in order."""

from __future__ import annotations

from typing import Any, Final

from otel_audit.exporter.store.snapshot import Snapshot, SnapshotSource

from .engine import Engine
from .event_json import EVENT_COLUMNS, event_of
from .filters import SPECS, FilterError
from .position import Position
from .search import ORDER, on_snapshot, partial_of

EVENTS_MAX: Final = 2_000
"""A request of more events than this is a batch job: the rest is found by a search with its id."""


def by_request(engine: Engine, source: SnapshotSource, tenant: str, request_id: str) -> dict[str, Any]:
    """Events of a request, oldest first: {"events", "truncated", "partial"}, at most 2,000.

    Raises FilterError, QueryFailed.
    """
    return _related(engine, source, tenant, "request", request_id)


def by_trace(engine: Engine, source: SnapshotSource, tenant: str, trace_id: str) -> dict[str, Any]:
    """Like `by_request`, for a trace id of 32 hex digits."""
    return _related(engine, source, tenant, "trace", trace_id)


def _related(engine: Engine, source: SnapshotSource, tenant: str, name: str, value: str) -> dict[str, Any]:
    spec = SPECS[name]
    try:
        wanted = spec.check(value)
    except ValueError as error:
        raise FilterError(name, value, str(error), allowed=spec.help) from None

    def find(snapshot: Snapshot, position: Position) -> dict[str, Any]:
        with engine.scan(snapshot.files, snapshot.hot) as scan:
            rows = scan.fetch(
                "SELECT", EVENT_COLUMNS, "FROM", scan.source, "WHERE", spec.sql.format(v="$id"),
                "ORDER BY", ORDER.format(way="ASC"), "LIMIT $count",
                params={"id": wanted, "count": EVENTS_MAX + 1},
            )  # fmt: skip
        return {
            "events": [event_of(row) for row in rows[:EVENTS_MAX]],
            "truncated": len(rows) > EVENTS_MAX,
            "partial": partial_of(snapshot),
        }

    return on_snapshot(source, tenant, None, None, find)
