"""A request as OTLP/JSON clients write it: hex ids, numeric enums, lowerCamelCase."""

from __future__ import annotations

import base64
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest


def as_json(request: ExportLogsServiceRequest) -> dict[str, Any]:
    """The request as a JSON-ready dict."""
    document: dict[str, Any] = MessageToDict(request, use_integers_for_enums=True)
    for resource_logs in document.get("resourceLogs", ()):
        for scope_logs in resource_logs.get("scopeLogs", ()):
            for record in scope_logs.get("logRecords", ()):
                for name in ("traceId", "spanId"):
                    if name in record:
                        record[name] = base64.b64decode(record[name]).hex()
    return document
