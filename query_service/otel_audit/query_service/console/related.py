"""`/o/{org}/requests/{id}` and `/o/{org}/traces/{id}`: all events of one request, across services."""

from __future__ import annotations

import re
from typing import Any, Final

from starlette.responses import Response

from otel_audit.instrumentation.ids import canonical_uuid
from otel_audit.query_service.api.problems import Problem
from otel_audit.query_service.correlate import by_request, by_trace

from .presentation.journey import build_journey
from .visit import Visit, zone_link

_TRACE_ID: Final = re.compile(r"[0-9a-f]{32}")


async def show_request(visit: Visit) -> Response:
    """Every event of a user's request, in order."""
    wanted = canonical_uuid(visit.request.path_params["request_id"])
    return await _show(visit, "request", wanted)


async def show_trace(visit: Visit) -> Response:
    """Every event of a trace, in order."""
    asked = visit.request.path_params["trace_id"].lower()
    return await _show(visit, "trace", asked if _TRACE_ID.fullmatch(asked) else None)


async def _show(visit: Visit, what: str, wanted: str | None) -> Response:
    if wanted is None:
        raise Problem(404, f"There is no such {what}.", hint="Check the id in the address.")
    call, find = visit.call, by_request if what == "request" else by_trace
    found = await call.query(
        visit.request, lambda: find(call.services.engine, call.services.source, call.org, wanted)
    )
    await call.record("search", {"filters": {what: [wanted]}})
    path = visit.state.path(f"{what}s", wanted)
    context = visit.frame(here=what, in_zone=zone_link(path)) | _context(visit, what, wanted, found)
    return visit.pages.answer("journey.html", context)


def _context(visit: Visit, what: str, wanted: str, found: dict[str, Any]) -> dict[str, Any]:
    state = visit.state
    zone = f"?tz={state.tz}" if state.tz and state.zone.known else ""
    return {
        "what": what,
        "id": wanted,
        "journey": build_journey(found["events"], state.zone, lambda e: state.path("events", e) + zone),
        "partial": found["partial"],
        "truncated": found["truncated"],
    }
