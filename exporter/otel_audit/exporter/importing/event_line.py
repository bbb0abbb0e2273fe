"""An event as `export --format ndjson` writes it → the OTLP record it may have been.

From there on it is decoded, redacted and stored as any record. What only the store it came from can say
(its number there, when it was received) is kept in the attribute `audit.imported`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from otel_audit.exporter.receiver.any_value import any_value, pairs_of, plain_text
from otel_audit.exporter.receiver.columns import RESOURCE_COLUMNS, TEXT_COLUMNS, put
from otel_audit.exporter.receiver.decode import FLAG_CLASS_IGNORED, FLAG_INVALID, FLAG_TIME_MISSING
from otel_audit.exporter.receiver.ingest import FLAG_TENANT_DENIED, FLAG_TENANT_MISSING
from otel_audit.exporter.store.schema import COLUMN_NAMES
from otel_audit.instrumentation.vocabulary import SEVERITY_NUMBER, Attr

from .bad_line import BadLine

IMPORTED: Final = "audit.imported"

_ATTRIBUTES: Final = (
    ("event_id", Attr.RECORD_ID),
    ("tenant", Attr.TENANT_ID),
    ("category", Attr.CATEGORY),
    ("action", Attr.ACTION),
    ("outcome", Attr.OUTCOME),
    ("user_id", Attr.ACTOR_ID),
    ("user_type", Attr.ACTOR_TYPE),
    ("user_roles", Attr.USER_ROLES),
    ("session_id", Attr.SESSION_ID),
    ("request_id", Attr.REQUEST_ID),
    ("http_status", Attr.HTTP_STATUS),
    ("emitter_seq", Attr.EMITTER_SEQ),
    ("retention", Attr.RETENTION_CLASS),
    *TEXT_COLUMNS,
)
_ELSEWHERE: Final = ("writer", "seq", "received_time", "policy_version", "content_digest")
_SEEN: Final = frozenset(COLUMN_NAMES) | {"retention", "date"}
# What the other store noticed of the record itself; the others are about storing it, and found anew.
_FLAGS_KEPT: Final = frozenset(
    {FLAG_INVALID, FLAG_TIME_MISSING, FLAG_CLASS_IGNORED, FLAG_TENANT_DENIED, FLAG_TENANT_MISSING}
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_INT64_MAX: Final = 2**63 - 1
_DIGEST: Final = re.compile(r"[0-9a-f]{32}")
_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2})+")


@dataclass(frozen=True, slots=True)
class Facts:
    """What an exported event brings beside its record.

    flags: those that say something of the record. redactions: as exported, not to be trusted.
    digest: its content_digest in the store that exported it.
    """

    flags: tuple[str, ...] = ()
    redactions: list[Any] = field(default_factory=list)
    digest: str | None = None


def is_event(document: dict[str, Any]) -> bool:
    """Whether a JSON object names its event as our exports do."""
    return not document.keys().isdisjoint(("event_id", "time", "category", "action", "event_name"))


def record_of(event: dict[str, Any]) -> tuple[ExportLogsServiceRequest, Facts]:
    """One event as a request of one record. Raises BadLine, which quotes nothing."""
    record = LogRecord(
        time_unix_nano=_time_ns(event),
        observed_time_unix_nano=_moment_ns(event, "observed_time"),
        severity_number=_severity(event),  # type: ignore[arg-type]
        event_name=plain_text(event["event_name"]) if isinstance(event.get("event_name"), str) else "",
        attributes=pairs_of(_attributes(event)),
    )
    if event.get("message") is not None:
        record.body.CopyFrom(any_value(event["message"]))
    for column in ("trace_id", "span_id"):
        if _is_hex(event.get(column)):
            setattr(record, column, bytes.fromhex(event[column]))
    logs = ResourceLogs(
        resource=Resource(attributes=pairs_of(_resource(event))),
        scope_logs=[ScopeLogs(log_records=[record])],
    )
    return ExportLogsServiceRequest(resource_logs=[logs]), _facts(event)


def _attributes(event: dict[str, Any]) -> dict[str, Any]:
    given = event.get("attributes")
    attributes: dict[str, Any] = dict(given) if isinstance(given, dict) else {}
    if given is not None and not isinstance(given, dict):
        attributes["attributes"] = given
    for name, value in event.items():
        if name not in _SEEN and value is not None:
            put(attributes, name, value)
    for column, name in _ATTRIBUTES:
        if event.get(column) is not None:
            put(attributes, name, event[column])
    for column in ("trace_id", "span_id"):
        if event.get(column) is not None and not _is_hex(event[column]):
            put(attributes, f"otel.{column}", event[column])
    _put_changes(event.get("changes"), attributes)
    elsewhere = {name: event[name] for name in _ELSEWHERE if event.get(name) is not None}
    if elsewhere:
        put(attributes, IMPORTED, elsewhere)
    return attributes


def _put_changes(changes: Any, attributes: dict[str, Any]) -> None:
    if changes is None:
        return
    if isinstance(changes, dict) and all(
        isinstance(pair, dict) and pair.keys() == {"before", "after"} for pair in changes.values()
    ):
        for side, name in (("before", Attr.CHANGE_BEFORE), ("after", Attr.CHANGE_AFTER)):
            put(attributes, name, {field: pair[side] for field, pair in changes.items()})
    else:
        put(attributes, "changes", changes)


def _resource(event: dict[str, Any]) -> dict[str, Any]:
    given = event.get("otel_resource")
    resource: dict[str, Any] = dict(given) if isinstance(given, dict) else {}
    if given is not None and not isinstance(given, dict):
        resource["otel_resource"] = given
    for column, names in RESOURCE_COLUMNS:
        if event.get(column) is not None and not any(name in resource for name in names):
            resource[names[0]] = event[column]
    return resource


def _severity(event: dict[str, Any]) -> int:
    """The number, else the one of the word, else 0: then the action's own."""
    number = event.get("severity_number")
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 2**31:
        return number
    word = event.get("severity")
    return SEVERITY_NUMBER.get(word, 0) if isinstance(word, str) else 0  # type: ignore[call-overload]


def _time_ns(event: dict[str, Any]) -> int:
    exact, moment_ns = event.get("time_unix_nano"), _moment_ns(event, "time")
    if exact is None:
        return moment_ns
    if isinstance(exact, bool) or not isinstance(exact, int) or not 0 < exact <= _INT64_MAX:
        raise BadLine("time_unix_nano is no time since 1970")
    if moment_ns and exact // 1_000 != moment_ns // 1_000:
        raise BadLine("time and time_unix_nano are different times")
    return exact


def _moment_ns(event: dict[str, Any], name: str) -> int:
    """A column's RFC 3339 text in ns since 1970, 0 when it is absent."""
    text = event.get(name)
    if text is None:
        return 0
    try:
        moment = datetime.fromisoformat(text)
        since = (moment - _EPOCH) // _MICROSECOND * 1_000
    except (ValueError, TypeError, OverflowError):
        # TypeError: no text, or a time without a zone.
        raise BadLine(f"{name} is no RFC 3339 time with a zone") from None
    if not 0 < since <= _INT64_MAX:
        raise BadLine(f"{name} is before 1970 or after 2262")
    return since


def _is_hex(value: Any) -> bool:
    return isinstance(value, str) and _HEX.fullmatch(value) is not None


def _facts(event: dict[str, Any]) -> Facts:
    flags, redactions, digest = event.get("flags"), event.get("redactions"), event.get("content_digest")
    return Facts(
        tuple(flag for flag in _list(flags) if isinstance(flag, str) and flag in _FLAGS_KEPT),
        _list(redactions),
        digest if isinstance(digest, str) and _DIGEST.fullmatch(digest) else None,
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
