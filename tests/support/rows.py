"""Rows of schema ROW, as the receiver hands them to the store."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from otel_audit.exporter.store.schema import ROW
from otel_audit.instrumentation.ids import uuid7


def row(**given: Any) -> dict[str, Any]:
    """One row; `time` is an aware datetime, the partition follows it unless given."""
    moment = given.get("time") or datetime(2026, 11, 1, 12, tzinfo=UTC)
    event_id = given.get("event_id") or uuid7()
    values: dict[str, Any] = dict.fromkeys(ROW.names)
    values |= {
        "event_id": event_id,
        "time": moment,
        "received_time": moment,
        "observed_time": moment,
        "time_unix_nano": int(moment.timestamp() * 1e6) * 1000,
        "category": "data_access",
        "action": "read",
        "event_name": "audit.data_access.read",
        "outcome": "success",
        "severity": "info",
        "severity_number": 9,
        "message": "read a file",
        "retention": "standard",
        "date": moment.date().isoformat(),
        "content_digest": hashlib.sha256(event_id.encode()).hexdigest()[:32],
        "policy_version": "test",
    }
    return values | given


def batch(*rows: dict[str, Any]) -> pa.RecordBatch:
    """Rows as the writer takes them."""
    return pa.RecordBatch.from_pylist(list(rows), schema=ROW)
