"""One line of an import → its records, whichever of the two kinds of JSON lines it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from otel_audit.exporter.receiver import json_text
from otel_audit.exporter.receiver.errors import IngestError
from otel_audit.exporter.receiver.limits import IngestLimits
from otel_audit.exporter.receiver.otlp_json import request_of

from .bad_line import BadLine
from .event_line import Facts, is_event, record_of

_OTLP: Final = ("resourceLogs", "resource_logs")
_OTHER_SIGNALS: Final = ("resourceSpans", "resourceMetrics", "resourceProfiles")


@dataclass(frozen=True, slots=True)
class Parsed:
    """The records of a line. facts: of an exported event, which is one record; None for OTLP."""

    request: ExportLogsServiceRequest
    facts: Facts | None


def parse_line(data: bytes, limits: IngestLimits) -> Parsed:
    """The records of a line of OTLP JSON (as the Collector's file exporter writes it) or of one event.

    Raises BadLine. The limits are those of a request.
    """
    try:
        limits.check_body(len(data))
        # Counted before parsing, as the receiver does.
        limits.check_values(data.count(b"{") + data.count(b"["))
        document = json_text.loads(data)
        if not isinstance(document, dict):
            raise BadLine("not a JSON object")
        if not document or any(name in document for name in _OTLP):
            return Parsed(request_of(document, limits), None)
    except ValueError:
        raise BadLine("not JSON, or cut off") from None
    except IngestError as error:
        raise BadLine(error.message) from None
    if any(name in document for name in _OTHER_SIGNALS):
        raise BadLine("traces, metrics or profiles, not logs")
    if not is_event(document):
        raise BadLine("neither an OTLP logs request nor an event")
    return Parsed(*record_of(document))
