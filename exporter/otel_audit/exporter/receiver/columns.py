"""Which attribute fills which column. What does not fit its column stays an attribute: nothing is lost."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from otel_audit.instrumentation.ids import canonical_uuid
from otel_audit.instrumentation.vocabulary import ActorType, Attr, Outcome

from .values import json_text, json_value

Attributes = dict[str, Any]
Row = dict[str, Any]

TEXT_COLUMNS: Final = (
    ("user_email", Attr.USER_EMAIL),
    ("user_name", Attr.USER_NAME),
    ("on_behalf_of", Attr.ACTOR_ON_BEHALF_OF),
    ("client_address", Attr.CLIENT_ADDRESS),
    ("user_agent", Attr.USER_AGENT),
    ("resource_type", Attr.TARGET_TYPE),
    ("resource_id", Attr.TARGET_ID),
    ("resource_name", Attr.TARGET_NAME),
    ("http_method", Attr.HTTP_METHOD),
    ("http_route", Attr.HTTP_ROUTE),
    ("emitter_id", Attr.EMITTER_ID),
)
_ACTOR_IDS: Final = (Attr.ACTOR_ID, Attr.USER_ID, Attr.ENDUSER_ID)
RESOURCE_COLUMNS: Final = (
    ("service_name", ("service.name",)),
    ("service_version", ("service.version",)),
    ("service_instance_id", ("service.instance.id",)),
    ("deployment_environment", ("deployment.environment.name", "deployment.environment")),
)
_DIGITS: Final = re.compile(r"[0-9]{1,18}")
_INT32_MAX: Final = 2**31 - 1
_INT64_MAX: Final = 2**63 - 1


def fill_columns(attributes: Attributes, row: Row) -> None:
    """Move what has a column from `attributes` (JSON values) to `row`; the resource's columns are filled."""
    for column, name in TEXT_COLUMNS:
        if name in attributes and (text := take_text(attributes, name)) is not None:
            row[column] = text
    _fill_actor(attributes, row)
    _fill_session(attributes, row)
    _fill_request(attributes, row)
    _fill_number(attributes, row, "http_status", Attr.HTTP_STATUS, _INT32_MAX)
    _fill_number(attributes, row, "emitter_seq", Attr.EMITTER_SEQ, _INT64_MAX)
    row.setdefault("emitter_id", row.get("service_instance_id"))
    row["outcome"] = take_word(attributes, Attr.OUTCOME, Outcome) or Outcome.UNKNOWN.value
    # An app that redacts has left out what is equal already; two markers may stand for two values.
    changes = _take_changes(attributes, equal=row.get("app_redactions") is not None)
    if changes:
        row["changes"] = json_text(changes)


def resource_columns(resource: Attributes) -> Row:
    """The columns of a resource's attributes (JSON values), which keep all of them in otel_resource."""
    row: Row = {"otel_resource": json_text(resource)}
    for column, names in RESOURCE_COLUMNS:
        row[column] = next(
            (text for name in names if (text := as_text(resource.get(name))) is not None), None
        )
    return row


def put(attributes: Attributes, name: str, value: Any) -> None:
    """Add what the receiver says; an attribute that already has the name keeps its value under another."""
    if name in attributes and attributes[name] != value:
        attributes[f"{name}.received"] = attributes.pop(name)
    attributes[name] = value


def as_text(value: Any) -> str | None:
    """A value as a text column holds it: non-empty text, or a whole number in digits; else None."""
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def take_text(attributes: Attributes, name: str) -> str | None:
    """The text of an attribute, which is removed; None, and it stays, when it is no usable text."""
    text = as_text(attributes.get(name))
    if text is not None:
        del attributes[name]
    return text


def take_word(attributes: Attributes, name: str, words: Any) -> str | None:
    """The attribute when it is one of a StrEnum's words, any case; None, and it stays, when it is not."""
    value = attributes.get(name)
    word = value.lower() if isinstance(value, str) else None
    if word not in tuple(words):
        return None
    del attributes[name]
    return word


def _fill_actor(attributes: Attributes, row: Row) -> None:
    for name in _ACTOR_IDS:
        text = as_text(attributes.get(name))
        if text is None:
            continue
        if "user_id" not in row:
            row["user_id"] = text
        # Another id than the first one stays an attribute.
        if row["user_id"] == text:
            del attributes[name]
    roles = attributes.get(Attr.USER_ROLES)
    texts = [as_text(role) for role in (roles if isinstance(roles, list) else [roles])]
    if texts and all(text is not None for text in texts):
        row["user_roles"] = texts
        del attributes[Attr.USER_ROLES]
    known = take_word(attributes, Attr.ACTOR_TYPE, ActorType)
    row["user_type"] = known or (ActorType.USER.value if "user_id" in row else None)


def _fill_session(attributes: Attributes, row: Row) -> None:
    session = attributes.pop(Attr.SESSION_ID, None)
    if session is not None and session != "":
        # Whatever its type: a session id is a secret, and only this column is hashed.
        row["session_id"] = as_text(session) or json_text(session)


def _fill_request(attributes: Attributes, row: Row) -> None:
    value = attributes.get(Attr.REQUEST_ID)
    request_id = canonical_uuid(value) if isinstance(value, str) else None
    if request_id is not None:
        row["request_id"] = request_id
        del attributes[Attr.REQUEST_ID]


def _fill_number(attributes: Attributes, row: Row, column: str, name: str, most: int) -> None:
    value = attributes.get(name)
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most:
        row[column] = value
        del attributes[name]


def _take_changes(attributes: Attributes, *, equal: bool) -> dict[str, Any] | None:
    before = _fields(attributes.get(Attr.CHANGE_BEFORE))
    after = _fields(attributes.get(Attr.CHANGE_AFTER))
    if before is None or after is None:
        return None
    attributes.pop(Attr.CHANGE_BEFORE, None)
    attributes.pop(Attr.CHANGE_AFTER, None)
    changes: dict[str, Any] = {}
    for field in (*before, *(name for name in after if name not in before)):
        old, new = before.get(field), after.get(field)
        # 1, 1.0 and true are equal to Python but not to who reads the trail.
        if equal or json_text(old) != json_text(new):
            changes[field] = {"before": old, "after": new}
    return changes


def _fields(value: Any) -> dict[str, Any] | None:
    """The fields of one side of a change; {} when there is none, None when it is no map."""
    if value is None:
        return {}
    if isinstance(value, str):
        try:
            value = json_value(json.loads(value))
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None
