from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from otel_audit.exporter.receiver.decode import decode
from otel_audit.exporter.receiver.errors import NotOtlp, Throttled, TooLarge
from otel_audit.exporter.receiver.limits import ByteBudget, IngestLimits
from otel_audit.exporter.receiver.otlp_json import parse_json
from otel_audit.exporter.receiver.wire import parse_protobuf
from tests.support.otlp_client import record, request
from tests.support.otlp_json import as_json
from tests.support.receiver import smaller

LIMITS = IngestLimits()


def test_a_text_that_is_no_utf8_costs_neither_its_record_nor_its_neighbours() -> None:
    body = request([record(user_agent__original="<agent>"), record(x="fine")]).SerializeToString()
    parsed = parse_protobuf(body.replace(b"<agent>", b"\xff\xfe\x80evil"[:7]), LIMITS)
    rows = decode(parsed, 1).to_pylist()
    assert [row["user_agent"] for row in rows] == ["\ufffd\ufffd\ufffdevil", None]
    assert json.loads(rows[1]["attributes"]) == {"x": "fine"}


@pytest.mark.parametrize("field", [b"<name>", b"<text>", b"<body>", b"<scope>", b"<service>", b"<event>"])
def test_every_text_field_is_mended(field: bytes) -> None:
    made = request([record(body="<body>")], service="<service>")
    scope_logs = made.resource_logs[0].scope_logs[0]
    scope_logs.scope.name = "<scope>"
    scope_logs.log_records[0].attributes.add(key="<name>").value.string_value = "<text>"
    scope_logs.log_records[0].event_name = "<event>"
    broken = made.SerializeToString().replace(field, b"\xff" * len(field))
    with pytest.raises(Exception, match="Error parsing"):
        ExportLogsServiceRequest.FromString(broken)
    parsed = parse_protobuf(broken, LIMITS)
    assert "\ufffd" * len(field) in str(decode(parsed, 1).to_pylist())


BOTTOM = b"\x0a\x06bottom"


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(tag: bytes, content: bytes) -> bytes:
    return tag + varint(len(content)) + content


def test_values_nested_beyond_what_parsers_take_are_cut_instead_of_refused() -> None:
    made = request([record(x="fine"), record(x="deep")])
    value = made.resource_logs[0].scope_logs[0].log_records[1].attributes.add(key="deep").value
    for _ in range(300):
        value = value.kvlist_value.values.add(key="k").value
    value.string_value = "bottom"
    rows = decode(parse_protobuf(made.SerializeToString(), LIMITS), 1).to_pylist()
    assert len(rows) == 2
    assert "[nested too deeply]" in rows[1]["attributes"]


@pytest.mark.parametrize("levels", [23, 24, 31, 34, 100, 100_000])
def test_no_depth_of_lists_or_maps_is_refused_or_ends_the_process(levels: int) -> None:
    wrapped = {"list": (b"\x2a", b"\x0a"), "map": (b"\x32", b"\x0a", b"\x12")}
    for tags in wrapped.values():
        # From the inside out: AnyValue in list or map in AnyValue … The attributes are the first level of 24.
        headers, size = [], len(BOTTOM)
        for _ in range(levels):
            for tag in reversed(tags):
                header = tag + varint(size)
                headers.append(header)
                size += len(header)
        value = b"".join(reversed(headers)) + BOTTOM
        pair = field(b"\x0a", b"deep") + field(b"\x12", value)
        logs = field(b"\x12", field(b"\x32", pair)) + field(b"\x12", field(b"\x32", field(b"\x0a", b"next")))
        (deep, after) = decode(parse_protobuf(field(b"\x0a", field(b"\x12", logs)), LIMITS), 1).to_pylist()
        assert ("[nested too deeply]" in deep["attributes"]) == (levels > 23)
        assert '"next"' in after["attributes"]


@pytest.mark.parametrize(
    "body",
    [
        b"hello",
        b"\x0a",
        b"\x0a\x05ab",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x0b",
        b"\x0f",
        b"{}",
        b'{"resourceLogs": []}',
        b"\x0a\x04\x12\x02\x12\x7f",
        b"\x1f\x8b\x08\x00",
    ],
)
def test_bytes_that_are_no_request_are_refused(body: bytes) -> None:
    with pytest.raises(NotOtlp):
        parse_protobuf(body, LIMITS)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_refused_and_nothing_else(body: bytes) -> None:
    for parse in (parse_protobuf, parse_json):
        try:
            rows = decode(parse(body, LIMITS), 1)
        except NotOtlp:
            continue
        rows.validate(full=True)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_request_is_decoded_or_refused_and_nothing_else(data: st.DataObject) -> None:
    body = bytearray(request([record(user__roles=["a"], n=1, m={"a": [1.5]})]).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        rows = decode(parse_protobuf(bytes(body), LIMITS), 1)
    except NotOtlp:
        return
    rows.validate(full=True)


def test_records_are_counted_before_anything_is_parsed() -> None:
    record_field = b"\x12\x00"
    scope_logs = b"\x12\x80\x01" + record_field * 64
    body = b"\x0a\x83\x01" + scope_logs
    assert decode(parse_protobuf(body, smaller(records_max=64)), 1).num_rows == 64
    with pytest.raises(TooLarge, match="more than 63 log records"):
        parse_protobuf(body, smaller(records_max=63))


def test_values_of_a_large_body_are_counted_before_anything_is_parsed() -> None:
    value = AnyValue()
    value.array_value.values.extend(AnyValue() for _ in range(600_000))
    made = request([record()])
    made.resource_logs[0].scope_logs[0].log_records[0].body.CopyFrom(value)
    with pytest.raises(TooLarge, match="more than 500000 values"):
        parse_protobuf(made.SerializeToString(), smaller(values_max=500_000))


def test_json_records_and_containers_are_bounded() -> None:
    body = json.dumps(as_json(request([record() for _ in range(5)]))).encode()
    assert len(parse_json(body, smaller(records_max=5)).resource_logs) == 1
    with pytest.raises(TooLarge, match="log records"):
        parse_json(body, smaller(records_max=4))
    with pytest.raises(TooLarge, match="values"):
        parse_json(b"[" + b"{}," * 3_000_000, LIMITS)


def test_a_share_is_given_back_whatever_happens() -> None:
    budget = ByteBudget(10)
    for _ in range(3):
        with budget.request() as share:
            share.take(10)
            with pytest.raises(Throttled):
                share.take(1)
