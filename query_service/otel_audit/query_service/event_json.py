"""An event as the JSON that the API, exports and the stream give out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa

from otel_audit.exporter.store.schema import JSON_COLUMNS, VIEW

from .position import moment

TIME_COLUMNS: Final = tuple(field.name for field in VIEW if pa.types.is_timestamp(field.type))
_LIST_COLUMNS: Final = tuple(field.name for field in VIEW if pa.types.is_list(field.type))

# Times leave DuckDB as integers: its own conversion needs a time zone library that is not installed.
EVENT_COLUMNS: Final = ", ".join(
    f"epoch_us({name}) AS {name}" if name in TIME_COLUMNS else name for name in VIEW.names
)
"""The select list whose rows `event_of` reads."""


def event_of(row: tuple[Any, ...]) -> dict[str, Any]:
    """The event of one row selected as EVENT_COLUMNS."""
    return to_json(dict(zip(VIEW.names, row, strict=False)))


def to_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of schema VIEW as JSON-ready values: columns in order, absent = None, JSON text as objects.

    Times may be aware datetimes or µs since 1970-01-01 UTC; they become RFC 3339 with µs and `Z`.
    """
    event = {name: row[name] for name in VIEW.names}
    for name in TIME_COLUMNS:
        if event[name] is not None:
            event[name] = rfc3339(event[name])
    for name in JSON_COLUMNS:
        if event[name] is not None:
            event[name] = _parsed(event[name])
    for name in _LIST_COLUMNS:
        if event[name] is not None:
            event[name] = list(event[name])
    return event


def rfc3339(value: datetime | int) -> str:
    """A moment in UTC with six decimals and `Z`."""
    at = moment(value) if isinstance(value, int) else value.astimezone(UTC)
    return at.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_not_json)
    except (ValueError, RecursionError):
        # Shown as it is stored rather than hidden.
        return text


def _not_json(name: str) -> Any:
    raise ValueError(name)
