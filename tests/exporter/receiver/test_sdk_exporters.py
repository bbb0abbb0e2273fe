"""OpenTelemetry's own Python exporters against the real listeners."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import INVALID_SPAN, Span, set_span_in_context

from otel_audit.instrumentation.event import AuditEvent
from otel_audit.instrumentation.ids import uuid7
from tests.support.receiver import Receiver, running


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    with running(Receiver(tmp_path_factory.mktemp("sdk") / "root")) as made:
        yield made


def exporter_of(protocol: str, receiver: Receiver, key: str, timeout_s: float = 10) -> LogRecordExporter:
    headers = {"authorization": f"Bearer {key}"}
    if protocol == "grpc":
        return GrpcExporter(endpoint=receiver.grpc, insecure=True, headers=headers, timeout=timeout_s)
    compression = Compression.Gzip if protocol == "http+gzip" else Compression.NoCompression
    url = f"http://{receiver.http}/v1/logs"
    return HttpExporter(endpoint=url, headers=headers, compression=compression, timeout=timeout_s)


class Watched(LogRecordExporter):
    """Remembers what the exporter it wraps has answered."""

    def __init__(self, inner: LogRecordExporter) -> None:
        self.inner = inner
        self.results: list[LogRecordExportResult] = []

    def export(self, batch: Any) -> LogRecordExportResult:
        result = self.inner.export(batch)
        self.results.append(result)
        return result

    def force_flush(self, timeout_millis: int = 10_000) -> bool:
        return True

    def shutdown(self) -> None:
        self.inner.shutdown()  # type: ignore[no-untyped-call]


def span() -> Span:
    return TracerProvider(shutdown_on_exit=False).get_tracer("tests").start_span("request")


def emit(exporter: LogRecordExporter, event: AuditEvent, span: Span = INVALID_SPAN) -> LogRecordExportResult:
    """Send one event inside a span; what became of it."""
    watched = Watched(exporter)
    provider = LoggerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(watched))
    provider.get_logger("otel_audit", "1.0").emit(
        timestamp=event.time_unix_nano,
        context=set_span_in_context(span),
        severity_number=SeverityNumber.INFO,
        body="read a file",
        attributes=event.to_attributes(),
        event_name=event.event_name,
    )
    provider.shutdown()
    return watched.results[0]


def an_event() -> AuditEvent:
    return AuditEvent(
        record_id=uuid7(),
        time_unix_nano=time.time_ns(),
        category="data_access",
        action="read",
        user_id="u-1",
        user_roles=("admin",),
        changes={"a": (1, {"b": [2]})},
        attributes={"app": {"nested": True}},
    )


@pytest.mark.parametrize("protocol", ["http", "http+gzip", "grpc"])
def test_an_event_arrives_over_every_protocol(receiver: Receiver, protocol: str) -> None:
    event, request = an_event(), span()
    result = emit(exporter_of(protocol, receiver, receiver.key("acme")), event, request)
    assert result is LogRecordExportResult.SUCCESS
    row = next(row for row in receiver.rows() if row["event_id"] == event.record_id)
    assert row["trace_id"] == f"{request.get_span_context().trace_id:032x}"
    assert row["time_unix_nano"] == event.time_unix_nano
    assert (row["category"], row["action"], row["user_id"]) == ("data_access", "read", "u-1")
    assert row["changes"] == '{"a":{"before":1,"after":{"b":[2]}}}'
    assert row["user_roles"] == ["admin"]
    assert (row["service_name"], row["flags"]) == ("shop", [])


def test_one_event_sent_over_every_protocol_is_one_event_without_a_conflict(receiver: Receiver) -> None:
    event = an_event()
    for protocol in ("http", "http+gzip", "grpc"):
        result = emit(exporter_of(protocol, receiver, receiver.key("acme")), event)
        assert result is LogRecordExportResult.SUCCESS
    rows = [row for row in receiver.rows() if row["event_id"] == event.record_id]
    assert [row["flags"] for row in rows] == [[]]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_refusal_is_no_success(receiver: Receiver, protocol: str) -> None:
    event = an_event()
    wrong = f"oak_{'a' * 12}_{'b' * 43}"
    result = emit(exporter_of(protocol, receiver, wrong), event)
    assert result is LogRecordExportResult.FAILURE
    assert event.record_id not in {row["event_id"] for row in receiver.rows()}


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_exporter_repeats_what_could_not_be_stored_yet(receiver: Receiver, protocol: str) -> None:
    event = an_event()
    key = receiver.key("acme")
    receiver.store.fail(1)
    result = emit(exporter_of(protocol, receiver, key, timeout_s=20), event)
    assert result is LogRecordExportResult.SUCCESS
    assert [row["event_id"] for row in receiver.rows()].count(event.record_id) == 1
