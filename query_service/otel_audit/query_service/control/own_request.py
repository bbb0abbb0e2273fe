"""The service's own audit events as the OTLP request that the receiver's pipeline takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from otel_audit.instrumentation.event import AuditEvent
from otel_audit.instrumentation.vocabulary import SEVERITY_NUMBER, Severity

SERVICE_NAME: Final = "otel-audit"
_SCOPE: Final = "otel_audit.query_service"


def own_request(events: Iterable[AuditEvent]) -> ExportLogsServiceRequest:
    """One request with the events in their order. The same event always becomes the same bytes."""
    records = [_record(event) for event in events]
    scope_logs = ScopeLogs(scope=InstrumentationScope(name=_SCOPE), log_records=records)
    resource = Resource(attributes=[_key_value("service.name", SERVICE_NAME)])
    return ExportLogsServiceRequest(resource_logs=[ResourceLogs(resource=resource, scope_logs=[scope_logs])])


def _record(event: AuditEvent) -> LogRecord:
    # Observed when it happened, not when it is sent: a repeat must have the digest of its first copy.
    return LogRecord(
        time_unix_nano=event.time_unix_nano,
        observed_time_unix_nano=event.time_unix_nano,
        severity_number=SEVERITY_NUMBER[Severity(event.severity)],  # type: ignore[arg-type]
        severity_text=event.severity,
        event_name=event.event_name,
        body=AnyValue(string_value=event.summary),
        attributes=[_key_value(name, value) for name, value in event.to_attributes().items()],
    )


def _key_value(key: str, value: Any) -> KeyValue:
    return KeyValue(key=key, value=_any_value(value))


def _any_value(value: Any) -> AnyValue:
    if value is None:
        return AnyValue()
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, bytes):
        return AnyValue(bytes_value=value)
    if isinstance(value, Mapping):
        pairs = [_key_value(str(name), item) for name, item in value.items()]
        return AnyValue(kvlist_value=KeyValueList(values=pairs))
    if isinstance(value, Sequence):
        return AnyValue(array_value=ArrayValue(values=[_any_value(item) for item in value]))
    return AnyValue(string_value=str(value))
