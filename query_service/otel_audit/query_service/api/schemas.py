"""JSON schemas of what the API answers, those of an event cut from the column table."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from otel_audit.exporter.redaction.rules import CLASSES
from otel_audit.exporter.store.schema import COLUMNS, JSON_COLUMNS, PARTITION_FIELDS
from otel_audit.instrumentation.vocabulary import Category, Severity
from otel_audit.query_service.control.holds import NAME

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_TEXT_OR_NONE: Final[Schema] = {"type": ["string", "null"]}
_TIME_OR_NONE: Final[Schema] = {"type": ["string", "null"], "format": "date-time"}
_POSITION: Final[Schema] = {"type": "string", "description": "opaque; use it as it is"}


def ref(name: str) -> Schema:
    """A reference to a component schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _object(properties: dict[str, Schema], optional: tuple[str, ...] = ()) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _of_type(data_type: pa.DataType) -> Schema:
    if pa.types.is_integer(data_type):
        return {"type": ["integer", "null"]}
    if pa.types.is_timestamp(data_type):
        return {"type": ["string", "null"], "format": "date-time"}
    if pa.types.is_list(data_type):
        item = data_type.value_type
        if pa.types.is_struct(item):
            fields = {field.name: _of_type(field.type) for field in item}
            return {"type": ["array", "null"], "items": _object(fields)}
        return {"type": ["array", "null"], "items": _of_type(item)}
    return {"type": ["string", "null"]}


def _event() -> Schema:
    properties: dict[str, Schema] = {}
    for column in COLUMNS:
        schema = {"type": ["object", "null"]} if column.name in JSON_COLUMNS else _of_type(column.type)
        properties[column.name] = schema | {"description": column.meaning}
    meanings = {"retention": "retention class", "date": "UTC day of the partition"}
    for field in PARTITION_FIELDS:
        properties[field.name] = {"type": ["string", "null"], "description": meanings[field.name]}
    return _object(properties)


def _messages() -> Schema:
    def message(kind: str, **properties: Schema) -> Schema:
        return _object({"type": {"const": kind}, **properties})

    return {
        "description": "one JSON message of the stream",
        "oneOf": [
            message("event", position=_POSITION, event=ref("Event")),
            message("gap", dropped=_COUNT, position=_POSITION),
            message("heartbeat", position=_POSITION),
        ],
    }


_COUNTS: Final[Schema] = {
    "type": "object",
    "description": f"by severity ({', '.join(Severity)}) or category ({', '.join(Category)})",
    "additionalProperties": _COUNT,
}
_PARTIAL: Final = _list(ref("Missing"))

SCHEMAS: Final[dict[str, Schema]] = {
    "Event": _event(),
    "Missing": {
        "description": "a damaged file whose rows are missing from the answer",
        **_object({"file": _TEXT, "reason": _TEXT, "from": _TIME, "to": _TIME}),
    },
    "Page": _object(
        {
            "events": _list(ref("Event")),
            "next": {"type": ["string", "null"], "description": "`cursor` of the next page"},
            "as_of": _POSITION,
            "partial": _PARTIAL,
            "notes": {**_list(_TEXT), "description": "what the filters cannot find, if anything"},
        },
        optional=("notes",),
    ),
    "Histogram": _object(
        {
            "from": _TIME,
            "to": _TIME,
            "bucket_seconds": {"type": "number", "exclusiveMinimum": 0},
            "buckets": _list(_object({"start": _TIME, "counts": _COUNTS})),
            "total": _COUNT,
            "as_of": _POSITION,
            "partial": _PARTIAL,
        }
    ),
    "Facets": _object(
        {
            "facets": {
                "type": "object",
                "additionalProperties": _list(
                    _object({"value": {"type": ["string", "null"]}, "count": _COUNT})
                ),
            },
            "as_of": _POSITION,
            "partial": _PARTIAL,
        }
    ),
    "Related": _object(
        {
            "events": _list(ref("Event")),
            "truncated": {"type": "boolean", "description": "whether there are more than are listed"},
            "partial": _PARTIAL,
        }
    ),
    "Rule": _object(
        {
            "id": _TEXT,
            "class": {"type": "string", "enum": list(CLASSES)},
            "kind": {
                "type": "string",
                "enum": ["rule", "name"],
                "description": "name: what stands under a name is dropped",
            },
            "enabled": {"type": "boolean", "description": "for this organization"},
            "replacement": _TEXT,
            "description": _TEXT,
            "hits": _COUNT,
        }
    ),
    "Redaction": _object(
        {
            "versions": {
                **_object({"base": _TEXT, "rules": _TEXT, "policy": _TEXT, "stored": _TEXT}),
                "description": "stored: `policy_version` of an event that comes now",
            },
            "policy": {"type": "object", "description": "the organization's own; empty is the default"},
            "rules": _list(ref("Rule")),
            "from": _TIME,
            "to": _TIME,
            "hits": {
                "type": "object",
                "description": "rule → replacements; also policy_mask, policy_redact, policy_tokenise, "
                "unknown_user and engine_error",
                "additionalProperties": _COUNT,
            },
            "partial": _PARTIAL,
        }
    ),
    "Message": _messages(),
    "Hold": _object(
        {
            "tenant": _TEXT,
            "name": _TEXT,
            "status": {
                "type": "string",
                "enum": ["active", "releasing", "released"],
                "description": "releasing: released, but in force until `effective_at`",
            },
            "reason": _TEXT,
            "filters": {
                "type": "object",
                "description": "filter → values; without any it holds everything",
                "additionalProperties": _list(_TEXT),
            },
            "created_at": _TIME,
            "created_by": _TEXT,
            "released_at": _TIME_OR_NONE,
            "effective_at": _TIME_OR_NONE,
            "released_by": _TEXT_OR_NONE,
            "release_reason": _TEXT_OR_NONE,
        }
    ),
    "Holds": _object({"holds": _list(ref("Hold"))}),
    "HoldRequest": _object(
        {
            "name": {"type": "string", "pattern": NAME.pattern, "description": "means one hold for ever"},
            "reason": {"type": "string", "minLength": 1, "maxLength": 1_000},
            "filters": {
                "type": "object",
                "description": "filter → value or values, absolute times only; none is everything",
                "additionalProperties": {"type": ["string", "array"], "items": _TEXT},
            },
        },
        optional=("filters",),
    ),
    "TicketRequest": _object(
        {
            "org": _TEXT,
            "user": _TEXT,
            "role": {"type": "string", "enum": ["admin", "auditor"], "default": "admin"},
            "ttl_s": {"type": "integer", "minimum": 10, "maximum": 600, "default": 600},
        },
        optional=("role", "ttl_s"),
    ),
    "Tickets": _object(
        {
            "org": _TEXT,
            "user": _TEXT,
            "role": _TEXT,
            "url": {"type": "string", "format": "uri", "description": "logs in, once"},
            "stream_ticket": {"type": "string", "description": "`ticket` of the stream, once"},
            "stream_url": {"type": "string", "format": "uri"},
            "expires_in_s": _COUNT,
        }
    ),
    "Health": _object(
        {"status": _TEXT, "degraded": _list(_TEXT), "tenants": _list({"type": "object"})},
        optional=("degraded", "tenants"),
    ),
    "Problem": {
        "description": "RFC 9457",
        **_object(
            {
                "type": _TEXT,
                "title": _TEXT,
                "status": {"type": "integer"},
                "detail": _TEXT,
                "hint": {"type": "string", "description": "what to do about it; may be empty"},
                "request_id": {"type": "string", "format": "uuid"},
                "parameter": {"type": "string", "description": "the query parameter that was refused"},
            },
            optional=("parameter",),
        ),
    },
}
