from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from otel_audit.exporter.receiver.decode import decode
from otel_audit.exporter.store.schema import RECEIVED
from otel_audit.instrumentation.event import AuditEvent
from tests.support.otlp_client import any_value, request

RECEIVED_AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
RECEIVED_NS = int(RECEIVED_AT.timestamp()) * 10**9
RECORD_ID = "0197f0a0-0000-7000-8000-00000000000a"


def record(
    attributes: dict[str, Any] | None = None, *, name: str = "audit.data_access.read", **fields: Any
) -> LogRecord:
    made = LogRecord(event_name=name, time_unix_nano=fields.pop("time_unix_nano", RECEIVED_NS), **fields)
    for key, value in (attributes or {}).items():
        made.attributes.add(key=key).value.CopyFrom(
            value if isinstance(value, AnyValue) else any_value(value)
        )
    return made


def decoded(made: LogRecord, **resource: Any) -> dict[str, Any]:
    batch = decode(request([made], **resource), RECEIVED_NS)
    assert batch.schema == RECEIVED
    batch.validate(full=True)
    row: dict[str, Any] = batch.to_pylist()[0]
    for column in ("attributes", "otel_resource", "changes"):
        if row[column] is not None:
            row[column] = json.loads(row[column], parse_constant=pytest.fail)
    return row


def test_every_attribute_with_a_column_goes_there_and_the_rest_stays_json() -> None:
    row = decoded(
        record(
            {
                "audit.record.id": RECORD_ID.upper(),
                "audit.category": "security",
                "audit.action": "permission_change",
                "audit.outcome": "success",
                "audit.actor.id": "u-1",
                "audit.actor.type": "service",
                "audit.actor.on_behalf_of": "u-2",
                "user.email": "ada@example.com",
                "user.name": "Ada",
                "user.roles": ["admin", "auditor"],
                "client.address": "192.0.2.7",
                "user_agent.original": "Mozilla/5.0",
                "session.id": "s-1",
                "audit.target.type": "user",
                "audit.target.id": 81,
                "audit.target.name": "Bob",
                "audit.change.before": {"role": "member", "same": 1, "left": True},
                "audit.change.after": {"role": "admin", "same": 1},
                "audit.request.id": RECORD_ID.replace("-", ""),
                "http.request.method": "POST",
                "http.route": "/users/{id}",
                "http.response.status_code": 204,
                "audit.emitter.id": "pod-1",
                "audit.sequence.number": 7,
                "app.nested": {"list": [1, "a", "b"], "deep": {"x": 1.5}},
            },
            name="audit.security.permission_change",
            severity_number=13,
            body=AnyValue(string_value="made Bob an admin"),
            trace_id=bytes(range(16)),
            span_id=bytes(range(8)),
            observed_time_unix_nano=RECEIVED_NS + 1500,
        ),
        service="shop",
        service__version="1.2",
        service__instance__id="i-1",
        deployment__environment__name="prod",
    )
    digest = row.pop("record_digest")
    assert len(digest) == 32
    assert {name: value for name, value in row.items() if value is not None} == {
        "event_id": RECORD_ID,
        "time": RECEIVED_AT,
        "observed_time": RECEIVED_AT + timedelta(microseconds=1),
        "received_time": RECEIVED_AT,
        "time_unix_nano": RECEIVED_NS,
        "category": "security",
        "action": "permission_change",
        "event_name": "audit.security.permission_change",
        "outcome": "success",
        "severity": "warning",
        "severity_number": 13,
        "message": "made Bob an admin",
        "user_id": "u-1",
        "user_email": "ada@example.com",
        "user_name": "Ada",
        "user_type": "service",
        "user_roles": ["admin", "auditor"],
        "on_behalf_of": "u-2",
        "client_address": "192.0.2.7",
        "user_agent": "Mozilla/5.0",
        "session_id": "s-1",
        "resource_type": "user",
        "resource_id": "81",
        "resource_name": "Bob",
        "request_id": RECORD_ID,
        "trace_id": "000102030405060708090a0b0c0d0e0f",
        "span_id": "0001020304050607",
        "service_name": "shop",
        "service_version": "1.2",
        "service_instance_id": "i-1",
        "deployment_environment": "prod",
        "http_method": "POST",
        "http_route": "/users/{id}",
        "http_status": 204,
        "changes": {
            "role": {"before": "member", "after": "admin"},
            "left": {"before": True, "after": None},
        },
        "attributes": {"app.nested": {"list": [1, "a", "b"], "deep": {"x": 1.5}}},
        "otel_resource": {
            "service.name": "shop",
            "service.version": "1.2",
            "service.instance.id": "i-1",
            "deployment.environment.name": "prod",
        },
        "flags": [],
        "emitter_id": "pod-1",
        "emitter_seq": 7,
        "retention": "standard",
        "date": "2026-11-23",
    }


def test_what_an_audit_event_says_of_itself_comes_back_in_its_columns() -> None:
    event = AuditEvent(
        record_id=RECORD_ID,
        time_unix_nano=RECEIVED_NS,
        category="data_access",
        action="delete",
        user_id="u-1",
        target_type="file",
        target_id="f-81",
        changes={"name": ("Q3.xlsx", None)},
        attributes={"app.size": 3},
    )
    row = decoded(record(event.to_attributes(), name=event.event_name))
    assert (row["event_id"], row["category"], row["action"]) == (event.record_id, "data_access", "delete")
    assert (row["resource_type"], row["resource_id"], row["user_id"]) == ("file", "f-81", "u-1")
    assert row["changes"] == {"name": {"before": "Q3.xlsx", "after": None}}
    assert row["attributes"] == {"app.size": 3}


@pytest.mark.parametrize(
    ("attributes", "user_id", "left"),
    [
        (
            {"enduser.id": "e", "user.id": "u", "audit.actor.id": "a"},
            "a",
            {"enduser.id": "e", "user.id": "u"},
        ),
        ({"enduser.id": "e", "user.id": "e"}, "e", {}),
        ({"enduser.id": "e"}, "e", {}),
        ({"user.id": 42}, "42", {}),
        ({"user.id": "", "enduser.id": "e"}, "e", {"user.id": ""}),
        ({"user.id": ["a"]}, None, {"user.id": ["a"]}),
    ],
)
def test_the_first_actor_id_wins_and_others_are_kept(
    attributes: dict[str, Any], user_id: str | None, left: dict[str, Any]
) -> None:
    row = decoded(record(attributes))
    assert (row["user_id"], row["attributes"]) == (user_id, left)
    assert row["user_type"] == ("user" if user_id else None)


@pytest.mark.parametrize(
    ("name", "value", "column"),
    [
        ("http.response.status_code", "abc", "http_status"),
        ("http.response.status_code", 2**40, "http_status"),
        ("http.response.status_code", 200.5, "http_status"),
        ("audit.sequence.number", -1, "emitter_seq"),
        ("audit.request.id", "not-a-uuid", "request_id"),
        ("audit.record.id", "evt-1", "event_id"),
        ("user.email", ["a@example.com"], "user_email"),
        ("user.roles", [True], "user_roles"),
        ("audit.actor.type", "robot", "user_type"),
        ("audit.target.name", {"a": 1}, "resource_name"),
        ("audit.change.before", "no json", "changes"),
        ("audit.change.after", "[1]", "changes"),
        ("client.address", False, "client_address"),
    ],
)
def test_a_value_that_does_not_fit_its_column_stays_an_attribute(name: str, value: Any, column: str) -> None:
    row = decoded(record({name: value}))
    assert row[column] is None
    assert row["attributes"] == {name: value}
    assert row["flags"] == []


def test_changes_may_come_as_json_text() -> None:
    row = decoded(record({"audit.change.before": '{"a": 1, "b": [1]}', "audit.change.after": '{"a": 1.0}'}))
    assert row["changes"] == {"a": {"before": 1, "after": 1.0}, "b": {"before": [1], "after": None}}


def test_the_session_id_never_stays_among_the_attributes() -> None:
    for value, column in (("s", "s"), (7, "7"), (["s"], '["s"]'), ("", None)):
        row = decoded(record({"session.id": value}))
        assert (row["session_id"], row["attributes"]) == (column, {})


@pytest.mark.parametrize(
    ("name", "attributes", "reason"),
    [
        ("", {}, "not an audit event: no category and no action"),
        ("my.log", {}, "not an audit event: no category and no action"),
        ("audit.data_access", {}, "not an audit event: no category and no action"),
        ("audit.gossip.read", {}, "unknown category"),
        ("audit.security.Read-It", {}, "ill-formed action"),
        ("", {"audit.category": "security"}, "no action"),
        ("", {"audit.action": "read"}, "no category"),
        ("", {"audit.category": "security", "audit.action": 7}, "ill-formed action"),
        ("", {"audit.category": ["security"], "audit.action": "read"}, "unknown category"),
        ("", {"audit.category": "security", "audit.action": "a" * 65}, "ill-formed action"),
    ],
)
def test_what_is_no_audit_event_is_kept_as_unclassified(
    name: str, attributes: dict[str, Any], reason: str
) -> None:
    row = decoded(record(attributes | {"x": 1}, name=name, body=AnyValue(string_value="hello")))
    assert (row["category"], row["action"], row["flags"]) == ("system", "unclassified_record", ["invalid"])
    assert row["attributes"] == attributes | {"x": 1, "audit.invalid.reason": reason}
    assert row["event_name"] == (name or "audit.system.unclassified_record")
    assert (row["message"], row["retention"]) == ("hello", "standard")


def test_what_only_the_receiver_says_cannot_be_forged() -> None:
    row = decoded(record({"audit.invalid.reason": "fine", "audit.tenant.claimed": "x"}, name="other"))
    assert row["attributes"] == {
        "audit.invalid.reason.received": "fine",
        "audit.invalid.reason": "not an audit event: no category and no action",
        "audit.tenant.claimed.received": "x",
    }


HOUR_NS = 3600 * 10**9


@pytest.mark.parametrize(
    ("stamp", "observed", "time_ns", "date", "flags"),
    [
        (RECEIVED_NS - 48 * HOUR_NS, 0, RECEIVED_NS - 48 * HOUR_NS, "2026-11-21", []),
        (RECEIVED_NS - 48 * HOUR_NS - 1, 0, RECEIVED_NS - 48 * HOUR_NS - 1, "2026-11-23", ["time_skewed"]),
        (RECEIVED_NS + HOUR_NS, 0, RECEIVED_NS + HOUR_NS, "2026-11-23", []),
        (RECEIVED_NS + HOUR_NS + 1, 0, RECEIVED_NS + HOUR_NS + 1, "2026-11-23", ["time_skewed"]),
        (0, RECEIVED_NS - HOUR_NS, RECEIVED_NS - HOUR_NS, "2026-11-23", []),
        (0, 0, RECEIVED_NS, "2026-11-23", ["time_missing"]),
        (1, 0, 1, "2026-11-23", ["time_skewed"]),
        (2**63 - 1, 0, 2**63 - 1, "2026-11-23", ["time_skewed"]),
        (2**64 - 1, 2**63, RECEIVED_NS, "2026-11-23", ["time_missing"]),
    ],
)
def test_the_partition_follows_the_event_only_within_its_window(
    stamp: int, observed: int, time_ns: int, date: str, flags: list[str]
) -> None:
    batch = decode(request([record(time_unix_nano=stamp, observed_time_unix_nano=observed)]), RECEIVED_NS)
    assert batch.column("time_unix_nano").to_pylist() == [time_ns]
    assert batch.column("time").cast("int64").to_pylist() == [time_ns // 1000]
    assert batch.column("date").to_pylist() == [date]
    assert batch.column("flags").to_pylist() == [flags]
    kept = json.loads(batch.column("attributes").to_pylist()[0])
    assert kept.get("otel.time_unix_nano") == (stamp if stamp >= 2**63 else None)


@pytest.mark.parametrize(
    ("category", "action", "extra", "retention", "flags"),
    [
        ("data_access", "retrieve", {}, "rag", []),
        ("data_access", "retrieve", {"audit.retention.class": "standard"}, "standard", []),
        ("data_access", "read", {"gen_ai.operation.name": "chat"}, "rag", []),
        ("security", "key_create", {"audit.retention.class": "rag"}, "standard", ["class_ignored"]),
        ("security", "key_create", {"gen_ai.system": "x"}, "standard", []),
        ("security", "key_create", {"audit.retention.class": "a week"}, "standard", ["class_ignored"]),
    ],
)
def test_a_payload_cannot_shorten_the_life_of_a_security_event(
    category: str, action: str, extra: dict[str, Any], retention: str, flags: list[str]
) -> None:
    row = decoded(record(extra, name=f"audit.{category}.{action}"))
    assert (row["retention"], row["flags"]) == (retention, flags)


@pytest.mark.parametrize(
    ("number", "text", "severity", "stored", "kept"),
    [
        (0, "", "error", 17, {}),
        (1, "TRACE", "info", 1, {"otel.severity_text": "TRACE"}),
        (12, "INFO", "info", 12, {}),
        (13, "WARN", "warning", 13, {}),
        (20, "", "error", 20, {}),
        (24, "FATAL", "critical", 24, {}),
        (99, "", "error", 17, {"otel.severity_number": 99}),
        (-1, "", "error", 17, {"otel.severity_number": -1}),
    ],
)
def test_severity_comes_from_the_number_else_from_the_action(
    number: int, text: str, severity: str, stored: int, kept: dict[str, Any]
) -> None:
    row = decoded(record(name="audit.system.task_failed", severity_number=number, severity_text=text))
    assert (row["severity"], row["severity_number"], row["attributes"]) == (severity, stored, kept)


def test_ids_are_hex_null_when_zero_and_kept_aside_when_of_a_wrong_length() -> None:
    row = decoded(record(trace_id=bytes(16), span_id=b"\xab" * 6))
    assert (row["trace_id"], row["span_id"]) == (None, None)
    assert row["attributes"] == {"otel.span_id": "abababababab"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (AnyValue(), None),
        (AnyValue(int_value=7), "7"),
        (any_value({"b": 1, "a": [True, "é"]}), '{"b":1,"a":[true,"é"]}'),
        (AnyValue(bytes_value=b"\xff"), "/w=="),
        (AnyValue(double_value=float("nan")), "NaN"),
    ],
)
def test_a_body_that_is_no_text_becomes_compact_json(body: AnyValue, message: str | None) -> None:
    assert decoded(record(body=body))["message"] == message


def test_hostile_values_still_give_valid_json_and_utf8() -> None:
    row = decoded(
        record(
            {
                "nul\0name": "a\0b",
                "nan": float("nan"),
                "inf": [float("inf"), float("-inf")],
                "bytes": AnyValue(bytes_value=b"\0\xff"),
                "bidi": "\u202eabc\x1b[31m\r\n",
                "surrogates": "x",
                "audit.change.before": '{"s": "\\ud800", "n": NaN, "z": "\\u0000"}',
                "": "no name",
            },
            body=AnyValue(string_value="\0"),
        )
    )
    assert row["message"] == "\ufffd"
    assert row["attributes"] == {
        "nul\ufffdname": "a\ufffdb",
        "nan": "NaN",
        "inf": ["Infinity", "-Infinity"],
        "bytes": "AP8=",
        "bidi": "\u202eabc\x1b[31m\r\n",
        "surrogates": "x",
        "": "no name",
    }
    assert {name: change["before"] for name, change in row["changes"].items()} == {
        "s": "\ufffd",
        "n": "NaN",
        "z": "\ufffd",
    }


def test_a_repeated_attribute_loses_no_value_and_is_believed_in_none() -> None:
    made = record({"audit.tenant.id": "acme"})
    for value in ("a", "b", "c"):
        made.attributes.add(key="user.id").value.string_value = value
    made.attributes.add(key="audit.tenant.id").value.string_value = "globex"
    row = decoded(made)
    assert (row["user_id"], row["attributes"]) == (None, {"user.id": ["a", "b", "c"]})
    assert row["claimed_tenant"] == '["acme","globex"]'


def test_the_scope_and_what_the_sdk_dropped_are_kept() -> None:
    made = ExportLogsServiceRequest()
    scope_logs = made.resource_logs.add().scope_logs.add()
    scope_logs.scope.name, scope_logs.scope.version = "lib", "2"
    scope_logs.scope.attributes.add(key="k").value.string_value = "v"
    scope_logs.log_records.append(record({"otel.scope.name": "mine"}, dropped_attributes_count=3))
    row = decode(made, RECEIVED_NS).to_pylist()[0]
    assert json.loads(row["attributes"]) == {
        "otel.scope.name.received": "mine",
        "otel.dropped_attributes_count": 3,
        "otel.scope.name": "lib",
        "otel.scope.version": "2",
        "otel.scope.attributes": {"k": "v"},
    }


def test_the_tenant_claim_of_a_record_goes_before_that_of_its_resource() -> None:
    assert decoded(record({"audit.tenant.id": "a"}), audit__tenant__id="b")["claimed_tenant"] == "a"
    assert decoded(record(), audit__tenant__id="b")["claimed_tenant"] == "b"
    assert decoded(record())["claimed_tenant"] is None


def digest(made: LogRecord, **resource: Any) -> bytes:
    found: bytes = decoded(made, **resource)["record_digest"]
    return found


def test_the_digest_ignores_order_and_relays_but_no_difference_of_content() -> None:
    one = record({"a": 1, "b": "x"}, observed_time_unix_nano=5)
    assert digest(one) == digest(record({"b": "x", "a": 1}, observed_time_unix_nano=9))
    others = [
        record({"a": 1, "b": "y"}),
        record({"a": "1", "b": "x"}),
        record({"a": 1.0, "b": "x"}),
        record({"a": True, "b": "x"}),
        record({"a": 1, "b": AnyValue(bytes_value=b"x")}),
        record({"a": 1, "b": "x"}, severity_number=9),
        record({"a": 1, "b": "x"}, body=AnyValue(string_value="")),
        record({"a": 1, "b": "x"}, trace_id=b"t" * 16),
        record({"a": 1, "b": "x"}, name="audit.data_access.update"),
        record({"a": 1, "b": "x"}, time_unix_nano=RECEIVED_NS + 1),
        record({"a": 1, "b": "x"}, time_unix_nano=0, observed_time_unix_nano=5),
        record({"a": 1, "b": "x"}, time_unix_nano=0, observed_time_unix_nano=9),
    ]
    digests = {digest(one), digest(one, service="other"), *(digest(other) for other in others)}
    assert len(digests) == len(others) + 2


def test_values_nested_too_deeply_are_cut_and_say_so() -> None:
    value = AnyValue(string_value="bottom")
    for _ in range(40):
        outer = AnyValue()
        outer.array_value.values.append(value)
        value = outer
    text = json.dumps(decoded(record({"deep": value}))["attributes"])
    assert "[nested too deeply]" in text
    assert "bottom" not in text
