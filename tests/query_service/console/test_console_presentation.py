"""Charts, facets, rows, details and journeys, as values before they are drawn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from otel_audit.query_service.console.presentation.chart import PLOT_HEIGHT_PX, build_chart
from otel_audit.query_service.console.presentation.clock import Zone, span_words
from otel_audit.query_service.console.presentation.detail import build_detail
from otel_audit.query_service.console.presentation.facets import build_chips, build_facets
from otel_audit.query_service.console.presentation.journey import build_journey
from otel_audit.query_service.console.presentation.rows import build_row
from otel_audit.query_service.console.state import PageState
from otel_audit.query_service.event_json import to_json
from tests.support.events import event_row

UTC_ZONE = Zone.named("UTC")
START = datetime(2026, 3, 1, tzinfo=UTC)


def event(**given: Any) -> dict[str, Any]:
    return to_json(event_row(**given))


def counts(*buckets: dict[str, int], step_s: int = 3600) -> dict[str, Any]:
    starts = [START + timedelta(seconds=step_s * i) for i in range(len(buckets))]
    return {
        "bucket_seconds": step_s,
        "total": sum(sum(b.values()) for b in buckets),
        "buckets": [{"start": s.isoformat(), "counts": b} for s, b in zip(starts, buckets, strict=True)],
    }


def test_one_critical_event_among_a_million_is_still_seen() -> None:
    chart = build_chart(counts({"info": 1_000_000, "critical": 1}, {}), UTC_ZONE)
    segments = {s.severity: s for s in chart.bars[0].segments}
    assert segments["critical"].height >= 2
    assert segments["critical"].y + segments["critical"].height == PLOT_HEIGHT_PX
    assert segments["info"].y >= 0
    assert chart.bars[1].segments == ()


def test_a_bar_links_to_its_own_bucket_and_labels_are_of_the_zone() -> None:
    chart = build_chart(counts({"info": 1}, {"error": 2}), Zone.named("Asia/Tokyo"))
    assert (chart.bars[1].start, chart.bars[1].end) == (
        "2026-03-01T01:00:00.000000Z",
        "2026-03-01T02:00:00.000000Z",
    )
    assert chart.bars[1].label == "1 Mar 10:00"
    assert (chart.total, chart.peak, chart.bucket_words) == (3, 2, "hour")
    assert chart.totals == {"info": 1, "warning": 0, "error": 2, "critical": 0}


def test_a_chosen_value_stays_in_its_facet_when_nothing_matches_it() -> None:
    state = PageState.parse("acme", [("action", "login"), ("not.category", "system")])
    facets = {f.name: f for f in build_facets({"facets": {"action": [{"value": "read", "count": 3}]}}, state)}
    chosen = {v.value: (v.chosen, v.count) for v in facets["action"].values}
    assert chosen == {"read": (False, 3), "login": (True, 0)}
    assert [(v.value, v.excluded) for v in facets["category"].values] == [("system", True)]
    assert "service" not in facets


def test_a_facet_link_adds_to_repeatable_filters_and_replaces_single_ones() -> None:
    state = PageState.parse("acme", [("action", "login"), ("user", "u-1")])
    answer = {"facets": {"action": [{"value": "read", "count": 1}], "user": [{"value": "u-2", "count": 1}]}}
    facets = {f.name: f for f in build_facets(answer, state)}
    assert facets["action"].values[0].url == "/o/acme/events?action=login&user=u-1&action=read"
    assert facets["user"].values[0].url == "/o/acme/events?action=login&user=u-2"
    assert facets["user"].values[0].exclude_url is None
    assert "not.action=read" in str(facets["action"].values[0].exclude_url)


def test_chips_show_every_filter_but_the_time() -> None:
    chips = build_chips(PageState.parse("acme", [("range", "7d"), ("q", "<b>"), ("not.action", "read")]))
    assert [(c.name, c.value, c.negative) for c in chips] == [
        ("text", "<bdi>&lt;b&gt;</bdi>", False),
        ("action", "<bdi>read</bdi>", True),
    ]
    assert chips[0].url == "/o/acme/events?range=7d&not.action=read"


def test_a_row_shows_the_best_name_and_survives_an_event_of_nothing() -> None:
    full = build_row(
        event(user_id="u-1", user_email="ada@example.com", resource_type="file", resource_id="f-1"),
        UTC_ZONE,
        url="/e",
        open_url="/o",
    )
    assert full.actor == "<bdi>ada@example.com</bdi>"
    assert full.resource == "<bdi>f-1</bdi>"
    bare = build_row(event() | {"severity": None, "outcome": None}, UTC_ZONE, url="", open_url="")
    assert (bare.actor, bare.severity, bare.outcome) == (None, "info", "unknown")


def test_a_detail_puts_changes_redactions_and_every_column_on_the_page() -> None:
    given = event(
        changes='{"roles": {"before": ["member"], "after": ["admin"]}, "note": {"before": "x"}}',
        redactions=[{"rule": "jwt", "field": "attributes.note", "count": 2}],
        attributes='{"note": "gone", "deep": {"a": 1}}',
        flags=["time_skewed"],
    ) | {"a_column_of_tomorrow": "kept"}
    detail = build_detail(given, UTC_ZONE, lambda name, value: f"/{name}={value}")
    assert [(c.name, c.before, c.after) for c in detail.changes] == [
        ("<bdi>roles</bdi>", "<bdi>member</bdi>", "<bdi>admin</bdi>"),
        ("<bdi>note</bdi>", "<bdi>x</bdi>", None),
    ]
    assert [(r.rule, r.count) for r in detail.redactions] == [("jwt", 2)]
    assert {f.name: f.redacted for f in detail.attributes} == {"deep": None, "note": "jwt ×2"}
    fields = {f.name: f for _, group in detail.groups for f in group}
    assert fields["a_column_of_tomorrow"].value == "<bdi>kept</bdi>"
    assert fields["action"].only_url == "/action=read"
    assert fields["action"].exclude_url == "/not.action=read"
    assert fields["event_name"].only_url is None
    assert "a_column_of_tomorrow" in detail.json


def test_columns_that_hold_no_objects_do_not_break_a_detail() -> None:
    detail = build_detail(event(changes="not json", attributes="[1, 2]"), UTC_ZONE, lambda *_: None)
    assert (detail.changes, detail.attributes) == ((), ())
    assert "not json" in detail.json


def test_a_journey_places_events_by_their_time_since_the_first() -> None:
    times = [START, START + timedelta(milliseconds=500), START + timedelta(seconds=2)]
    events = [event(time=t, service_name=s) for t, s in zip(times, ("web", "worker", "web"), strict=True)]
    journey = build_journey(events, UTC_ZONE, lambda event_id: f"/{event_id}")
    assert [s.offset for s in journey.steps] == ["0", "+500 ms", "+2.0 s"]
    assert [s.x for s in journey.steps] == [3, 26.5, 97]
    assert journey.services == ("<bdi>web</bdi>", "<bdi>worker</bdi>")
    assert journey.duration == "2.0 s"
    assert build_journey([], UTC_ZONE, str).steps == ()


def test_a_duration_is_told_in_the_unit_that_fits() -> None:
    words = [span_words(timedelta(seconds=s)) for s in (0.0123, 2.44, 125, 7_800, 270_000)]
    assert words == ["12 ms", "2.4 s", "2 min 5 s", "2 h 10 min", "3 d 3 h"]
