"""One audit event as a value: validated when made, immutable, and rendered as OpenTelemetry attributes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from otel_audit.instrumentation.errors import AuditError
from otel_audit.instrumentation.ids import canonical_uuid
from otel_audit.instrumentation.values import beginning, clean_map, clean_text
from otel_audit.instrumentation.vocabulary import (
    CATALOGUE,
    EVENT_PREFIX,
    ActorType,
    Attr,
    Category,
    Outcome,
    RetentionClass,
    Severity,
)

_ACTION: Final = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
ACTION_CHARS_MAX: Final = 64
MESSAGE_CHARS_MAX: Final = 1024


class InvalidEvent(AuditError):
    """The values given do not make an audit event; `field` names the one at fault."""

    def __init__(self, field: str, message: str, *, hint: str = "") -> None:
        super().__init__(f"{field}: {message}", hint=hint)
        self.field = field


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """Who did what to what, when, from where and how it ended.

    time_unix_nano: ns since 1970-01-01 UTC. record_id: canonical UUID, the idempotency key.
    changes: field → (before, after), changed fields only; None stands for absent.
    attributes: everything else, names as sent; typed fields win over attributes of the same name.
    Raises InvalidEvent; the words of the vocabulary are accepted as plain text.
    """

    record_id: str
    time_unix_nano: int
    category: str
    action: str
    outcome: str = Outcome.SUCCESS.value
    severity: str = Severity.INFO.value
    message: str | None = None
    user_id: str | None = None
    user_email: str | None = None
    user_name: str | None = None
    user_type: str | None = None
    user_roles: Sequence[str] = ()
    on_behalf_of: str | None = None
    client_address: str | None = None
    user_agent: str | None = None
    session_id: str | None = None
    target_type: str | None = None
    target_id: str | None = None
    target_name: str | None = None
    changes: Mapping[str, tuple[Any, Any]] | None = None
    request_id: str | None = None
    http_method: str | None = None
    http_route: str | None = None
    http_status: int | None = None
    retention_class: str | None = None
    tenant: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        put = object.__setattr__
        for name, words in _WORDS.items():
            put(self, name, _word(name, getattr(self, name), words))
        if not isinstance(self.action, str) or not _ACTION.fullmatch(self.action):
            raise InvalidEvent("action", "not lower snake case", hint="use a name such as file_shared")
        if len(self.action) > ACTION_CHARS_MAX:
            raise InvalidEvent("action", f"longer than {ACTION_CHARS_MAX} characters")
        for name in ("record_id", "request_id"):
            put(self, name, _uuid(name, getattr(self, name)))
        if isinstance(self.time_unix_nano, bool) or not 0 < self.time_unix_nano < 2**63:
            raise InvalidEvent("time_unix_nano", "not a time in ns since 1970-01-01 UTC")
        if self.http_status is not None and not 100 <= self.http_status <= 599:
            raise InvalidEvent("http_status", "not between 100 and 599")
        for name in _TEXTS:
            value = getattr(self, name)
            put(self, name, None if value is None or value == "" else clean_text(str(value)))
        put(self, "message", _one_line(self.message) or None)
        roles = [self.user_roles] if isinstance(self.user_roles, str) else self.user_roles or ()
        put(self, "user_roles", tuple(clean_text(str(role)) for role in roles))
        put(self, "changes", _changes(self.changes))

    @property
    def event_name(self) -> str:
        """`audit.<category>.<action>`, the log record's event name."""
        return f"{EVENT_PREFIX}{self.category}.{self.action}"

    @property
    def summary(self) -> str:
        """The message, or one line made of the action, the target and an outcome other than success."""
        if self.message:
            return self.message
        known = CATALOGUE.get((self.category, self.action))
        words = [known.summary if known else self.action.replace("_", " ").capitalize()]
        words += [word for word in (self.target_type, self.target_name or self.target_id) if word]
        if known is None or self.outcome in (Outcome.DENIED, Outcome.UNKNOWN):
            words.append(f"({self.outcome})")
        return _one_line(" ".join(words))

    def to_attributes(self) -> dict[str, Any]:
        """The event as attributes of an OpenTelemetry log record.

        Values are text, numbers, booleans, bytes, and lists and maps of these; absent fields have no entry.
        """
        attributes = clean_map(self.attributes) if self.attributes else {}
        for name, attribute in _ATTRIBUTES.items():
            value = getattr(self, name)
            if value is not None and value != ():
                attributes[attribute] = list(value) if isinstance(value, tuple) else value
        if self.changes:
            for position, attribute in enumerate((Attr.CHANGE_BEFORE, Attr.CHANGE_AFTER)):
                side = clean_map({name: pair[position] for name, pair in self.changes.items()})
                if side:
                    attributes[attribute] = side
        return attributes


_WORDS: Final[dict[str, type[Category | Outcome | Severity | ActorType | RetentionClass]]] = {
    "category": Category,
    "outcome": Outcome,
    "severity": Severity,
    "user_type": ActorType,
    "retention_class": RetentionClass,
}
_OPTIONAL_WORDS: Final = frozenset({"user_type", "retention_class"})
_ATTRIBUTES: Final[dict[str, str]] = {
    "record_id": Attr.RECORD_ID,
    "category": Attr.CATEGORY,
    "action": Attr.ACTION,
    "outcome": Attr.OUTCOME,
    "user_id": Attr.ACTOR_ID,
    "user_type": Attr.ACTOR_TYPE,
    "on_behalf_of": Attr.ACTOR_ON_BEHALF_OF,
    "user_email": Attr.USER_EMAIL,
    "user_name": Attr.USER_NAME,
    "user_roles": Attr.USER_ROLES,
    "client_address": Attr.CLIENT_ADDRESS,
    "user_agent": Attr.USER_AGENT,
    "session_id": Attr.SESSION_ID,
    "target_type": Attr.TARGET_TYPE,
    "target_id": Attr.TARGET_ID,
    "target_name": Attr.TARGET_NAME,
    "request_id": Attr.REQUEST_ID,
    "http_method": Attr.HTTP_METHOD,
    "http_route": Attr.HTTP_ROUTE,
    "http_status": Attr.HTTP_STATUS,
    "retention_class": Attr.RETENTION_CLASS,
    "tenant": Attr.TENANT_ID,
}
_TEXTS: Final = tuple(
    name
    for name in _ATTRIBUTES
    if name not in {*_WORDS, "record_id", "request_id", "action", "http_status", "user_roles"}
)


def _word(
    name: str, value: Any, words: type[Category | Outcome | Severity | ActorType | RetentionClass]
) -> str | None:
    if value is None and name in _OPTIONAL_WORDS:
        return None
    try:
        return words(value).value
    except ValueError:
        allowed = ", ".join(word.value for word in words)
        raise InvalidEvent(name, "unknown word", hint=f"one of {allowed}") from None


def _uuid(name: str, value: Any) -> str | None:
    if value is None and name == "request_id":
        return None
    canonical = canonical_uuid(value if value is None else str(value))
    if canonical is None:
        raise InvalidEvent(name, "neither a UUID nor 32 hex digits")
    return canonical


def _one_line(text: str | None) -> str:
    line = clean_text(" ".join(str(text).split())) if text else ""
    return line if len(line) <= MESSAGE_CHARS_MAX else f"{beginning(line, MESSAGE_CHARS_MAX - 1)}…"


def _changes(changes: Mapping[str, Any] | None) -> dict[str, tuple[Any, Any]] | None:
    if not changes:
        return None
    pairs: dict[str, tuple[Any, Any]] = {}
    for name, pair in changes.items():
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise InvalidEvent("changes", "not pairs of before and after", hint='{"name": ("old", "new")}')
        if pair[0] is not None or pair[1] is not None:
            pairs[str(name)] = (pair[0], pair[1])
    return pairs or None
