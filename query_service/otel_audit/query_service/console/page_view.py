"""What the events page shows, put together from a state and its answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from otel_audit.query_service.filters import FilterError, Filters
from otel_audit.query_service.search import Page

from .presentation.chart import build_chart
from .presentation.clock import rfc3339
from .presentation.detail import Detail
from .presentation.facets import build_chips, build_facets
from .presentation.rows import Row, build_row
from .presentation.text import plain
from .state import PRESETS, PageState

if TYPE_CHECKING:
    from .visit import Visit

PAGE_ROWS: Final = 100
HALF_DAY: Final = timedelta(hours=12)
"""How far links that lead away from one event look to either side of it."""
_AROUND: Final = timedelta(minutes=5)
_PRESET_WORDS: Final = {"24h": "24 hours", "7d": "7 days", "30d": "30 days", "90d": "90 days"}
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True)
class Found:
    """The answers of one page view. without: filter → how many events there would be without it.

    notes: what the filters cannot find, if anything.
    """

    page: Page
    histogram: dict[str, Any]
    facets: dict[str, Any]
    without: tuple[tuple[tuple[str, str], int], ...] = ()
    wider: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Opened:
    """An event and what the page shows of it."""

    event: dict[str, Any]
    detail: Detail


def events_context(
    visit: Visit,
    filters: Filters | None,
    found: Found | None,
    opened: Opened | None,
    problem: FilterError | None,
) -> dict[str, Any]:
    """Everything `events.html` names. filters and found are None when a filter could not be read."""
    state = visit.state
    fixed = state.fixed(found.page.as_of) if found else state
    frame = visit.frame(here="events", in_zone=lambda tz: replace(state, tz=tz).url())
    rows = [_row(visit, fixed, event) for event in found.page.events] if found else []
    return frame | {
        "state": state,
        "presets": [
            {"range": p, "words": _PRESET_WORDS[p], "url": state.ranged(p).url(), "on": state.range == p}
            for p in PRESETS
        ],
        "range_words": _range_words(state, filters),
        "custom": state.range not in PRESETS,
        "from_input": state.zone.to_input(filters.time_from) if filters else "",
        "to_input": state.zone.to_input(filters.time_to) if filters else "",
        "typed": " ".join(state.values("q")),
        "carried_fields": _carried,
        "chips": build_chips(state),
        "clear_url": state.filtered(i for i in state.items if i[0] in ("range", "from", "to")).url(),
        "facets": build_facets(found.facets if found else {"facets": {}}, state),
        "chart": build_chart(found.histogram, state.zone) if found else None,
        "zoom_url": lambda start, end: state.between(start, end).url(),
        "rows": rows,
        "first": (state.page - 1) * PAGE_ROWS + 1,
        "opened": opened,
        **(detail_context(visit, opened) if opened else {}),
        "older_url": fixed.older(found.page.next).url() if found and found.page.next else None,
        "newest_url": fixed.newest().url() if state.page > 1 or state.cursor else None,
        "partial": found.page.partial if found else [],
        "notes": found.notes if found else (),
        "as_of": found.page.as_of if found else "",
        "fresh_url": state.filtered(state.items).url(),
        "hints": _hints(state, found) if found else [],
        "problem": problem,
        "problem_url": state.dropping(problem.parameter).url() if problem else "",
        "csv_url": f"/api/v1/orgs/{state.org}/export?format=csv" + _amp(state.api_query()),
        "stream_url": f"/api/v1/orgs/{state.org}/stream?{state.filtered(state.without_time()).api_query()}",
        "live_possible": not state.values("to") and not state.cursor,
        "fixed_url": fixed.url(),
    }


def detail_context(visit: Visit, opened: Opened) -> dict[str, Any]:
    """What `_detail.html` needs."""
    event, state = opened.event, visit.state
    time = datetime.fromisoformat(event["time"])
    near = PageState(state.org, tz=state.tz)
    day = near.between(rfc3339(time - HALF_DAY), rfc3339(time + HALF_DAY))
    pivots = [
        ("Around this time, ±5 min", near.between(rfc3339(time - _AROUND), rfc3339(time + _AROUND)).url())
    ]
    zone = f"?tz={state.tz}" if state.tz and state.zone.known else ""
    if event.get("request_id"):
        pivots.insert(0, ("Same request, all services", state.path("requests", event["request_id"]) + zone))
    if event.get("trace_id"):
        pivots.insert(1, ("Same trace", state.path("traces", event["trace_id"]) + zone))
    for label, name, field in (
        ("Same session", "session", "session_id"),
        ("Same user", "user", "user_id"),
        ("Same address", "ip", "client_address"),
        ("Same resource", "resource_id", "resource_id"),
    ):
        if event.get(field):
            pivots.append((label, day.adding(name, str(event[field])).url()))
    return {
        "detail": opened.detail,
        "severity_name": event.get("severity") or "info",
        "outcome_name": event.get("outcome") or "unknown",
        "when": state.zone.full(time),
        "pivots": pivots,
        "permalink": state.path("events", opened.detail.event_id) + zone,
        "close_url": state.opening(None).url(),
    }


def _row(visit: Visit, fixed: PageState, event: dict[str, Any]) -> Row:
    event_id = str(event["event_id"])
    return build_row(
        event,
        fixed.zone,
        url=fixed.path("events", event_id),
        open_url=fixed.opening(event_id).url() + f"#e-{event_id}",
    )


def _carried(state: PageState, *names: str) -> list[tuple[str, str]]:
    """Hidden fields of a form that sets `names` itself: the rest of the state, from its newest page."""
    kept = [item for item in state.items if item[0] not in names]
    return [*kept, *([("tz", state.tz)] if state.tz else [])]


def _range_words(state: PageState, filters: Filters | None) -> str:
    chosen = state.range
    if chosen in _PRESET_WORDS:
        return f"Last {_PRESET_WORDS[chosen]}"
    if chosen and chosen[:-1].isdecimal() and chosen[-1:] in _UNITS:
        return f"Last {chosen[:-1]} {_UNITS[chosen[-1]]}"
    if filters is None:
        return "Custom range"
    zone = state.zone
    until = zone.short(filters.time_to) if state.values("to") else "now"
    return f"{zone.short(filters.time_from)} – {until}"


def _hints(state: PageState, found: Found) -> list[dict[str, Any]]:
    """For an empty page: which step would find something, and how much."""
    hints = [
        {
            "text": f"Drop {name} {plain(value, chars_max=40)}",
            "count": count,
            "url": state.dropping(name, value).url(),
        }
        for (name, value), count in found.without
        if count
    ]
    if found.wider and state.range != "90d":
        hints.append(
            {"text": "Look at the last 90 days", "count": found.wider, "url": state.ranged("90d").url()}
        )
    return sorted(hints, key=lambda hint: -hint["count"])


def _amp(query: str) -> str:
    return f"&{query}" if query else ""
