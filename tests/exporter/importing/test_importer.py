"""Lines of a Collector and of an export become rows, each of them once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from otel_audit.instrumentation.ids import uuid7
from otel_audit.query_service.event_json import to_json
from tests.support.importing import Imports

# As the Collector's file exporter writes it: times as text, ids as hex, enums as numbers.
COLLECTOR_LINE = (
    b'{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"billing"}}]},'
    b'"scopeLogs":[{"scope":{"name":"billing.audit","version":"2"},"logRecords":[{"timeUnixNano":'
    b'"1795694400000000123","observedTimeUnixNano":"1795694400000000456","severityNumber":13,"severityText":'
    b'"WARN","eventName":"audit.security.access_denied","body":{"stringValue":"may not read invoice 7"},'
    b'"attributes":[{"key":"audit.record.id","value":{"stringValue":"01a21763-7c49-705c-8cb0-d8bfb2df0380"}},'
    b'{"key":"user.id","value":{"stringValue":"u-7"}},{"key":"http.response.status_code","value":{"intValue":'
    b'"403"}},{"key":"retries","value":{"arrayValue":{"values":[{"intValue":"1"},{"doubleValue":0.5}]}}}],'
    b'"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174"},'
    b'{"timeUnixNano":"1795694401000000000","body":{"stringValue":"plain log line"}}]}]}]}'
)


@pytest.fixture
def imports(tmp_path: Path) -> Iterator[Imports]:
    made = Imports(tmp_path / "data")
    yield made
    made.store.close()


def otlp(*records: dict[str, Any]) -> dict[str, Any]:
    return {"resourceLogs": [{"scopeLogs": [{"logRecords": list(records)}]}]}


def record(moment: datetime | None, action: str = "read", **fields: Any) -> dict[str, Any]:
    """A record without an id of its own."""
    times = {"timeUnixNano": f"{int(moment.timestamp())}000000000"} if moment else {}
    return {"eventName": f"audit.data_access.{action}", "body": {"stringValue": "did it"}, **times, **fields}


def exported(imports: Imports, tenant: str = "acme") -> list[dict[str, Any]]:
    """The events as an export gives them out."""
    return [to_json(row) for row in imports.rows(tenant)]


def test_a_line_of_the_collectors_file_exporter_becomes_its_events(imports: Imports) -> None:
    counts = imports.load([COLLECTOR_LINE])
    assert (counts.lines, counts.events, counts.new, counts.repeats, counts.rejected) == (1, 2, 2, 0, 0)
    event, other = imports.rows()
    assert event["event_id"] == "01a21763-7c49-705c-8cb0-d8bfb2df0380"
    assert (event["category"], event["action"], event["severity"]) == ("security", "access_denied", "warning")
    assert (event["time_unix_nano"], event["user_id"]) == (1795694400000000123, "u-7")
    assert (event["http_status"], event["service_name"], event["span_id"]) == (
        403,
        "billing",
        "eee19b7ec3c1b174",
    )
    assert json.loads(event["attributes"])["retries"] == [1, 0.5]
    assert event["flags"] == ["imported"]
    assert (other["action"], other["flags"]) == ("unclassified_record", ["invalid", "imported"])


def test_the_same_lines_again_are_repeats_before_and_after_sealing(imports: Imports) -> None:
    without_id = [record(imports.now), record(imports.now), record(None), record(None, "delete")]
    lines = [COLLECTOR_LINE, otlp(*without_id), otlp(record(None)), otlp(record(imports.now))]
    counts = imports.load(lines)
    # Two records without a time are two events, the same one with a time in another request is a repeat.
    assert (counts.events, counts.new, counts.repeats) == (8, 7, 1)
    imports.now += timedelta(hours=1)
    assert imports.load(lines).new == 0
    imports.store.seal()
    imports.now += timedelta(hours=1)
    assert imports.load(lines).new == 0


def test_an_exported_event_comes_back_with_every_column(imports: Imports) -> None:
    given = {
        "event_id": uuid7(),
        "time": "2026-11-26T11:00:00.123456Z",
        "time_unix_nano": 1795690800123456789,
        "observed_time": "2026-11-26T11:00:01.000000Z",
        "category": "data_access",
        "action": "update",
        "event_name": "audit.data_access.update",
        "outcome": "success",
        "severity": "info",
        "severity_number": 10,
        "message": "changed it",
        "user_id": "u-1",
        "user_email": "ada@example.com",
        "user_name": "Ada",
        "user_type": "service",
        "user_roles": ["admin", "owner"],
        "on_behalf_of": "u-2",
        "client_address": "192.0.2.7",
        "user_agent": "curl/8",
        "session_id": "sh_" + "0" * 32,
        "resource_type": "file",
        "resource_id": "f-1",
        "resource_name": "Q3.xlsx",
        "request_id": uuid7(),
        "trace_id": "5b8efff798038103d269b633813fc60c",
        "span_id": "eee19b7ec3c1b174",
        "service_name": "files",
        "service_version": "1",
        "service_instance_id": "i-1",
        "deployment_environment": "production",
        "http_method": "PUT",
        "http_route": "/files/{id}",
        "http_status": 200,
        "changes": {"name": {"before": "Q2.xlsx", "after": None}},
        "attributes": {"deep": {"list": [1, 2.5, True, None]}, "user.id": "another"},
        "otel_resource": {"service.name": "files", "service.version": "1", "service.instance.id": "i-1",
                          "deployment.environment.name": "production", "host.name": "h"},
        "redactions": [{"rule": "jwt", "field": "attributes.token", "count": 2}],
        "emitter_id": "e-1",
        "emitter_seq": 7,
        "retention": "standard",
        "date": "2026-11-26",
    }  # fmt: skip
    imports.load([given])
    (back,) = exported(imports)
    elsewhere = {"redactions", "attributes"}
    assert {name: back[name] for name in given.keys() - elsewhere} == {
        name: given[name] for name in given.keys() - elsewhere
    }
    assert back["attributes"] == given["attributes"]
    assert back["redactions"] == [{"rule": "jwt", "field": "attributes", "count": 2}]


def test_an_own_export_is_a_repeat_and_goes_once_into_another_organization(imports: Imports) -> None:
    imports.load([COLLECTOR_LINE, otlp(record(imports.now), record(None))])
    lines = exported(imports)
    assert imports.load(lines).repeats == 4
    assert imports.load(lines, "beta").new == 4
    assert imports.load(lines, "beta").new == 0
    moved = exported(imports, "beta")
    assert [event["event_id"] for event in moved] == [event["event_id"] for event in lines]
    assert [event["time_unix_nano"] for event in moved] == [event["time_unix_nano"] for event in lines]
    assert {event["attributes"]["audit.tenant.claimed"] for event in moved} == {"acme"}
    assert [event["attributes"]["audit.imported"]["seq"] for event in moved] == [1, 2, 3, 4]
    assert [event["flags"] for event in moved] == [event["flags"] for event in lines]
    # And on from there.
    assert imports.load(moved, "beta").new == 0
    assert len(imports.rows()) == 4


def test_an_exported_event_that_was_changed_does_not_hide_the_true_one(imports: Imports) -> None:
    imports.load([COLLECTOR_LINE])
    true = exported(imports)[0]
    forged = {**true, "user_id": "somebody-else"}
    assert imports.load([forged, true], "beta").new == 2
    users = {(row["user_id"], "id_conflict" in row["flags"]) for row in imports.rows("beta")}
    assert users == {("somebody-else", False), ("u-7", True)}


def test_a_hand_written_event_needs_no_more_than_what_happened(imports: Imports) -> None:
    given = {"time": "2026-11-26T11:00:00+02:00", "category": "security", "action": "key_revoke", "badge": 7}
    assert imports.load([given]).new == 1
    assert imports.load([given]).repeats == 1
    (row,) = imports.rows()
    assert row["time"] == datetime(2026, 11, 26, 9, tzinfo=UTC)
    assert (row["severity"], json.loads(row["attributes"])) == ("warning", {"badge": 7})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"resourceLogs": [', "not JSON, or cut off"),
        (b"\xff\xfe", "not JSON, or cut off"),
        (b"[1]", "not a JSON object"),
        ({"hello": "world"}, "neither an OTLP logs request nor an event"),
        ({"resourceSpans": []}, "traces, metrics or profiles, not logs"),
        ({"resource_logs": []}, "the JSON has names in snake case"),
        ({"resourceLogs": {"a": 1}}, "the JSON is not an OTLP logs request: resourceLogs is no list"),
        ({"action": "read", "time": "yesterday"}, "time is no RFC 3339 time with a zone"),
        ({"action": "read", "time": "2026-11-26T11:00:00"}, "time is no RFC 3339 time with a zone"),
        ({"action": "read", "time": "1960-01-01T00:00:00Z"}, "time is before 1970 or after 2262"),
        ({"action": "read", "time_unix_nano": -1}, "time_unix_nano is no time since 1970"),
        (
            {"action": "read", "time": "2026-11-26T11:00:00Z", "time_unix_nano": 1},
            "time and time_unix_nano are different times",
        ),
    ],
)
def test_a_bad_line_is_told_by_number_and_the_rest_loads(imports: Imports, line: Any, reason: str) -> None:
    counts = imports.load([COLLECTOR_LINE, line, otlp(record(imports.now))])
    assert (counts.lines, counts.new, counts.rejected) == (3, 3, 1)
    assert imports.rejected == [(2, reason)]
    (entry,) = imports.kept_aside()
    assert (entry["line"], entry["offset"], entry["reason"]) == (2, len(COLLECTOR_LINE) + 1, reason)


def test_what_is_kept_aside_shows_the_shape_of_a_line_and_none_of_its_texts(imports: Imports) -> None:
    imports.load(
        [
            b'{"user_name": "hunter2", "attributes": {"key": "password", "value": {"stringValue": "hunter2',
            b'{"n": 1", "message: "hunter2 is said outside of quotes", "seq": 12}',
            b"a plain line, password=hunter2",
            b'{"x": "' + b"hunter2" * 20_000,
        ]
    )
    texts = [entry["text"] for entry in imports.kept_aside()]
    assert texts[0] == '{"user_name": "…", "attributes": {"key": "…", "value": {"stringValue": "…'
    assert texts[2] == "a plain line, password=[REDACTED:password]"
    assert texts[3] is None
    assert "hunter2" not in str(texts)
    first = imports.aside
    imports.load([b"a plain line, password=hunter2"])
    assert imports.aside != first
    names = {path.name for path in imports.root.quarantine("acme").iterdir()}
    imports.load([b"a plain line, password=hunter2"])
    assert {path.name for path in imports.root.quarantine("acme").iterdir()} == names


def test_an_old_event_is_filed_under_today_unless_the_import_is_historic(imports: Imports) -> None:
    edge = imports.now - timedelta(hours=48)
    lines = [otlp(record(edge)), otlp(record(edge - timedelta(seconds=1)))]
    imports.load(lines)
    imports.load(lines, "beta", historic=True)
    assert [(row["date"], row["flags"]) for row in imports.rows()] == [
        ("2026-11-24", ["imported"]),
        ("2026-11-26", ["time_skewed", "imported"]),
    ]
    assert [(row["date"], row["flags"]) for row in imports.rows("beta")] == 2 * [("2026-11-24", ["imported"])]


def test_a_date_in_the_future_is_never_trusted(imports: Imports) -> None:
    imports.load([otlp(record(imports.now + timedelta(days=300)))], historic=True)
    (row,) = imports.rows()
    assert (row["date"], row["flags"]) == ("2026-11-26", ["time_skewed", "imported"])


def test_a_historic_import_refuses_an_event_from_the_day_its_partition_would_go(
    imports: Imports,
) -> None:
    """Standard, six months: 26 May is kept to the end of 26 November, 25 May went when that day began."""
    months = {"standard": 6, "rag": 3}
    last_day = datetime(2026, 5, 26, tzinfo=UTC)
    line = otlp(
        record(last_day),
        record(last_day - timedelta(seconds=1), attributes=[{"key": "note", "value": {"stringValue": "x"}}]),
        record(datetime(2026, 8, 26, tzinfo=UTC), "retrieve"),
        record(datetime(2026, 8, 25, 23, 59, 59, tzinfo=UTC), "retrieve"),
    )
    imports.now = datetime(2026, 11, 26, tzinfo=UTC)
    counts = imports.load([line], historic=True, months=months)
    assert (counts.events, counts.new, counts.rejected) == (4, 2, 2)
    assert {row["date"] for row in imports.rows()} == {"2026-05-26", "2026-08-26"}
    assert imports.rejected == [
        (1, "expired: standard of 2026-05-25 was to go on 2026-11-26"),
        (1, "expired: rag of 2026-08-25 was to go on 2026-11-26"),
    ]
    entries = imports.kept_aside()
    assert [(entry["record"], entry["event"]["time"]) for entry in entries] == [
        (2, "2026-05-25T23:59:59.000000Z"),
        (4, "2026-08-25T23:59:59.000000Z"),
    ]
    allowed = imports.load([line], historic=True, months=months, allow_expired=True)
    assert (allowed.new, allowed.expired) == (2, 2)
    due = imports.store.run_retention(lambda tenant, now: months, now=imports.now, actor="test")
    assert {partition.date for partition in due} == {"2026-05-25", "2026-08-25"}


def test_text_of_a_file_gets_into_no_column_that_is_not_redacted(imports: Imports) -> None:
    secret = "sk_live_" + uuid7().replace("-", "")
    event = {
        "event_id": secret,
        "time": "2026-11-26T11:00:00Z",
        "category": "data_access",
        "action": "read",
        "session_id": secret,
        "flags": [secret, "invalid"],
        "redactions": [{"rule": secret, "field": "message", "count": 1}, {"rule": "jwt", "field": secret}],
        "retention": secret,
        "date": secret,
        "writer": secret,
        "content_digest": secret,
        "policy_version": secret,
        "tenant": secret,
        secret: secret,
    }
    assert imports.load([event]).new == 1
    (row,) = imports.rows()
    assert secret not in str(row)
    assert row["flags"] == ["class_ignored", "invalid", "imported"]


def test_a_line_that_redaction_fails_on_is_refused_alone(imports: Imports) -> None:
    imports.redactor.word = "poison"
    good = otlp(record(imports.now), record(imports.now, "delete"))
    poisoned = otlp(record(imports.now), record(imports.now, body={"stringValue": "poison"}))
    counts = imports.load([good, poisoned, COLLECTOR_LINE])
    assert (counts.new, counts.rejected) == (4, 1)
    assert imports.rejected == [(2, "it could not be redacted")]
    assert "poison" not in str(imports.kept_aside())
    imports.redactor.word = None
    again = imports.load([good, poisoned, COLLECTOR_LINE])
    assert (again.new, again.repeats) == (1, 5)


def test_an_event_too_large_to_store_is_refused_and_the_others_of_its_group_go_on(imports: Imports) -> None:
    large = {"time": "2026-11-26T11:00:00Z", "category": "data_access", "action": "read"}
    counts = imports.load([COLLECTOR_LINE, {**large, "message": "x" * (17 << 20)}, large])
    assert (counts.new, counts.rejected) == (3, 1)
    assert imports.rejected == [(2, f"more than {16 << 20} bytes in one event")]
