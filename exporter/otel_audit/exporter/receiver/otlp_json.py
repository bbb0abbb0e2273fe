"""OTLP/JSON → the protobuf request. Unlike protobuf's own JSON mapping, ids are hex and enums are numbers.

Structure that is wrong (a list where an object belongs) is refused; a field of a record that cannot be read
is not: it becomes an attribute `otel.<field>`, because refusing it would lose its neighbours too.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber

from . import json_text
from .any_value import plain_text
from .errors import NotOtlp
from .limits import IngestLimits
from .values import DEPTH_MAX

Json = dict[str, Any]

_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2})*")
_UINT64_MAX: Final = 2**64 - 1
_UINT32_MAX: Final = 2**32 - 1
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_UNREADABLE: Final = object()


def parse_json(body: bytes, limits: IngestLimits | None = None) -> ExportLogsServiceRequest:
    """The request in a JSON body. Unknown fields are ignored; int64 may be numbers or text.

    Raises NotOtlp, TooLarge (the default limits when none are given).
    """
    limits = limits or IngestLimits()
    limits.check_body(len(body))
    # Counted before parsing: "[]," makes Python allocate twenty times its size.
    limits.check_values(body.count(b"{") + body.count(b"["))
    try:
        document = json_text.loads(body)
    except ValueError as error:
        raise NotOtlp("the body is not JSON", hint="send an ExportLogsServiceRequest") from error
    return request_of(document, limits)


def request_of(document: Any, limits: IngestLimits) -> ExportLogsServiceRequest:
    """The request in a JSON document that `json_text.loads` read. Raises NotOtlp, TooLarge."""
    if not isinstance(document, dict):
        raise NotOtlp("the body is not a JSON object", hint="send an ExportLogsServiceRequest")
    request = ExportLogsServiceRequest()
    if "resource_logs" in _object(document):
        # Ignored as unknown, the whole request would be acknowledged and lost.
        raise NotOtlp("the JSON has names in snake case", hint="OTLP/JSON writes resourceLogs")
    records = 0
    for source in _objects(document, "resourceLogs"):
        resource_logs = request.resource_logs.add()
        for scope_source in _resource_logs(source, resource_logs):
            scope_logs = resource_logs.scope_logs.add()
            record_sources = _scope_logs(scope_source, scope_logs)
            records += len(record_sources)
            limits.check_records(records)
            for record_source in record_sources:
                _record(record_source, scope_logs.log_records.add())
    return request


def _resource_logs(source: Json, target: ResourceLogs) -> list[Json]:
    target.schema_url = _text(source.get("schemaUrl"))
    _pairs(_object(source.get("resource")), target.resource.attributes)
    return _objects(source, "scopeLogs")


def _scope_logs(source: Json, target: ScopeLogs) -> list[Json]:
    target.schema_url = _text(source.get("schemaUrl"))
    scope = _object(source.get("scope"))
    _scope(scope, target.scope)
    return _objects(source, "logRecords")


def _scope(source: Json, target: InstrumentationScope) -> None:
    target.name = _text(source.get("name"))
    target.version = _text(source.get("version"))
    _pairs(source, target.attributes)


def _record(source: Json, target: LogRecord) -> None:
    _pairs(source, target.attributes)
    if source.get("body") is not None:
        _value(_object(source["body"]), target.body, 0)
    for name, field, read in (
        ("timeUnixNano", "time_unix_nano", _uint64),
        ("observedTimeUnixNano", "observed_time_unix_nano", _uint64),
        ("severityNumber", "severity_number", _severity),
        ("severityText", "severity_text", _string),
        ("droppedAttributesCount", "dropped_attributes_count", _uint32),
        ("flags", "flags", _uint32),
        ("traceId", "trace_id", _hex),
        ("spanId", "span_id", _hex),
        ("eventName", "event_name", _string),
    ):
        given = source.get(name)
        if given is None:
            continue
        value = read(given)
        if value is not _UNREADABLE:
            setattr(target, field, value)
        else:
            pair = target.attributes.add(key=f"otel.{field}")
            pair.value.string_value = plain_text(given if isinstance(given, str) else json.dumps(given))


def _pairs(source: Json, target: Any, name: str = "attributes", depth: int = 0) -> None:
    for pair in _objects(source, name):
        added: KeyValue = target.add(key=_text(pair.get("key")))
        if pair.get("value") is not None:
            _value(_object(pair["value"]), added.value, depth)


def _value(source: Json, target: AnyValue, depth: int) -> None:
    for name, given in source.items():
        if given is None:
            continue
        if name == "stringValue":
            target.string_value = _text(given)
        elif name == "boolValue":
            _put_or_text(target, "bool_value", given if isinstance(given, bool) else _UNREADABLE, given)
        elif name == "intValue":
            _put_or_text(target, "int_value", _integer(given, _INT64_MIN, _INT64_MAX), given)
        elif name == "doubleValue":
            _put_or_text(target, "double_value", _double(given), given)
        elif name == "bytesValue":
            _put_or_text(target, "bytes_value", _base64(given), given)
        elif name == "arrayValue":
            _array(_object(given), target, depth)
        elif name == "kvlistValue":
            target.kvlist_value.SetInParent()
            if depth <= DEPTH_MAX:
                _pairs(_object(given), target.kvlist_value.values, "values", depth + 1)


def _array(source: Json, target: AnyValue, depth: int) -> None:
    target.array_value.SetInParent()
    # One level more than the decoder keeps, so that it sees, and says, that there was more.
    if depth > DEPTH_MAX:
        return
    for item in _list(source, "values"):
        _value(_object(item), target.array_value.values.add(), depth + 1)


def _put_or_text(target: AnyValue, field: str, value: Any, given: Any) -> None:
    """Set the value, or its JSON as text when it is none of its type (such as an integer beyond 64 bits)."""
    if value is _UNREADABLE:
        target.string_value = plain_text(given if isinstance(given, str) else json.dumps(given))
    else:
        setattr(target, field, value)


def _object(value: Any) -> Json:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise NotOtlp("the JSON is not an OTLP logs request: an object is expected")
    return value


def _list(source: Json, name: str) -> list[Any]:
    value = source.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise NotOtlp(f"the JSON is not an OTLP logs request: {name} is no list")
    return value


def _objects(source: Json, name: str) -> list[Json]:
    return [_object(item) for item in _list(source, name)]


def _text(value: Any) -> str:
    if value is None:
        return ""
    return plain_text(value if isinstance(value, str) else json.dumps(value))


def _string(value: Any) -> Any:
    return plain_text(value) if isinstance(value, str) else _UNREADABLE


def _integer(value: Any, least: int, most: int) -> Any:
    if isinstance(value, str):
        try:
            value = int(value) if value.isascii() else _UNREADABLE
        except ValueError:
            return _UNREADABLE
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        return _UNREADABLE
    return value


def _uint64(value: Any) -> Any:
    return _integer(value, 0, _UINT64_MAX)


def _uint32(value: Any) -> Any:
    return _integer(value, 0, _UINT32_MAX)


def _severity(value: Any) -> Any:
    if isinstance(value, str) and value in SeverityNumber.keys():  # noqa: SIM118 - an enum wrapper, no dict
        return SeverityNumber.Value(value)
    return _integer(value, -(2**31), 2**31 - 1)


def _hex(value: Any) -> Any:
    return bytes.fromhex(value) if isinstance(value, str) and _HEX.fullmatch(value) else _UNREADABLE


def _double(value: Any) -> Any:
    if isinstance(value, bool):
        return _UNREADABLE
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return _UNREADABLE


def _base64(value: Any) -> Any:
    if not isinstance(value, str):
        return _UNREADABLE
    # Protobuf's JSON mapping accepts the URL-safe alphabet and missing padding as well.
    standard = value.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except ValueError:
        return _UNREADABLE
