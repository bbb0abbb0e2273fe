"""Histogram and facets against counts made in Python."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_audit.query_service.aggregate import FACETS, bucket_seconds, facets, histogram
from otel_audit.query_service.engine import Engine
from otel_audit.query_service.filters import FilterError, Filters
from otel_audit.query_service.search import search
from tests.support.events import DiskStore, event_row, event_rows, table_of

START = datetime(2026, 3, 1, tzinfo=UTC)
NOW = START + timedelta(days=2)
ENGINE = Engine(memory_limit="256MB")
COLUMN = {"ip": "client_address", "service": "service_name"}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[DiskStore, list[dict[str, Any]]]:
    store = DiskStore(tmp_path_factory.mktemp("store"))
    rows = event_rows(900, start=START, end=NOW)
    store.add(rows.slice(0, 400))
    store.add(rows.slice(400, 300))
    store.add_hot(rows.slice(700))
    return store, rows.to_pylist()


def chosen(*items: tuple[str, str]) -> Filters:
    return Filters.parse([("range", "48h"), *items], now=NOW)


@pytest.mark.parametrize("by", ["severity", "category", "outcome"])
def test_a_histogram_counts_every_event_once(filled: tuple[DiskStore, list[dict[str, Any]]], by: str) -> None:
    store, rows = filled
    found = histogram(ENGINE, store, "acme", chosen(), by=by)
    width = found["bucket_seconds"]
    expected: dict[str, Counter[str]] = {}
    for row in rows:
        at = datetime.fromtimestamp(int(row["time"].timestamp()) // width * width, UTC)
        expected.setdefault(f"{at:%Y-%m-%dT%H:%M:%S.%fZ}", Counter())[row[by]] += 1
    assert {
        bucket["start"]: Counter(bucket["counts"]) for bucket in found["buckets"] if bucket["counts"]
    } == expected
    assert found["total"] == len(rows)
    assert (found["from"], found["to"]) == ("2026-03-01T00:00:00.000000Z", "2026-03-03T00:00:00.000000Z")
    assert len(found["buckets"]) == 48
    assert found["partial"] == []


def test_quiet_times_are_buckets_without_counts(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    store.add(table_of([event_row(seq=1, time=START)]))
    filters = Filters.parse([("from", "2026-03-01"), ("to", "2026-03-02")], now=NOW)
    found = histogram(ENGINE, store, "acme", filters, buckets=25)
    assert [bucket["counts"] for bucket in found["buckets"]] == [{"info": 1}] + [{}] * 23


def test_the_axis_ends_now_unless_a_clock_ran_ahead(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    found = histogram(ENGINE, store, "acme", chosen())
    assert found["to"] == "2026-03-03T00:00:00.000000Z"
    store.add_hot(table_of([event_row(seq=1, time=NOW + timedelta(minutes=30))]))
    found = histogram(ENGINE, store, "acme", chosen())
    assert found["to"] == "2026-03-03T01:00:00.000000Z"
    assert found["buckets"][-1] == {"start": "2026-03-03T00:00:00.000000Z", "counts": {"info": 1}}


@given(st.datetimes(timezones=st.just(UTC)), st.integers(1, 10**11), st.integers(1, 500))
def test_a_histogram_never_has_more_buckets_than_asked_for(
    start: datetime, span_s: int, buckets: int
) -> None:
    try:
        end = start + timedelta(seconds=span_s)
    except OverflowError:
        return
    width = bucket_seconds(start, end, buckets)
    first, last = int(start.timestamp() // width), int((end.timestamp() - 1e-6) // width)
    assert last - first + 1 <= max(2, buckets)


@pytest.mark.parametrize(
    "items",
    [
        [],
        [("category", "security")],
        [("category", "data_access"), ("not.action", "read"), ("severity", "info"), ("service", "docs-web")],
        [("user", "user-0@example.org")],
        [("ip", "10.0.0.0/8"), ("min_severity", "warning")],
        [("q", "report 1")],
    ],
)
def test_each_facet_counts_what_its_own_filter_would_show(
    filled: tuple[DiskStore, list[dict[str, Any]]], items: list[tuple[str, str]]
) -> None:
    store, _ = filled
    found = facets(ENGINE, store, "acme", chosen(*items), limit=100)["facets"]
    assert list(found) == list(FACETS)
    for name, values in found.items():
        own = {name, "not." + name} | ({"min_severity"} if name == "severity" else set())
        others = [item for item in items if item[0] not in own]
        rows: list[dict[str, Any]] = []
        page = search(ENGINE, store, "acme", chosen(*others), limit=1000)
        rows += page.events
        while page.next:
            page = search(ENGINE, store, "acme", chosen(*others), limit=1000, cursor=page.next)
            rows += page.events
        counted = Counter(
            row["user_email"] or row["user_id"] if name == "user" else row[COLUMN.get(name, name)]
            for row in rows
        )
        counted.pop(None, None)
        ordered = sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))[:100]
        assert [(each["value"], each["count"]) for each in values] == ordered


def test_counts_of_a_page_share_its_as_of(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    store.add(event_rows(100, start=START, end=NOW))
    as_of = search(ENGINE, store, "acme", chosen()).as_of
    store.add(event_rows(50, start=START, end=NOW, seq_from=101))
    store.add_hot(event_rows(50, start=START, end=NOW, seq_from=151))
    later = Filters.parse([("range", "48h")], now=NOW + timedelta(hours=5))
    counted = histogram(ENGINE, store, "acme", later, as_of=as_of)
    assert (counted["total"], counted["as_of"], counted["from"]) == (
        100,
        as_of,
        "2026-03-01T00:00:00.000000Z",
    )
    faceted = facets(ENGINE, store, "acme", later, as_of=as_of)
    assert sum(each["count"] for each in faceted["facets"]["category"]) == 100
    assert faceted["as_of"] == as_of


def test_facets_are_bounded(filled: tuple[DiskStore, list[dict[str, Any]]]) -> None:
    store, _ = filled
    assert len(facets(ENGINE, store, "acme", chosen(), limit=3)["facets"]["user"]) == 3
    with pytest.raises(FilterError):
        facets(ENGINE, store, "acme", chosen(), limit=101)
    with pytest.raises(FilterError):
        histogram(ENGINE, store, "acme", chosen(), by="message")
    with pytest.raises(FilterError):
        histogram(ENGINE, store, "acme", chosen(), buckets=0)


@pytest.mark.parametrize("name", ["action", "not.action"])
def test_a_chosen_value_is_counted_even_when_it_is_not_among_the_most_frequent(
    filled: tuple[DiskStore, list[dict[str, Any]]], name: str
) -> None:
    store, rows = filled
    counts = Counter(row["action"] for row in rows)
    rarest = min(counts, key=lambda action: (counts[action], action))
    found = facets(ENGINE, store, "acme", chosen((name, rarest)), limit=2)["facets"]["action"]
    assert {"value": rarest, "count": counts[rarest]} in found
    assert len(found) == 3


def test_a_user_chosen_by_id_is_counted_under_that_id(
    filled: tuple[DiskStore, list[dict[str, Any]]],
) -> None:
    store, rows = filled
    counts = Counter(row["user_id"] for row in rows if row["user_email"] and row["user_id"])
    rarest = min(counts, key=lambda user: (counts[user], user))
    found = facets(ENGINE, store, "acme", chosen(("user", rarest.upper())), limit=1)["facets"]["user"]
    assert {"value": rarest, "count": sum(row["user_id"] == rarest for row in rows)} in found
