"""OTLP log records → one Arrow batch. The reference decoder: readable first, every rule in one place.

Nothing here is redacted yet, so nothing of it may reach a disk, a log or an error text.
docs/ingest.md lists the rules for users.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs

from otel_audit.exporter.store.schema import RECEIVED
from otel_audit.instrumentation.ids import canonical_uuid
from otel_audit.instrumentation.vocabulary import (
    EVENT_PREFIX,
    SEVERITY_NUMBER,
    Attr,
    Category,
    RetentionClass,
    default_severity,
    retention_class,
    severity_of,
)

from .columns import Attributes, Row, fill_columns, put, resource_columns, take_word
from .values import clean_text, digest_of, json_text, json_value, raw_map, raw_value

INVALID_REASON: Final = "audit.invalid.reason"
UNCLASSIFIED: Final = "unclassified_record"
FLAG_INVALID: Final = "invalid"
FLAG_TIME_MISSING: Final = "time_missing"
FLAG_TIME_SKEWED: Final = "time_skewed"
FLAG_CLASS_IGNORED: Final = "class_ignored"

_ACTION: Final = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_ACTION_CHARS_MAX: Final = 64
_CATEGORIES: Final = frozenset(category.value for category in Category)
_INT64_MAX: Final = 2**63 - 1
_SEVERITY_MAX: Final = 24
_SEVERITY_ALIASES: Final = {"warn": "warning", "fatal": "critical"}
_NS_PER_US: Final = 1_000
_NS_PER_S: Final = 1_000_000_000
_EARLIEST_NS: Final = 48 * 3600 * _NS_PER_S
_LATEST_NS: Final = 3600 * _NS_PER_S
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NO_TRACE: Final = bytes(16)
_NO_SPAN: Final = bytes(8)


def decode(request: ExportLogsServiceRequest, received_ns: int, *, historic: bool = False) -> pa.RecordBatch:
    """The records of a request in their order, one row each, schema RECEIVED.

    received_ns: when the request came, ns since 1970-01-01 UTC. historic: an event's own time chooses its
    partition however long ago it was.
    Every record gives a row, whatever it holds: what is no audit event gets the flag `invalid`.
    """
    rows: list[Row] = []
    for resource_logs in request.resource_logs:
        resource = raw_map(resource_logs.resource.attributes)
        for scope_logs in resource_logs.scope_logs:
            origin = _Origin(resource_logs, resource, scope_logs, received_ns, historic)
            rows.extend(origin.row(record) for record in scope_logs.log_records)
    return pa.RecordBatch.from_pylist(rows, schema=RECEIVED)


class _Origin:
    """What the records of one resource and scope have in common."""

    def __init__(
        self,
        resource_logs: ResourceLogs,
        resource: dict[str, Any],
        scope_logs: ScopeLogs,
        received_ns: int,
        historic: bool,
    ) -> None:
        scope = scope_logs.scope
        scope_attributes = raw_map(scope.attributes)
        self._received_ns = received_ns
        self._earliest_ns = 0 if historic else received_ns - _EARLIEST_NS
        self._digest = digest_of((resource, scope.name, scope.version, scope_attributes))
        self._columns = resource_columns(json_value(resource))
        self._tenant = json_value(resource.get(Attr.TENANT_ID))
        named = {
            "otel.scope.name": clean_text(scope.name) or None,
            "otel.scope.version": clean_text(scope.version) or None,
            "otel.scope.attributes": json_value(scope_attributes) or None,
            "otel.scope.schema_url": clean_text(scope_logs.schema_url) or None,
            "otel.resource.schema_url": clean_text(resource_logs.schema_url) or None,
        }
        self._scope = {name: value for name, value in named.items() if value is not None}

    def row(self, record: LogRecord) -> Row:
        """One record as a row of RECEIVED; columns left out are null."""
        raw = raw_map(record.attributes)
        body = raw_value(record.body)
        attributes: Attributes = json_value(raw)
        row: Row = {"record_digest": self._digest_of(record, body, raw), **self._columns}
        flags: list[str] = []
        if Attr.TENANT_CLAIMED in attributes:
            # Only the receiver says this.
            attributes[f"{Attr.TENANT_CLAIMED}.received"] = attributes.pop(Attr.TENANT_CLAIMED)
        row["claimed_tenant"] = _claim(attributes.pop(Attr.TENANT_ID, None)) or _claim(self._tenant)
        row["app_redactions"] = _claim(attributes.pop(Attr.REDACTIONS, None))
        self._fill_time(record, attributes, row, flags)
        _fill_class(record, attributes, row, flags)
        _fill_severity(record, attributes, row)
        _fill_ids(record, attributes, row)
        fill_columns(attributes, row)
        row["message"] = _message(body)
        if record.dropped_attributes_count:
            put(attributes, "otel.dropped_attributes_count", record.dropped_attributes_count)
        for name, value in self._scope.items():
            put(attributes, name, value)
        row["attributes"] = json_text(attributes)
        row["flags"] = flags
        return row

    def _digest_of(self, record: LogRecord, body: Any, attributes: dict[str, Any]) -> bytes:
        """SHA-256 of the record as received. The observed time is left out: a relay may set it anew."""
        observed = 0 if record.time_unix_nano else record.observed_time_unix_nano
        digest = self._digest.copy()
        digest.update(
            digest_of(
                (
                    record.time_unix_nano,
                    observed,
                    record.severity_number,
                    record.severity_text,
                    body,
                    attributes,
                    record.dropped_attributes_count,
                    record.flags,
                    record.trace_id,
                    record.span_id,
                    record.event_name,
                )
            ).digest()
        )
        return bytes(digest.digest())

    def _fill_time(self, record: LogRecord, attributes: Attributes, row: Row, flags: list[str]) -> None:
        received_ns = self._received_ns
        stamp, observed = record.time_unix_nano, record.observed_time_unix_nano
        for name, value in (("otel.time_unix_nano", stamp), ("otel.observed_time_unix_nano", observed)):
            if value > _INT64_MAX:
                put(attributes, name, value)
        stamp, observed = (value if value <= _INT64_MAX else 0 for value in (stamp, observed))
        time_ns = stamp or observed or received_ns
        if not (stamp or observed):
            flags.append(FLAG_TIME_MISSING)
        row["time_unix_nano"] = time_ns
        row["time"] = time_ns // _NS_PER_US
        row["observed_time"] = observed // _NS_PER_US if observed else None
        row["received_time"] = received_ns // _NS_PER_US
        if not self._earliest_ns <= time_ns <= received_ns + _LATEST_NS:
            flags.append(FLAG_TIME_SKEWED)
            time_ns = received_ns
        # An event's own clock never chooses a partition that goes early (or never).
        row["date"] = (_EPOCH + timedelta(seconds=time_ns // _NS_PER_S)).date().isoformat()


def _claim(value: Any) -> str | None:
    """The tenant a record or resource names, as text whatever its type."""
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else json_text(value)


def _message(body: Any) -> str | None:
    if body is None:
        return None
    value = json_value(body)
    return value if isinstance(value, str) else json_text(value)


def _fill_class(record: LogRecord, attributes: Attributes, row: Row, flags: list[str]) -> None:
    """category, action, event_name and retention; a record that is no audit event is kept as unclassified."""
    names = list(attributes)
    event_name = clean_text(record.event_name)
    by_name = event_name.removeprefix(EVENT_PREFIX).split(".") if event_name.startswith(EVENT_PREFIX) else []
    named_category, named_action = by_name if len(by_name) == 2 else (None, None)
    category: Any = attributes.get(Attr.CATEGORY, named_category)
    action: Any = attributes.get(Attr.ACTION, named_action)
    reason = _why_invalid(category, action)
    if reason is None:
        attributes.pop(Attr.CATEGORY, None)
        attributes.pop(Attr.ACTION, None)
    else:
        put(attributes, INVALID_REASON, reason)
        flags.append(FLAG_INVALID)
        category, action = Category.SYSTEM.value, UNCLASSIFIED
    row["category"], row["action"] = category, action
    row["event_name"] = event_name or f"{EVENT_PREFIX}{category}.{action}"
    asked = attributes.get(Attr.RETENTION_CLASS)
    taken = take_word(attributes, Attr.RETENTION_CLASS, RetentionClass)
    chosen, ignored = retention_class(
        category, action, taken or (None if asked is None else "unknown"), names
    )
    row["retention"] = chosen.value
    if ignored:
        flags.append(FLAG_CLASS_IGNORED)


def _why_invalid(category: Any, action: Any) -> str | None:
    if category is None and action is None:
        return "not an audit event: no category and no action"
    if category is None:
        return "no category"
    if not isinstance(category, str) or category not in _CATEGORIES:
        return "unknown category"
    if action is None:
        return "no action"
    if not isinstance(action, str) or len(action) > _ACTION_CHARS_MAX or not _ACTION.fullmatch(action):
        return "ill-formed action"
    return None


def _fill_severity(record: LogRecord, attributes: Attributes, row: Row) -> None:
    number = int(record.severity_number)
    if 1 <= number <= _SEVERITY_MAX:
        severity = severity_of(number)
    else:
        if number:
            put(attributes, "otel.severity_number", number)
        severity = default_severity(row["category"], row["action"])
        number = SEVERITY_NUMBER[severity]
    row["severity"], row["severity_number"] = severity.value, number
    text = clean_text(record.severity_text)
    if text and _SEVERITY_ALIASES.get(text.lower(), text.lower()) != severity.value:
        put(attributes, "otel.severity_text", text)


def _fill_ids(record: LogRecord, attributes: Attributes, row: Row) -> None:
    row["trace_id"] = _hex_id(record.trace_id, _NO_TRACE, "otel.trace_id", attributes)
    row["span_id"] = _hex_id(record.span_id, _NO_SPAN, "otel.span_id", attributes)
    value = attributes.get(Attr.RECORD_ID)
    row["event_id"] = canonical_uuid(value) if isinstance(value, str) else None
    if row["event_id"] is not None:
        del attributes[Attr.RECORD_ID]


def _hex_id(value: bytes, none: bytes, name: str, attributes: Attributes) -> str | None:
    """Lower-case hex of a trace or span id; None for all zero, or a wrong length, which is kept aside."""
    if not value or value == none:
        return None
    if len(value) != len(none):
        put(attributes, name, value.hex())
        return None
    return value.hex()
