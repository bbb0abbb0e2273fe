"""The service's own audit events as the OTLP request that the receiver's pipeline takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from otel_audit.exporter.receiver.any_value import any_value, pairs_of
from otel_audit.instrumentation.event import AuditEvent
from otel_audit.instrumentation.vocabulary import SEVERITY_NUMBER, Severity

SERVICE_NAME: Final = "otel-audit"
_SCOPE: Final = "otel_audit.query_service"


def own_request(events: Iterable[AuditEvent]) -> ExportLogsServiceRequest:
    """One request with the events in their order. The same event always becomes the same bytes."""
    records = [_record(event) for event in events]
    scope_logs = ScopeLogs(scope=InstrumentationScope(name=_SCOPE), log_records=records)
    resource = Resource(attributes=pairs_of({"service.name": SERVICE_NAME}))
    return ExportLogsServiceRequest(resource_logs=[ResourceLogs(resource=resource, scope_logs=[scope_logs])])


def _record(event: AuditEvent) -> LogRecord:
    # Observed when it happened, not when it is sent: a repeat must have the digest of its first copy.
    return LogRecord(
        time_unix_nano=event.time_unix_nano,
        observed_time_unix_nano=event.time_unix_nano,
        severity_number=SEVERITY_NUMBER[Severity(event.severity)],  # type: ignore[arg-type]
        severity_text=event.severity,
        event_name=event.event_name,
        body=any_value(event.summary),
        attributes=pairs_of(event.to_attributes()),
    )
