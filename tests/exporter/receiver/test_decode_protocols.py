from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from otel_audit.exporter.receiver.decode import decode
from otel_audit.exporter.receiver.errors import NotOtlp
from otel_audit.exporter.receiver.limits import IngestLimits
from otel_audit.exporter.receiver.otlp_json import parse_json
from otel_audit.exporter.receiver.wire import parse_protobuf
from otel_audit.exporter.store.schema import JSON_COLUMNS, RECEIVED
from tests.support.otlp_client import record, request
from tests.support.otlp_json import as_json

NOW_NS = 1_790_000_000 * 10**9
LIMITS = IngestLimits()

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = st.sampled_from(
    [
        "audit.category",
        "audit.action",
        "audit.record.id",
        "audit.tenant.id",
        "audit.change.before",
        "audit.change.after",
        "audit.retention.class",
        "user.id",
        "user.roles",
        "session.id",
        "http.response.status_code",
        "audit.sequence.number",
        "otel.scope.name",
    ]
)
SCALARS = st.one_of(
    TEXTS.map(lambda v: AnyValue(string_value=v)),
    st.booleans().map(lambda v: AnyValue(bool_value=v)),
    st.integers(-(2**63), 2**63 - 1).map(lambda v: AnyValue(int_value=v)),
    st.floats().map(lambda v: AnyValue(double_value=v)),
    st.binary(max_size=8).map(lambda v: AnyValue(bytes_value=v)),
    st.just(AnyValue()),
)


def array(values: list[AnyValue]) -> AnyValue:
    made = AnyValue()
    made.array_value.SetInParent()
    made.array_value.values.extend(values)
    return made


def kvlist(pairs: list[tuple[str, AnyValue]]) -> AnyValue:
    made = AnyValue()
    made.kvlist_value.SetInParent()
    for name, value in pairs:
        made.kvlist_value.values.add(key=name).value.CopyFrom(value)
    return made


VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(array) | st.lists(st.tuples(TEXTS, inner), max_size=3).map(kvlist)
    ),
    max_leaves=8,
)
ATTRIBUTES = st.lists(st.tuples(TEXTS | NAMES, VALUES), max_size=6)
TIMES = st.sampled_from([0, 1, NOW_NS, 2**63 - 1, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)
RECORDS = st.fixed_dictionaries(
    {
        "time_unix_nano": TIMES,
        "observed_time_unix_nano": TIMES,
        "severity_number": st.integers(-1, 30),
        "severity_text": TEXTS,
        "event_name": TEXTS | st.sampled_from(["audit.security.login", "audit.data_access.retrieve"]),
        "trace_id": st.binary(max_size=18) | st.binary(min_size=16, max_size=16),
        "span_id": st.binary(max_size=9) | st.just(bytes(8)),
        "flags": st.integers(0, 2**32 - 1),
        "dropped_attributes_count": st.integers(0, 2**32 - 1),
        "body": VALUES,
    }
)


@st.composite
def requests(draw: st.DrawFn) -> ExportLogsServiceRequest:
    made = ExportLogsServiceRequest()
    for _ in range(draw(st.integers(0, 2))):
        resource_logs = made.resource_logs.add(schema_url=draw(TEXTS))
        for name, value in draw(ATTRIBUTES):
            resource_logs.resource.attributes.add(key=name).value.CopyFrom(value)
        for _ in range(draw(st.integers(0, 2))):
            scope_logs = resource_logs.scope_logs.add()
            scope_logs.scope.name, scope_logs.scope.version = draw(TEXTS), draw(TEXTS)
            for fields in draw(st.lists(RECORDS, max_size=2)):
                log_record = scope_logs.log_records.add(**fields)
                for name, value in draw(ATTRIBUTES):
                    log_record.attributes.add(key=name).value.CopyFrom(value)
    return made


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(requests())
def test_protobuf_and_json_give_the_same_rows_and_digests(made: ExportLogsServiceRequest) -> None:
    by_protobuf = decode(parse_protobuf(made.SerializeToString(), LIMITS), NOW_NS)
    by_json = decode(parse_json(json.dumps(as_json(made)).encode()), NOW_NS)
    assert by_protobuf.to_pylist() == by_json.to_pylist()
    assert by_protobuf.schema == RECEIVED
    assert by_protobuf.num_rows == sum(
        len(scope.log_records) for source in made.resource_logs for scope in source.scope_logs
    )
    by_protobuf.validate(full=True)
    for column in JSON_COLUMNS:
        for text in by_protobuf.column(column).to_pylist():
            assert text is None or isinstance(json.loads(text, parse_constant=pytest.fail), dict)


def decoded_json(fields: dict[str, Any]) -> dict[str, Any]:
    document = {"resourceLogs": [{"scopeLogs": [{"logRecords": [fields]}]}]}
    row: dict[str, Any] = decode(parse_json(json.dumps(document).encode()), NOW_NS).to_pylist()[0]
    return row | {"attributes": json.loads(row["attributes"])}


def test_json_ids_are_hex_in_either_case() -> None:
    row = decoded_json({"traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "eee19b7ec3c1b174"})
    assert row["trace_id"] == "5b8efff798038103d269b633813fc60c"
    assert row["span_id"] == "eee19b7ec3c1b174"


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("traceId", "W47/95gDgQPSabYzgT/GDA==", {"otel.trace_id": "W47/95gDgQPSabYzgT/GDA=="}),
        ("spanId", 7, {"otel.span_id": "7"}),
        ("timeUnixNano", "yesterday", {"otel.time_unix_nano": "yesterday"}),
        ("timeUnixNano", -1, {"otel.time_unix_nano": "-1"}),
        ("severityNumber", "LOUD", {"otel.severity_number": "LOUD"}),
        ("eventName", {"a": 1}, {"otel.event_name": '{"a": 1}'}),
        ("flags", 1.5, {"otel.flags": "1.5"}),
    ],
)
def test_a_json_field_that_cannot_be_read_is_kept_as_an_attribute(
    field: str, value: Any, kept: dict[str, str]
) -> None:
    attributes = decoded_json({field: value})["attributes"]
    del attributes["audit.invalid.reason"]
    assert attributes == kept


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ({"intValue": "9223372036854775807"}, 2**63 - 1),
        ({"intValue": 5}, 5),
        ({"intValue": 5.0}, 5),
        ({"intValue": 2**63}, str(2**63)),
        ({"intValue": "five"}, "five"),
        ({"doubleValue": "NaN"}, "NaN"),
        ({"doubleValue": "-Infinity"}, "-Infinity"),
        ({"doubleValue": 2}, 2.0),
        ({"boolValue": "yes"}, "yes"),
        ({"bytesValue": "_w"}, "/w=="),
        ({"bytesValue": "*"}, "*"),
        ({"stringValue": "\ud800x"}, "\ufffdx"),
        ({"stringValue": 7}, "7"),
        ({"newValue": 7}, None),
        ({}, None),
        (None, None),
    ],
)
def test_json_values_are_read_leniently_and_never_refused(value: Any, stored: Any) -> None:
    assert decoded_json({"attributes": [{"key": "k", "value": value}]})["attributes"]["k"] == stored


def test_json_severity_names_and_unknown_fields_are_taken() -> None:
    row = decoded_json({"severityNumber": "SEVERITY_NUMBER_ERROR", "somethingNew": {"a": []}})
    assert (row["severity_number"], row["severity"]) == (17, "error")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b'{"resourceLogs": {}}',
        b'{"resource_logs": []}',
        b'{"resourceLogs": [[]]}',
        b'{"resourceLogs": [{"scopeLogs": "x"}]}',
        b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [7]}]}]}',
        b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"attributes": {"a": 1}}]}]}]}',
        b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": "text"}]}]}]}',
        b"\xff\xfe{}",
        b"[" * 200_000,
        b'{"a":' * 200_000,
    ],
)
def test_json_that_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(NotOtlp):
        parse_json(body)


@pytest.mark.parametrize("body", [b"{}", b'{"resourceLogs": null}', b'{"resourceLogs": [{}]}'])
def test_an_empty_json_request_has_no_rows(body: bytes) -> None:
    assert decode(parse_json(body), NOW_NS).num_rows == 0


@pytest.mark.parametrize("levels", [10, 24, 25, 26, 30])
def test_deep_nesting_is_cut_alike_over_both_protocols(levels: int) -> None:
    value: Any = "bottom"
    for level in range(levels):
        value = [value] if level % 2 else {"k": value}
    made = request([record(deep=value, time_ns=NOW_NS)])
    by_protobuf = decode(parse_protobuf(made.SerializeToString(), LIMITS), NOW_NS)
    by_json = decode(parse_json(json.dumps(as_json(made)).encode()), NOW_NS)
    assert by_protobuf.equals(by_json)


def test_json_nested_a_thousand_levels_deep_is_stored_or_refused_but_never_crashes() -> None:
    value: Any = {"stringValue": "x"}
    for _ in range(100):
        value = {"kvlistValue": {"values": [{"key": "k", "value": value}]}}
    assert decoded_json({"attributes": [{"key": "deep", "value": value}]})["action"] == "unclassified_record"


def test_repeated_names_inside_a_map_lose_nothing() -> None:
    inner = {"kvlistValue": {"values": [{"key": "k", "value": {"intValue": n}} for n in (1, "2")]}}
    assert decoded_json({"attributes": [{"key": "m", "value": inner}]})["attributes"]["m"] == {"k": [1, 2]}
