"""The audit events that tell how the trail itself was read, and who was refused."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any, Final

from otel_audit.instrumentation.event import AuditEvent
from otel_audit.instrumentation.ids import canonical_uuid, uuid7
from otel_audit.instrumentation.vocabulary import default_severity

from ..auth.principal import Principal
from ..auth.refusals import RefusalKey, Tally
from ..auth.request_facts import RequestFacts

# Tenant ids and addresses are shorter; more of what a stranger typed tells nothing.
_NAME_CHARS_MAX: Final = 64
# A filter value longer than this cannot match anything an investigator would type.
_DETAIL_CHARS_MAX: Final = 1_024

SEARCH_PURPOSE: Final = "search-text"
"""Purpose of the key that hashes free-text searches."""

# What a person did with the trail → category, action and words of the event that tells it.
_READS: Final[Mapping[str, tuple[str, str, str]]] = {
    "search": ("system", "search", "searched the audit trail"),
    "read": ("data_access", "read", "viewed an audit event"),
    "export": ("system", "export", "exported from the audit trail"),
    "stream": ("system", "stream", "watched the audit trail live"),
    "holds": ("data_access", "read", "viewed the legal holds"),
    "redaction": ("data_access", "read", "viewed the redaction rules"),
}
_SETTINGS: Final = {"holds": "hold", "redaction": "redaction"}
# A stream goes on after its handshake, and is told before it.
_ANSWERED: Final = frozenset({"search", "read", "export", "redaction"})


def read_event(
    org: str,
    principal: Principal,
    facts: RequestFacts,
    action: str,
    details: Mapping[str, Any],
    now_ns: int,
    key: bytes = b"",
) -> AuditEvent:
    """The event of a read. action: one of _READS; details become attributes.

    A detail `event_id` is the target, otherwise it is the organization's trail. key: the organization's, for
    what was searched as free text: people paste passwords there, so only a keyed hash of it is kept.
    """
    category, name, did = _READS[action]
    event_id = details.get("event_id")
    answered = 404 if details.get("found") is False else 200
    target = ("audit_trail", org) if event_id is None else ("audit_event", str(event_id))
    if action in _SETTINGS:
        target = (_SETTINGS[action], org)
    return _event(
        facts,
        time_unix_nano=now_ns,
        category=category,
        action=name,
        http_status=answered if action in _ANSWERED and facts.method is not None else None,
        message=f"{principal.user} {did}",
        target_type=target[0],
        target_id=target[1],
        attributes={f"otel_audit.{name}": _detail(value) for name, value in _hidden(details, key).items()},
        **_identity(principal),
    )


def refusal_event(key: RefusalKey, tally: Tally) -> AuditEvent:
    """The event of one refusal or of several alike; attribute `count` says how many."""
    asked = list(tally.names)
    attributes: dict[str, Any] = {
        "count": tally.count,
        "otel_audit.reason": key.reason,
        "otel_audit.first_time_unix_nano": tally.first_ns,
        "otel_audit.last_time_unix_nano": tally.last_ns,
    }
    if isinstance(key.caller, Principal):
        who = _identity(key.caller)
    elif key.caller is not None:
        who = {"user_id": key.caller, "user_type": "user"}
    else:
        who = {"user_type": "anonymous"}
        attributes["otel_audit.caller"] = key.address
    if len(asked) > 1:
        attributes["otel_audit.organizations"] = asked
    times = f", {tally.count} times" if tally.count > 1 else ""
    return _event(
        tally.facts,
        time_unix_nano=tally.last_ns,
        category="security",
        action="access_denied",
        outcome="denied",
        http_status=key.status,
        message=f"refused with {key.status}{times}: {key.reason}",
        target_type="audit_trail",
        target_id=asked[0] if asked else None,
        attributes=attributes,
        **who,
    )


def plain(text: str) -> str:
    """What a stranger typed, made fit for a line of text: printable and short."""
    return "".join(c if c.isprintable() else "?" for c in text[:_NAME_CHARS_MAX])


def _event(facts: RequestFacts, **fields: Any) -> AuditEvent:
    return AuditEvent(
        record_id=uuid7(),
        severity=default_severity(fields["category"], fields["action"]),
        request_id=canonical_uuid(facts.request_id),
        client_address=facts.client_address,
        user_agent=facts.user_agent,
        http_method=facts.method,
        http_route=facts.route,
        **fields,
    )


def _identity(principal: Principal) -> dict[str, Any]:
    user = principal.user
    return {
        "user_id": user,
        "user_email": user if "@" in user else None,
        "user_type": "user",
        "user_roles": (principal.role,),
        "session_id": principal.credential_id if principal.credential == "session" else None,
    }


def _hidden(details: Mapping[str, Any], key: bytes) -> Mapping[str, Any]:
    filters = details.get("filters")
    if not isinstance(filters, Mapping) or not filters.get("q"):
        return details
    hashed = [f"[SEARCH_TEXT:{hmac.digest(key, text.encode(), 'sha256').hex()[:8]}]" for text in filters["q"]]
    return {**details, "filters": {**filters, "q": hashed}}


def _detail(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(name): _detail(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_detail(item) for item in value]
    return str(value)[:_DETAIL_CHARS_MAX]
