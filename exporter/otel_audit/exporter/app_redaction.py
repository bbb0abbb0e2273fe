"""Redacts events in the app, before anything waits for the network: the receiver's rules, run by `re`.

What needs a tenant's keys or policy stays with the receiver: names typed by unknown users, tokens, policies.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from opentelemetry.sdk._logs import LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk.resources import Resource

from otel_audit.exporter.redaction.engine import ENGINE_ERROR_MARKER, Redactor
from otel_audit.exporter.redaction.identity import session_hash
from otel_audit.exporter.redaction.policy import LIST_COLUMNS
from otel_audit.exporter.redaction.rules import ENGINE_ERROR, load_rules
from otel_audit.exporter.redaction.tree import free_name
from otel_audit.instrumentation.ids import canonical_uuid
from otel_audit.instrumentation.vocabulary import CATALOGUE, Attr, Category, Outcome, RetentionClass

REDACTIONS_MAX: Final = 64
"""Entries of evidence an event carries; more are not sent."""

_PLAIN: Final[Mapping[str, str]] = MappingProxyType(
    {
        Attr.RECORD_ID: "event_id",
        Attr.CATEGORY: "category",
        Attr.ACTION: "action",
        Attr.OUTCOME: "outcome",
        Attr.ACTOR_ID: "user_id",
        Attr.USER_ID: "user_id",
        Attr.ENDUSER_ID: "user_id",
        Attr.ACTOR_TYPE: "user_type",
        Attr.ACTOR_ON_BEHALF_OF: "on_behalf_of",
        Attr.USER_EMAIL: "user_email",
        Attr.USER_NAME: "user_name",
        Attr.USER_ROLES: "user_roles",
        Attr.CLIENT_ADDRESS: "client_address",
        Attr.TARGET_TYPE: "resource_type",
        Attr.TARGET_ID: "resource_id",
        Attr.REQUEST_ID: "request_id",
        Attr.HTTP_METHOD: "http_method",
        Attr.RETENTION_CLASS: "retention",
        Attr.EMITTER_ID: "emitter_id",
        Attr.TENANT_ID: "tenant",
    }
)
"""Attribute → column of what names things and people: secrets go, personal data stays."""

_FREE: Final[Mapping[str, str]] = MappingProxyType(
    {
        Attr.USER_AGENT: "user_agent",
        Attr.TARGET_NAME: "resource_name",
        Attr.HTTP_ROUTE: "http_route",
        Attr.CHANGE_BEFORE: "changes",
        Attr.CHANGE_AFTER: "changes",
    }
)
"""Attribute → column of text: personal data is masked."""

_COLUMNS: Final = frozenset({*_PLAIN, *_FREE, Attr.SESSION_ID})
_SERVICE: Final = frozenset(
    {
        "service.name",
        "service.version",
        "service.instance.id",
        "deployment.environment",
        "deployment.environment.name",
    }
)

_CERTAIN: Final[Mapping[str, Callable[[str], bool]]] = MappingProxyType(
    {
        Attr.RECORD_ID: lambda text: canonical_uuid(text) == text,
        Attr.REQUEST_ID: lambda text: canonical_uuid(text) == text,
        Attr.EMITTER_ID: lambda text: canonical_uuid(text) == text,
        Attr.CATEGORY: lambda text: text in tuple(Category),
        Attr.ACTION: lambda text: text in {action for _, action in CATALOGUE},
        Attr.OUTCOME: lambda text: text in tuple(Outcome),
        Attr.RETENTION_CLASS: lambda text: text in tuple(RetentionClass),
    }
)
"""Attribute → whether its text is one of a few words, or an id this process made."""

Hits = Counter[tuple[str, str]]
_logger: Final = logging.getLogger("otel_audit")


@cache
def app_redactor() -> Redactor:
    """The engine of this process, made on first use. Raises RuleError."""
    return Redactor(load_rules(), matcher="re")


class RedactingProcessor(LogRecordProcessor):
    """Redacts each record in place before the next processor sees it. Never raises.

    personal: whether personal data is masked here, or left to the receiver. of_resource: what was hidden in
    the resource that goes along with every record.
    """

    def __init__(self, *, personal: bool = True, of_resource: Hits | None = None) -> None:
        self._personal = personal
        self._of_resource: Hits = of_resource or Counter()

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Redact one record; a record that cannot be redacted loses all it said but its ids and class."""
        record = log_record.log_record
        try:
            redacted = _Event(app_redactor(), self._personal, self._of_resource)
            record.attributes = redacted.attributes(dict(record.attributes or {}))
            record.body = redacted.body(record.body)
            record.event_name = redacted.text(record.event_name, "event_name", personal=False)
            if redacted.hits:
                record.attributes = {**record.attributes, Attr.REDACTIONS: _evidence(redacted.hits)}
        except Exception as error:  # noqa: BLE001 - whatever failed, nothing unredacted leaves and the app goes on
            _logger.warning("an audit event could not be redacted: %s", type(error).__name__)
            record.attributes = _certain(record.attributes or {})
            record.body, record.event_name = ENGINE_ERROR_MARKER, None

    def shutdown(self) -> None:
        """Nothing to end."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing waits in here."""
        return True


def redacted_resource(resource: Resource, *, personal: bool) -> tuple[Resource, Hits]:
    """The resource without secrets in its attributes, and what was hidden.

    Names of the service keep personal data, as in the columns they fill.
    """
    attributes: dict[str, Any] = {}
    hits: Hits = Counter()
    for name, value in resource.attributes.items():
        masked = personal and name not in _SERVICE
        tree, found = app_redactor().tree({name: value}, personal=masked, field="otel_resource")
        hits.update(found)
        for shown, item in (tree if isinstance(tree, dict) else {ENGINE_ERROR: tree}).items():
            attributes[free_name(shown, attributes)] = item
    return Resource(attributes, resource.schema_url), hits


def _certain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What of an event can hold no secret whatever the engine says: ids made here, numbers, fixed words."""
    kept = {name: str(attributes.get(name)) for name in _CERTAIN}
    known = {name: value for name, value in kept.items() if _CERTAIN[name](value)}
    number = attributes.get(Attr.EMITTER_SEQ)
    return known | ({Attr.EMITTER_SEQ: number} if type(number) is int else {})


class _Event:
    """One event on its way. hits: what was hidden, by rule and column or path."""

    def __init__(self, redactor: Redactor, personal: bool, hits: Hits) -> None:
        self._redactor, self._personal = redactor, personal
        self.hits: Hits = Counter(hits)

    def attributes(self, attributes: dict[str, Any]) -> dict[str, Any]:
        session = attributes.get(Attr.SESSION_ID)
        if session is not None and session != "":
            # Whatever its type: a session id is a secret.
            attributes[Attr.SESSION_ID] = session_hash(
                session if isinstance(session, str) else _json(session)
            )
        # Looking at all of it at once is cheap, and most events have nothing to hide.
        if not self._is_suspect(attributes):
            return attributes
        _leave_out_equal(attributes)
        # Together, as the receiver sees them: what one of them is may be told by another.
        others = {name: value for name, value in attributes.items() if name not in _COLUMNS}
        tree, hits = self._redactor.tree(others, personal=self._personal, field="attributes")
        self.hits.update(hits)
        shown = iter((tree if isinstance(tree, dict) else {ENGINE_ERROR: tree}).items())
        result: dict[str, Any] = {}
        for name, value in attributes.items():
            if name in others:
                # A walk keeps number and order; of a tree it could not walk there is one marker.
                result.update([item] if (item := next(shown, None)) else ())
            elif name == Attr.SESSION_ID:
                result[name] = value
            else:
                column = _PLAIN.get(name) or _FREE[name]
                result[name] = self._value(value, column, personal=self._personal and name in _FREE)
        return result

    def body(self, body: Any) -> Any:
        return self._value(body, "message", personal=self._personal) if body is not None else None

    def text(self, value: str | None, column: str, *, personal: bool) -> str | None:
        if not value:
            return value
        redacted, counts = self._redactor.text(value, personal=personal, field=column)
        self.hits.update({(rule, column): count for rule, count in counts.items()})
        return redacted

    def _value(self, value: Any, column: str, *, personal: bool) -> Any:
        if isinstance(value, str):
            return self.text(value, column, personal=personal)
        if column in LIST_COLUMNS and isinstance(value, list | tuple):
            # Names one by one, no text in pieces.
            return [self._value(item, column, personal=personal) for item in value]
        tree, hits = self._redactor.tree(value, personal=personal, field=column)
        self.hits.update(hits)
        return tree

    def _is_suspect(self, attributes: Mapping[str, Any]) -> bool:
        named = {name: value for name, value in attributes.items() if name in _PLAIN}
        rest = {name: value for name, value in attributes.items() if name not in _PLAIN}
        try:
            # Who it was is no suspicion: nearly every event has an address of somebody.
            return self._redactor.suspect(_json(named), personal=False) or self._redactor.suspect(
                _json(rest), personal=self._personal
            )
        except Exception:  # noqa: BLE001 - what cannot be looked at is looked into
            return True


def _leave_out_equal(attributes: dict[str, Any]) -> None:
    """Drop fields of a change that did not change: once redacted, changed ones may look alike too."""
    before, after = attributes.get(Attr.CHANGE_BEFORE), attributes.get(Attr.CHANGE_AFTER)
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        equal = {name for name in before if name in after and _json(before[name]) == _json(after[name])}
        for side, fields in ((Attr.CHANGE_BEFORE, before), (Attr.CHANGE_AFTER, after)):
            attributes[side] = {name: value for name, value in fields.items() if name not in equal}


def _evidence(hits: Hits) -> str:
    return _json([{"rule": r, "field": f, "count": n} for (r, f), n in sorted(hits.items())[:REDACTIONS_MAX]])


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str, separators=(",", ":"))
