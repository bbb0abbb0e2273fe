"""Searching events, reading one, and following a request or trace across services."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from otel_audit.instrumentation.ids import canonical_uuid
from otel_audit.query_service.api.call import Call, answer
from otel_audit.query_service.api.problems import Problem
from otel_audit.query_service.correlate import by_request, by_trace
from otel_audit.query_service.search import Page, get_event, search

_TRACE_ID: Final = re.compile(r"[0-9a-f]{32}")


async def list_events(request: Request, call: Call) -> Response:
    """One page of events, newest first."""
    limit = int(call.own.get("limit", "100"))
    cursor, as_of = call.own.get("cursor"), call.own.get("as_of")
    where = (call.services.engine, call.services.source, call.org)

    def find() -> tuple[Page, list[str]]:
        page = search(*where, call.filters, limit=limit, cursor=cursor, as_of=as_of)
        return page, call.filters.notes()

    page, notes = await call.query(request, find)
    await call.record_search(page.as_of)
    found = {"events": page.events, "next": page.next, "as_of": page.as_of, "partial": page.partial}
    return answer(found | ({"notes": notes} if notes else {}))


async def read_event(request: Request, call: Call) -> Response:
    """Everything about one event."""
    event_id = canonical_uuid(call.path["event_id"])
    if event_id is None:
        raise _no_such("event")
    event = await call.query(
        request, lambda: get_event(call.services.engine, call.services.source, call.org, event_id)
    )
    await call.record("read", {"event_id": event_id, "found": event is not None})
    if event is None:
        raise _no_such("event")
    return answer(event)


async def follow_request(request: Request, call: Call) -> Response:
    """Every event of one user request, in order, across services."""
    request_id = canonical_uuid(call.path["request_id"])
    if request_id is None:
        raise _no_such("request")
    return await _follow(request, call, "request", request_id, by_request)


async def follow_trace(request: Request, call: Call) -> Response:
    """Every event of one trace, in order, across services."""
    trace_id = call.path["trace_id"].lower()
    if not _TRACE_ID.fullmatch(trace_id):
        raise _no_such("trace")
    return await _follow(request, call, "trace", trace_id, by_trace)


async def _follow(
    request: Request, call: Call, name: str, value: str, find: Callable[..., dict[str, Any]]
) -> Response:
    found = await call.query(
        request, lambda: find(call.services.engine, call.services.source, call.org, value)
    )
    # Following an id is a search by the filter of that name.
    await call.record("search", {"filters": {name: [value]}})
    return answer(found)


def _no_such(what: str) -> Problem:
    return Problem(
        404,
        f"There is no such {what}.",
        hint="It may be past its retention, or of another organization; search for it.",
    )
