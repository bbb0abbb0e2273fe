"""Filters against a plain Python oracle, on real Parquet rows."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_audit.exporter.redaction.actions import token
from otel_audit.exporter.redaction.identity import session_hash
from otel_audit.query_service.address import address_condition, parse_network
from otel_audit.query_service.engine import Engine
from otel_audit.query_service.filters import FILTERS, NAMES, FilterError, Filters
from tests.support.events import NUMBERS, event_row, table_of

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
ENGINE = Engine(memory_limit="256MB")
TEXTS = ["alpha", "Beta", "a_b", "100%", "x'; DROP TABLE t; --", "é", "", "al", "$f_q", '"', "\\"]


def matching(items: list[tuple[str, str]], rows: list[dict[str, Any]], **options: Any) -> list[int]:
    condition, params = Filters.parse(items, now=NOW).where(**options)
    with ENGINE.scan([], table_of(rows)) as scan:
        found = scan.fetch("SELECT seq FROM", scan.source, "WHERE", condition, params=params)
    return sorted(row[0] for row in found)


def numbered(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    return [event_row(**({"time": NOW} | row | {"seq": index})) for index, row in enumerate(rows)]


texts = st.sampled_from([None, *TEXTS])
choices = {
    "category": ["authentication", "data_access", "security", "system"],
    "severity": list(NUMBERS),
    "outcome": ["success", "failure", "denied", "unknown"],
    "action": TEXTS[:5],
    "resource_type": TEXTS[:5],
    "service": TEXTS[:5],
}
COLUMN = {"service": "service_name"}
EVENTS = st.fixed_dictionaries(
    {
        "category": st.sampled_from(choices["category"]),
        "severity": st.sampled_from(choices["severity"]),
        "outcome": st.sampled_from(choices["outcome"]),
        "action": texts,
        "resource_type": texts,
        "service_name": texts,
        "user_id": texts,
        "user_email": texts,
        "message": texts,
        "resource_id": texts,
        "client_address": texts,
    }
)


@st.composite
def filter_items(draw: st.DrawFn) -> list[tuple[str, str]]:
    items: list[tuple[str, str]] = []
    for name, values in choices.items():
        wanted = [value for value in values if value]
        for prefix in ("", "not."):
            chosen = draw(st.lists(st.sampled_from(wanted), max_size=2, unique=True))
            items += [(prefix + name, value) for value in chosen]
    for name in ("user", "resource_id", "q"):
        if draw(st.integers(0, 3)) == 0:
            items.append((name, draw(st.sampled_from([text for text in TEXTS if text]))))
    if draw(st.booleans()):
        items.append(("min_severity", draw(st.sampled_from(choices["severity"]))))
    return items


def oracle(items: list[tuple[str, str]], row: dict[str, Any]) -> bool:
    given: dict[str, list[str]] = {}
    for name, value in items:
        given.setdefault(name, []).append(value)
    for name, values in given.items():
        plain = name.removeprefix("not.")
        match plain:
            case "min_severity":
                hit = NUMBERS[row["severity"]] >= NUMBERS[values[0]]
            case "user":
                hit = values[0].lower() in [(row[c] or "\0").lower() for c in ("user_id", "user_email")]
            case "q":
                columns = ("message", "user_id", "user_email", "resource_id", "action", "client_address")
                hit = any(values[0].lower() in (row[c] or "").lower() for c in columns)
            case _:
                hit = row[COLUMN.get(plain, plain)] in values
        if hit == name.startswith("not."):
            return False
    return True


@settings(max_examples=50, deadline=None)
@given(filter_items(), st.lists(EVENTS, min_size=1, max_size=12))
def test_filters_choose_the_rows_that_plain_python_chooses(
    items: list[tuple[str, str]], events: list[dict[str, Any]]
) -> None:
    rows = numbered(*({**event, "severity_number": NUMBERS[event["severity"]]} for event in events))
    assert matching(items, rows) == [row["seq"] for row in rows if oracle(items, row)]


@settings(max_examples=60, deadline=None)
@given(filter_items())
def test_canonical_items_read_back_to_the_same_filters(items: list[tuple[str, str]]) -> None:
    filters = Filters.parse([*items, ("range", "7d")], now=NOW)
    assert Filters.parse(filters.items(), now=NOW) == filters


def spelled(address: ipaddress.IPv6Address, style: int) -> str:
    exploded = address.exploded
    forms = [
        address.compressed,
        exploded,
        exploded.upper(),
        ":".join(group.lstrip("0") or "0" for group in exploded.split(":")),
        address.compressed + "%eth0",
        f"{':'.join(exploded.split(':')[:6])}:{ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)}",
    ]
    return forms[style % len(forms)]


v6 = st.builds(
    lambda groups: ipaddress.IPv6Address(
        sum(group << (16 * (7 - index)) for index, group in enumerate(groups))
    ),
    st.lists(st.sampled_from([0, 0, 0, 1, 0xDB8, 0x2001, 0xFE80, 0xFFFF, 0x10]), min_size=8, max_size=8),
)
v4 = st.builds(
    lambda octets: ipaddress.IPv4Address(bytes(octets)),
    st.lists(st.sampled_from([0, 1, 9, 10, 99, 100, 127, 192, 255]), min_size=4, max_size=4),
)


def as_v6(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> int:
    return int(address) | 0xFFFF << 32 if address.version == 4 else int(address)


@settings(max_examples=60, deadline=None)
@given(st.lists(v6 | v4, min_size=1, max_size=20), st.data())
def test_an_address_or_network_matches_every_spelling_of_its_addresses(
    addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address], data: st.DataObject
) -> None:
    base = data.draw(st.sampled_from(addresses) | v6 | v4)
    prefix = data.draw(st.integers(0, base.max_prefixlen))
    network = ipaddress.ip_network(f"{base}/{prefix}", strict=False)
    low, high = as_v6(network.network_address), as_v6(network.broadcast_address)
    written = [
        str(each) if each.version == 4 else spelled(each, data.draw(st.integers(0, 5))) for each in addresses
    ]
    rows = numbered(*({"client_address": text} for text in [*written, "", "nowhere", "1.2.3", ":", None]))
    expected = [index for index, each in enumerate(addresses) if low <= as_v6(each) <= high]
    assert matching([("ip", f"{base}/{prefix}")], rows) == expected


@pytest.mark.parametrize(
    "garbage",
    ["1::2::3", ":::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "g::", "12345::", "10.0.0.256", "::ffff:"],
)
def test_text_that_is_no_address_is_in_no_network(garbage: str) -> None:
    rows = numbered({"client_address": garbage})
    assert matching([("ip", "::/0")], rows) == matching([("ip", "0.0.0.0/0")], rows) == []


def test_mapped_ipv6_and_ipv4_are_one_address() -> None:
    rows = numbered(
        {"client_address": "10.1.2.3"},
        {"client_address": "::ffff:10.1.2.3"},
        {"client_address": "::FFFF:a01:203"},
        {"client_address": "10.1.2.30"},
    )
    assert matching([("ip", "10.1.2.3")], rows) == [0, 1, 2]
    assert matching([("ip", "[::ffff:10.1.2.3]")], rows) == [0, 1, 2]
    assert matching([("ip", "10.1.2.0/24")], rows) == [0, 1, 2, 3]


@pytest.mark.parametrize("text", ["οδός", "οδόσ", "ΟΔΌΣ", "Οδός μ"])
def test_both_lower_case_sigmas_are_the_upper_case_one(text: str) -> None:
    rows = numbered(
        {"message": "ΟΔΌΣ ΜΟΥ"}, {"user_name": "οδός μου"}, {"resource_name": "οδόσ μου"}, {"message": "οδό"}
    )
    assert matching([("q", text)], rows) == [0, 1, 2]


def test_a_masked_address_is_in_the_networks_that_hold_all_of_it() -> None:
    rows = numbered({"client_address": "10.1.2.0/24"}, {"client_address": "2001:db8:1::/48"})
    assert matching([("ip", "10.1.2.0/24")], rows) == matching([("ip", "10.1.0.0/16")], rows) == [0]
    assert matching([("ip", "10.1.2.0/25")], rows) == matching([("ip", "10.1.2.0")], rows) == []
    assert matching([("ip", "10.1.3.0/24")], rows) == []
    assert matching([("ip", "2001:db8:1::/48")], rows) == matching([("ip", "2001:db8::/32")], rows) == [1]
    assert matching([("ip", "2001:db8:1::/49")], rows) == matching([("ip", "2001:db8:2::/48")], rows) == []


def test_tokens_of_every_key_are_found_in_the_columns_of_the_filter_and_survive_changes() -> None:
    keys = [(1, bytes(32)), (2, bytes(range(32)))]

    def tokens_of(value: str) -> list[str]:
        return [token(value, number, key) for number, key in keys]

    old, new = tokens_of("ada@example.com")
    rows = numbered(
        {"user_id": old}, {"user_email": new}, {"user_id": "ADA@example.com"}, {"on_behalf_of": new},
        {"client_address": tokens_of("2001:db8::1")[0]}, {"resource_id": tokens_of("doc-7")[1]},
    )  # fmt: skip

    def found(*items: tuple[str, str]) -> list[int]:
        filters = Filters.parse(items, now=NOW).with_tokens(tokens_of)
        for changed in (filters, filters.at(NOW), filters.replace("category", ())):
            condition, params = changed.where()
            with ENGINE.scan([], table_of(rows)) as scan:
                found = scan.fetch("SELECT seq FROM", scan.source, "WHERE", condition, params=params)
        return sorted(row[0] for row in found)

    assert found(("user", " Ada@Example.COM"), ("not.category", "system")) == [0, 1]
    assert found(("user", "ada@example.com")) == [0, 1, 2]
    assert found(("user", old.upper())) == [0]
    assert found(("ip", "2001:DB8:0::1")) == [4]
    assert found(("ip", "2001:db8::/32")) == []
    assert found(("resource_id", "DOC-7")) == [5]
    assert matching([("user", "ada@example.com")], rows) == [2]


def test_wildcards_of_like_are_ordinary_characters() -> None:
    rows = numbered(
        {"message": "100% sure"}, {"message": "1000 sure"}, {"message": "a_b"}, {"message": "aXb"}
    )
    assert matching([("q", "100%")], rows) == [0]
    assert matching([("q", "A_B")], rows) == [2]


@pytest.mark.parametrize(
    "attack",
    [
        "' OR 1=1 --",
        "'; DROP VIEW audit_events; --",
        "$f_from",
        "x') OR ('1'='1",
        "\\' OR true --",
        "1) UNION SELECT * FROM read_text('/etc/passwd') --",
        "{v}",
        "{0.__class__}",
        "☃' --",
    ],
)
def test_sql_in_a_value_is_only_a_value(attack: str) -> None:
    rows = numbered({"message": "quiet", "user_id": "u", "resource_type": "file", "service_name": "web"})
    with ENGINE.scan([], table_of(rows)) as scan:
        for name in NAMES:
            try:
                condition, params = Filters.parse([(name, attack)], now=NOW).where()
            except FilterError:
                continue
            found = scan.fetch("SELECT seq FROM", scan.source, "WHERE", condition, params=params)
            assert found == ([(0,)] if name.startswith("not.") else []), name


def test_not_includes_events_without_a_value() -> None:
    rows = numbered({"resource_type": None}, {"resource_type": "file"}, {"resource_type": "user"})
    assert matching([("not.resource_type", "file")], rows) == [0, 2]


def test_the_session_filter_takes_the_id_or_its_hash_and_never_keeps_the_id() -> None:
    session = "session-" + "7" * 20
    rows = numbered({"session_id": session_hash(session)}, {"session_id": session_hash("other")})
    filters = Filters.parse([("session", session)], now=NOW)
    assert session not in str(filters.items())
    assert matching([("session", session)], rows) == matching(filters.items(), rows) == [0]


def test_ids_match_in_any_spelling() -> None:
    rows = numbered({"request_id": "0190a1b2-0000-7000-8000-00000000000a", "trace_id": "ab" * 16})
    assert matching([("request", "0190A1B2000070008000" + "00000000000A")], rows) == [0]
    assert matching([("trace", "AB" * 16)], rows) == [0]


def test_range_counts_back_from_now_and_sees_clocks_that_run_ahead() -> None:
    filters = Filters.parse([("range", "90m")], now=NOW)
    assert filters.time_from == NOW - timedelta(minutes=90)
    assert filters.time_to == NOW + timedelta(hours=1)
    assert Filters.parse([], now=NOW).time_from == NOW - timedelta(hours=24)


def test_from_is_inclusive_and_to_is_exclusive_to_the_microsecond() -> None:
    at = datetime(2026, 3, 5, tzinfo=UTC)
    rows = numbered(*({"time": at + timedelta(microseconds=n)} for n in (-1, 0, 1, 2)))
    items = [("from", "2026-03-05"), ("to", "2026-03-05T01:00:00.000002+01:00")]
    assert matching(items, rows) == [1, 2]
    assert matching(items, rows, time=False) == [0, 1, 2, 3]


def test_the_last_hour_of_the_calendar_is_a_time_like_any_other() -> None:
    filters = Filters.parse([("from", "9999-12-31T23:30:00Z")], now=NOW)
    assert filters.time_from < filters.time_to


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([("colour", "red")], "min_severity"),
        ([("category", "weather")], "authentication, data_access, security, system"),
        ([("severity", "loud")], "info, warning, error, critical"),
        ([("outcome", "maybe")], "success, failure, denied, unknown"),
        ([("min_severity", "x")], "critical"),
        ([("not.user", "x")], "not.category"),
        ([("range", "5w")], "24h, 7d, 30d, 90d"),
        ([("range", "0h")], "at most 36600d"),
        ([("from", "2026-03-01T10:00:00")], "RFC 3339"),
        ([("from", "2026-02-30")], "RFC 3339"),
        ([("to", "9999-12-31T23:59:59-23:59")], "RFC 3339"),
        ([("ip", "10.0.0.300")], "CIDR"),
        ([("ip", "10.0.0.0/40")], "CIDR"),
        ([("trace", "xyz")], "32 hex"),
        ([("request", "xyz")], "UUID or 32 hex"),
        ([("request", "0190a1b2-0000-7000-8000")], "UUID or 32 hex"),
        ([("user", "a"), ("user", "b")], "one value"),
        ([("q", "x" * 513)], "512"),
        ([("from", "2026-03-02"), ("to", "2026-03-02")], "exclusive"),
        ([("action", f"a{n}") for n in range(101)], "100"),
    ],
)
def test_a_wrong_filter_is_refused_with_what_would_be_right(items: list[tuple[str, str]], said: str) -> None:
    with pytest.raises(FilterError) as caught:
        Filters.parse(items, now=NOW)
    assert caught.value.parameter == items[-1][0] or len(items) == 2
    assert said in caught.value.hint


@pytest.mark.parametrize("value", ["a\x00b", "\ud800"])
@pytest.mark.parametrize("name", ["q", "user", "action", "session"])
def test_text_that_no_event_can_hold_is_refused(name: str, value: str) -> None:
    with pytest.raises(FilterError):
        Filters.parse([(name, value)], now=NOW)


def test_range_and_from_do_not_mix() -> None:
    with pytest.raises(FilterError):
        Filters.parse([("range", "7d"), ("from", "2026-03-01")], now=NOW)


def test_empty_values_count_as_not_given() -> None:
    assert Filters.parse([("user", ""), ("category", "")], now=NOW).items() == []


def test_replace_changes_one_filter_and_keeps_the_rest() -> None:
    filters = Filters.parse([("category", "system"), ("q", "x"), ("range", "7d")], now=NOW)
    assert filters.replace("category", ["security", "system"]).items() == [
        ("range", "7d"),
        ("category", "security"),
        ("category", "system"),
        ("q", "x"),
    ]
    assert filters.replace("category", []).items() == [("range", "7d"), ("q", "x")]


def test_every_filter_says_what_it_takes() -> None:
    assert all(spec.help and spec.allowed_text for spec in FILTERS)


def test_the_address_condition_stays_small_enough_to_plan_quickly() -> None:
    sql, params = address_condition(parse_network("::/0"))
    assert len(sql) < 1_000
    assert all(len(str(value)) < 20_000 for value in params.values())


def test_filters_read_hot_rows_and_files_alike(tmp_path: Path) -> None:
    from tests.support.events import DiskStore

    store = DiskStore(tmp_path)
    rows = numbered({"user_id": "Ann"}, {"user_id": "bob"})
    store.add(table_of(rows[:1]))
    store.add_hot(table_of([*rows[1:], event_row(time=NOW, seq=7, user_id="ANN")]))
    snapshot = store.snapshot("acme")
    condition, params = Filters.parse([("user", "ann")], now=NOW).where()
    with ENGINE.scan(snapshot.files, snapshot.hot) as scan:
        found = scan.fetch("SELECT seq FROM", scan.source, "WHERE", condition, params=params)
    assert sorted(found) == [(0,), (7,)]
    assert isinstance(snapshot.hot, pa.Table)
