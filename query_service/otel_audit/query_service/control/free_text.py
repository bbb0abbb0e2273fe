"""What people type into commands and forms, without its secrets: they paste passwords everywhere.

Rows of the control database and reads that wait are on a disk before the receiver has seen their event, so
they are redacted here, by the same rules.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any, Final

from otel_audit.exporter.redaction import policy
from otel_audit.exporter.redaction.engine import ENGINE_ERROR_MARKER, Redactor
from otel_audit.exporter.redaction.identity import session_hash
from otel_audit.exporter.redaction.rules import ENGINE_ERROR, load_rules
from otel_audit.instrumentation.event import AuditEvent

# Field of an event → the column it becomes. Others are words of the vocabulary, numbers and UUIDs.
_COLUMNS: Final = {
    "message": "message",
    "user_id": "user_id",
    "user_email": "user_email",
    "user_name": "user_name",
    "on_behalf_of": "on_behalf_of",
    "client_address": "client_address",
    "user_agent": "user_agent",
    "target_type": "resource_type",
    "target_id": "resource_id",
    "target_name": "resource_name",
    "http_method": "http_method",
    "http_route": "http_route",
}


def prose(text: str) -> str:
    """A reason or the like, as a message is stored: without secrets, personal data masked."""
    return _engine().text(text, personal=True, field="message")[0]


def label(text: str) -> str:
    """A name somebody chose, without secrets; personal data stays, as in every identity column."""
    return _engine().text(text, personal=False, field="resource_id")[0]


def has_secret(text: str) -> bool:
    """Whether a text that must be kept as it is, to match others, may not be kept."""
    return label(text) != text


def redacted(event: AuditEvent) -> AuditEvent:
    """The event as the store will keep it. Redacting it again there changes nothing."""
    fields: dict[str, Any] = {
        name: _engine().text(value, personal=policy.is_personal(column), field=column)[0]
        for name, column in _COLUMNS.items()
        if (value := getattr(event, name)) is not None
    }
    fields["user_roles"] = tuple(label(role) for role in event.user_roles)
    if event.session_id is not None:
        fields["session_id"] = session_hash(event.session_id)
    fields["attributes"] = _tree(dict(event.attributes), "attributes")
    if event.changes:
        # Side by side, so that a value under a sensitive name is dropped and its pair stays a pair.
        sides = [_tree({n: pair[side] for n, pair in event.changes.items()}, "changes") for side in (0, 1)]
        fields["changes"] = {
            name: (before, sides[1].get(name, ENGINE_ERROR_MARKER)) for name, before in sides[0].items()
        }
    return replace(event, **fields)


def _tree(value: dict[str, Any], column: str) -> dict[str, Any]:
    found = _engine().tree(value, personal=True, field=column)[0]
    return found if isinstance(found, dict) else {ENGINE_ERROR: ENGINE_ERROR_MARKER}


@cache
def _engine() -> Redactor:
    return Redactor(load_rules(), matcher="re2")
