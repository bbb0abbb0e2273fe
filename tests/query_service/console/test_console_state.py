"""The URL is the state: what it says, and where its links lead."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest

from otel_audit.query_service.console import query_box
from otel_audit.query_service.console.presentation.clock import Zone
from otel_audit.query_service.console.state import PageState
from otel_audit.query_service.filters import SPECS

NEGATABLE = [spec.name for spec in SPECS.values() if spec.negatable]


def state_of(query: str) -> PageState:
    return PageState.parse("acme", parse_qsl(query))


def query_of(state: PageState) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(state.url()).query)


def test_a_link_of_a_state_leads_back_to_the_same_state() -> None:
    state = state_of(
        "range=7d&category=security&not.action=read&q=a%20b%26c&tz=Europe/Berlin&as_of=x&cursor=y&page=3"
    )
    assert PageState.parse("acme", query_of(state)) == state


def test_another_filter_starts_again_at_the_newest_event() -> None:
    state = state_of("category=security&as_of=x&cursor=y&page=3&open=z&tz=Asia/Tokyo").adding(
        "action", "login"
    )
    assert query_of(state) == [("category", "security"), ("action", "login"), ("tz", "Asia/Tokyo")]


def test_excluding_a_chosen_value_replaces_the_choice() -> None:
    state = state_of("action=read").adding("not.action", "read")
    assert state.items == (("not.action", "read"),)
    assert state.adding("action", "read").items == (("action", "read"),)


def test_paging_keeps_the_position_of_the_first_page() -> None:
    state = state_of("category=security").fixed("p1").older("c1").older("c2")
    assert (state.as_of, state.cursor, state.page) == ("p1", "c2", 3)
    assert (state.newest().as_of, state.newest().cursor, state.newest().page) == ("p1", None, 1)


def test_a_span_replaces_a_range_and_a_preset_replaces_a_span() -> None:
    spanned = state_of("range=7d&q=x").between("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z")
    assert spanned.range is None
    assert spanned.values("range") == ()
    assert spanned.ranged("30d").items == (("q", "x"), ("range", "30d"))


def test_a_time_typed_into_the_form_is_of_the_zone_on_the_page() -> None:
    state = state_of("from=2026-07-01T08:00&to=2026-07-02&tz=Europe/Berlin&range=24h")
    assert state.items == (("from", "2026-07-01T06:00:00.000000Z"), ("to", "2026-07-02"))


@pytest.mark.parametrize(
    "name", ["Mars/Olympus", "../../etc/passwd", "a" * 99, "\u202e", "/etc/localtime", "a\0b"]
)
def test_an_unknown_zone_is_utc_and_says_so(name: str) -> None:
    zone = Zone.named(name)
    assert (zone.name, zone.known) == ("UTC", False)


def test_an_organization_or_id_cannot_leave_its_place_in_a_path() -> None:
    assert PageState("a/../b").path("events", "x?y#z") == "/o/a%2F..%2Fb/events/x%3Fy%23z"


def test_the_search_box_takes_filters_exclusions_quotes_and_text() -> None:
    parsed = query_box.parse(
        'user:ada@example.com -action:read late "two words" service:"docs web"',
        names=SPECS,
        negatable=NEGATABLE,
    )
    assert parsed.error is None
    assert parsed.items == (("user", "ada@example.com"), ("not.action", "read"), ("service", "docs web"))
    assert parsed.q == "late two words"


@pytest.mark.parametrize(
    ("typed", "complaint"),
    [
        ("colour:red", "no filter “colour”"),
        ("http://x", "no filter “http”"),
        ("-user:ada", "cannot be excluded"),
        ('action:""', "needs a value"),
        ('say "this', "not closed"),
        ("x" * 1001, "longer than"),
    ],
)
def test_what_the_search_box_cannot_read_is_said_and_nothing_is_dropped(typed: str, complaint: str) -> None:
    parsed = query_box.parse(typed, names=SPECS, negatable=NEGATABLE)
    assert complaint in (parsed.error or "")
    assert (parsed.items, parsed.q) == ((), "")
