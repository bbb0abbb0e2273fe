"""Counts over a search: by time, and by value."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from otel_audit.query_service.aggregate import facets, histogram
from otel_audit.query_service.api.call import Call, answer


async def count_by_time(request: Request, call: Call) -> Response:
    """Counts per time bucket and severity or category."""
    own = call.own
    counted = await call.query(
        request,
        lambda: histogram(
            call.services.engine,
            call.services.source,
            call.org,
            call.filters,
            as_of=own.get("as_of"),
            by=own.get("by", "severity"),
            buckets=int(own.get("buckets", "60")),
        ),
    )
    await call.record_search(counted["as_of"])
    return answer(counted)


async def count_by_value(request: Request, call: Call) -> Response:
    """Counts per value of each facet, each ignoring its own filter."""
    own = call.own
    counted = await call.query(
        request,
        lambda: facets(
            call.services.engine,
            call.services.source,
            call.org,
            call.filters,
            as_of=own.get("as_of"),
            limit=int(own.get("limit", "20")),
        ),
    )
    await call.record_search(counted["as_of"])
    return answer(counted)
