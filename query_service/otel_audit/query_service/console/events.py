"""`/o/{org}/events`: the search page, and one event opened in it or on a page of its own."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from starlette.responses import RedirectResponse, Response

from otel_audit.instrumentation.ids import canonical_uuid
from otel_audit.query_service.aggregate import facets, histogram
from otel_audit.query_service.api.call import Call
from otel_audit.query_service.api.problems import Problem
from otel_audit.query_service.filters import NAMES, SPECS, FilterError, Filters
from otel_audit.query_service.position import InvalidPosition, decode_cursor, decode_position
from otel_audit.query_service.search import get_event, search

from . import query_box
from .page_view import HALF_DAY, Found, Opened, detail_context, events_context
from .presentation.clock import rfc3339
from .presentation.detail import build_detail
from .presentation.facets import only
from .state import PageState
from .visit import Visit, zone_link

ROWS: Final = 100
BUCKETS: Final = 60
_NEGATABLE: Final = tuple(spec.name for spec in SPECS.values() if spec.negatable)
_HINTS_MAX: Final = 6
"""Filters tried one by one when nothing is found; each costs a count."""


async def show_events(visit: Visit) -> Response:
    """The page, its main part alone, or the open event alone, whichever is asked for."""
    state, typed = visit.state, visit.request.query_params.get("search")
    search_error = None
    if typed is not None:
        parsed = query_box.parse(typed, names=tuple(SPECS), negatable=_NEGATABLE)
        if parsed.error is None:
            return RedirectResponse(_searching(state, parsed).url(), 303)
        search_error = parsed.error
    if visit.fragment == "detail" and state.open:
        detail = await open_event(visit, state.open)
        context = {"here": "events"} | detail_context(visit, detail)
        return visit.pages.answer("_detail.html", context, fragment="detail")
    problem, found, filters = None, None, None
    try:
        filters = Filters.parse(state.items, now=_moment(visit))
    except FilterError as error:
        problem = error
    if filters is not None:
        call = visit.filtered(filters)
        found = await call.query(visit.request, lambda: _find(call, state))
        await call.record_search(found.page.as_of)
    opened = None
    if found and any(e["event_id"] == state.open for e in found.page.events):
        opened = await open_event(visit, str(state.open))
    context = events_context(visit, filters, found, opened, problem)
    context |= {"search_error": search_error, "typed": typed if search_error else context["typed"]}
    status = 400 if problem else 200
    if visit.fragment:
        return visit.pages.answer("_events.html", context, status=status, fragment="main")
    return visit.pages.answer("events.html", context, status=status)


async def show_event(visit: Visit) -> Response:
    """One event on a page of its own, under a link that stays."""
    event_id = canonical_uuid(visit.request.path_params["event_id"])
    if event_id is None:
        raise _no_such_event()
    detail = await open_event(visit, event_id)
    path = visit.state.path("events", event_id)
    context = visit.frame(here="event", in_zone=zone_link(path)) | detail_context(visit, detail)
    return visit.pages.answer("event.html", context)


async def open_event(visit: Visit, event_id: str) -> Opened:
    """Read one event and record that it was read. Raises Problem 404."""
    wanted, call = canonical_uuid(event_id), visit.call
    if wanted is None:
        raise _no_such_event()
    event = await call.query(
        visit.request, lambda: get_event(call.services.engine, call.services.source, call.org, wanted)
    )
    await call.record("read", {"event_id": wanted, "found": event is not None})
    if event is None:
        raise _no_such_event()
    state = visit.state
    if "event_id" in visit.request.path_params:
        # A page without filters: its links ask for the half day on either side of the event.
        time = datetime.fromisoformat(event["time"])
        state = state.between(rfc3339(time - HALF_DAY), rfc3339(time + HALF_DAY))

    def filter_url(name: str, value: str) -> str | None:
        if name not in NAMES:
            return None
        return (
            only(state, name, value).url() if not name.startswith("not.") else state.adding(name, value).url()
        )

    return Opened(event, build_detail(event, visit.state.zone, filter_url))


def _find(call: Call, state: PageState) -> Found:
    services, filters = call.services, call.filters
    where = (services.engine, services.source, call.org)
    page = search(*where, filters, limit=ROWS, cursor=state.cursor, as_of=state.as_of)
    counted = histogram(*where, filters, as_of=page.as_of, buckets=BUCKETS)
    valued = facets(*where, filters, as_of=page.as_of, limit=20)
    notes = tuple(filters.notes())
    if page.events or state.cursor:
        return Found(page, counted, valued, notes=notes)

    def total(items: list[tuple[str, str]]) -> int:
        other = Filters.parse(items, now=filters.now).with_tokens(filters.tokens_of)
        return int(histogram(*where, other, as_of=page.as_of, buckets=1)["total"])

    rest = state.without_time()
    without = tuple((item, total([i for i in state.items if i != item])) for item in rest[:_HINTS_MAX])
    return Found(page, counted, valued, without, total([*rest, ("range", "90d")]), notes)


def _moment(visit: Visit) -> datetime:
    """When the first page was asked for; a relative range counts back from there."""
    state = visit.state
    try:
        if state.cursor:
            return decode_cursor(state.cursor)[1].taken
        if state.as_of:
            return decode_position(state.as_of).taken
    except InvalidPosition as error:
        raise Problem(
            400, "This link is not whole.", hint="Start again from the newest events; the filters can stay."
        ) from error
    return visit.call.filters.now


def _searching(state: PageState, parsed: query_box.Parsed) -> PageState:
    """The state after a search: what was typed replaces the free text and joins the other filters."""
    after = state.dropping("q")
    for name, value in parsed.items:
        if name == "range":
            after = after.ranged(value)
        else:
            after = only(after, name, value) if not name.startswith("not.") else after.adding(name, value)
    return after.adding("q", parsed.q) if parsed.q else after


def _no_such_event() -> Problem:
    return Problem(
        404,
        "There is no such event.",
        hint="It may be past its retention, or of another organization; search for it.",
    )
