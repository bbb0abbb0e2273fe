"""Plain OTLP without an SDK, for tests that must know exactly what was sent and what was acknowledged."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from otel_audit.instrumentation.ids import uuid7


def any_value(value: Any) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    out = AnyValue()
    if isinstance(value, Mapping):
        out.kvlist_value.SetInParent()
        for name, item in value.items():
            out.kvlist_value.values.append(KeyValue(key=name, value=any_value(item)))
    elif isinstance(value, (list, tuple)):
        out.array_value.SetInParent()
        out.array_value.values.extend(any_value(item) for item in value)
    else:
        out.string_value = str(value)
    return out


def record(
    category: str = "data_access", action: str = "read", *, body: str = "read a file", **attributes: Any
) -> LogRecord:
    """One audit event; attribute names with `__` for `.`; `record_id` and `time_ns` may be given."""
    named = {
        "audit.record.id": attributes.pop("record_id", None) or uuid7(),
        "audit.category": category,
        "audit.action": action,
        "audit.outcome": "success",
    } | {name.replace("__", "."): value for name, value in attributes.items() if name != "time_ns"}
    return LogRecord(
        time_unix_nano=attributes.get("time_ns") or time.time_ns(),
        severity_number=9,  # type: ignore[arg-type]
        event_name=f"audit.{category}.{action}",
        body=AnyValue(string_value=body),
        attributes=[KeyValue(key=name, value=any_value(value)) for name, value in named.items()],
    )


def request(
    records: Iterable[LogRecord], *, service: str = "tests", **resource: Any
) -> ExportLogsServiceRequest:
    made = ExportLogsServiceRequest()
    logs = made.resource_logs.add()
    named = {"service.name": service} | {name.replace("__", "."): value for name, value in resource.items()}
    logs.resource.attributes.extend(KeyValue(key=n, value=any_value(v)) for n, v in named.items())
    logs.scope_logs.add().log_records.extend(records)
    return made


def post(address: str, key: str | None, body: bytes, **headers: str) -> tuple[int, bytes]:
    """One POST /v1/logs; (status, body). Raises OSError and http.client errors as they come."""
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        sent = {"content-type": "application/x-protobuf"} | headers
        if key is not None:
            sent["authorization"] = f"Bearer {key}"
        connection.request("POST", "/v1/logs", body, sent)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def send(address: str, key: str, records: Iterable[LogRecord], **resource: Any) -> None:
    """Send and require the acknowledgement."""
    status, body = post(address, key, request(records, **resource).SerializeToString())
    if status != 200:
        raise AssertionError(f"refused with {status}: {body!r}")
