"""The words of an audit event: categories, actions, severities, attribute names, retention classes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Category(StrEnum):
    """What an event is about; these four and no others."""

    AUTHENTICATION = "authentication"
    DATA_ACCESS = "data_access"
    SECURITY = "security"
    SYSTEM = "system"


class Outcome(StrEnum):
    """How the action ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    DENIED = "denied"
    UNKNOWN = "unknown"


class Severity(StrEnum):
    """How much attention an event deserves, rising."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class ActorType(StrEnum):
    """What kind of actor did it."""

    USER = "user"
    SERVICE = "service"
    SYSTEM = "system"
    ANONYMOUS = "anonymous"


class RetentionClass(StrEnum):
    """How long an event is kept: `standard` 6 months, `rag` 3 months, unless a tenant says otherwise."""

    STANDARD = "standard"
    RAG = "rag"


class Attr:
    """Names of the OpenTelemetry attributes that carry an audit event."""

    RECORD_ID: Final = "audit.record.id"
    CATEGORY: Final = "audit.category"
    ACTION: Final = "audit.action"
    OUTCOME: Final = "audit.outcome"
    ACTOR_ID: Final = "audit.actor.id"
    ACTOR_TYPE: Final = "audit.actor.type"
    ACTOR_ON_BEHALF_OF: Final = "audit.actor.on_behalf_of"
    USER_ID: Final = "user.id"
    ENDUSER_ID: Final = "enduser.id"
    USER_EMAIL: Final = "user.email"
    USER_NAME: Final = "user.name"
    USER_ROLES: Final = "user.roles"
    CLIENT_ADDRESS: Final = "client.address"
    USER_AGENT: Final = "user_agent.original"
    SESSION_ID: Final = "session.id"
    TARGET_TYPE: Final = "audit.target.type"
    TARGET_ID: Final = "audit.target.id"
    TARGET_NAME: Final = "audit.target.name"
    CHANGE_BEFORE: Final = "audit.change.before"
    CHANGE_AFTER: Final = "audit.change.after"
    REQUEST_ID: Final = "audit.request.id"
    HTTP_METHOD: Final = "http.request.method"
    HTTP_ROUTE: Final = "http.route"
    HTTP_STATUS: Final = "http.response.status_code"
    RETENTION_CLASS: Final = "audit.retention.class"
    EMITTER_ID: Final = "audit.emitter.id"
    EMITTER_SEQ: Final = "audit.sequence.number"
    TENANT_ID: Final = "audit.tenant.id"
    TENANT_CLAIMED: Final = "audit.tenant.claimed"
    REDACTIONS: Final = "audit.redactions"


EVENT_PREFIX: Final = "audit."

SEVERITY_NUMBER: Final[dict[Severity, int]] = {
    Severity.INFO: 9,
    Severity.WARNING: 13,
    Severity.ERROR: 17,
    Severity.CRITICAL: 21,
}
"""The OpenTelemetry severity number each severity is emitted as."""


def severity_of(number: int) -> Severity:
    """The severity of an OpenTelemetry severity number; 0 (unspecified) and below count as info."""
    if number <= 12:
        return Severity.INFO
    if number <= 16:
        return Severity.WARNING
    return Severity.ERROR if number <= 20 else Severity.CRITICAL


@dataclass(frozen=True, slots=True)
class Action:
    """One entry of the catalogue. owasp: its name in OWASP's logging vocabulary, None where it has none."""

    category: Category
    name: str
    severity: Severity
    owasp: str | None
    summary: str


_INFO, _WARNING, _ERROR = Severity.INFO, Severity.WARNING, Severity.ERROR
_ROWS: Final = (
    (Category.AUTHENTICATION, "login", _INFO, "authn_login_success", "Signed in"),
    (Category.AUTHENTICATION, "logout", _INFO, None, "Signed out"),
    (Category.AUTHENTICATION, "login_failed", _WARNING, "authn_login_fail", "Failed to sign in"),
    (Category.AUTHENTICATION, "mfa_enroll", _INFO, None, "Enrolled a second factor"),
    (Category.AUTHENTICATION, "mfa_verify", _INFO, None, "Verified a second factor"),
    (Category.AUTHENTICATION, "mfa_failed", _WARNING, "authn_login_fail", "Failed the second factor"),
    (Category.AUTHENTICATION, "sso_login", _INFO, "authn_login_success", "Signed in by SSO"),
    (Category.AUTHENTICATION, "sso_failed", _WARNING, "authn_login_fail", "Failed to sign in by SSO"),
    (Category.AUTHENTICATION, "session_expired", _INFO, "session_expired", "Session expired"),
    (Category.DATA_ACCESS, "create", _INFO, "sensitive_create", "Created"),
    (Category.DATA_ACCESS, "read", _INFO, "sensitive_read", "Read"),
    (Category.DATA_ACCESS, "update", _INFO, "sensitive_update", "Updated"),
    (Category.DATA_ACCESS, "delete", _INFO, "sensitive_delete", "Deleted"),
    (Category.DATA_ACCESS, "upload", _INFO, "upload_complete", "Uploaded"),
    (Category.DATA_ACCESS, "download", _INFO, "sensitive_read", "Downloaded"),
    (Category.DATA_ACCESS, "response_generate", _INFO, None, "Generated a response"),
    (Category.DATA_ACCESS, "retrieve", _INFO, "sensitive_read", "Retrieved"),
    (Category.SECURITY, "permission_change", _WARNING, "authz_change", "Changed permissions"),
    (Category.SECURITY, "access_denied", _WARNING, "authz_fail", "Access denied"),
    (Category.SECURITY, "suspicious_activity", _INFO, None, "Suspicious activity"),
    (Category.SECURITY, "password_change", _INFO, "authn_password_change", "Changed the password"),
    (Category.SECURITY, "password_reset", _INFO, "authn_password_change", "Reset the password"),
    (Category.SECURITY, "key_create", _WARNING, "authn_token_created", "Created a key"),
    (Category.SECURITY, "key_revoke", _WARNING, "authn_token_revoked", "Revoked a key"),
    (Category.SYSTEM, "task_completed", _INFO, None, "Task completed"),
    (Category.SYSTEM, "task_failed", _ERROR, None, "Task failed"),
    (Category.SYSTEM, "export", _INFO, "sensitive_read", "Exported"),
    (Category.SYSTEM, "search", _INFO, None, "Searched"),
    (Category.SYSTEM, "integration", _INFO, None, "Integration event"),
    (Category.SYSTEM, "config_change", _WARNING, None, "Changed the configuration"),
    (Category.SYSTEM, "retention_delete", _INFO, "sensitive_delete", "Deleted expired data"),
    (Category.SYSTEM, "hold_change", _WARNING, None, "Changed a legal hold"),
    (Category.SYSTEM, "error", _ERROR, "sys_crash", "Error"),
    (Category.SYSTEM, "unclassified_record", _INFO, None, "Record that is no audit event"),
)

CATALOGUE: Final[dict[tuple[str, str], Action]] = {(row[0].value, row[1]): Action(*row) for row in _ROWS}
"""(category, action) → Action. Other actions are allowed; they get defaults from the words in their name."""

_WARNING_WORDS: Final = frozenset({"failed", "denied", "permission", "key", "hold", "config"})
_FAILED_SIGN_IN: Final = frozenset({"login_failed", "sso_failed", "mfa_failed"})
_RAG_ACTIONS: Final = frozenset({"response_generate", "retrieve"})
_CHANGE_ACTIONS: Final = frozenset({"create", "update", "delete", "upload", "download"})
_GEN_AI_PREFIX: Final = "gen_ai."


def default_severity(category: str, action: str) -> Severity:
    """Severity of an event that names none: the catalogue's, else by the words of the action's name."""
    known = CATALOGUE.get((category, action))
    if known is not None:
        return known.severity
    words = action.split("_")
    if words[-1] == "error":
        return Severity.ERROR
    return Severity.WARNING if _WARNING_WORDS.intersection(words) else Severity.INFO


def default_outcome(category: str, action: str) -> Outcome:
    """Outcome of an event that names none: what the action's own name says, else success."""
    words = action.split("_")
    if words[-1] == "failed" or words[-1] == "error":
        return Outcome.FAILURE
    if words[-1] == "denied":
        return Outcome.DENIED
    return Outcome.UNKNOWN if action == "suspicious_activity" else Outcome.SUCCESS


def owasp_name(category: str, action: str) -> str | None:
    """The action's name in OWASP's logging vocabulary, None where that has none."""
    known = CATALOGUE.get((category, action))
    return known.owasp if known else None


def is_failed_sign_in(category: str, action: str) -> bool:
    """Whether the typed identity of the event may belong to no account at all."""
    return category == Category.AUTHENTICATION and action in _FAILED_SIGN_IN


def retention_class(
    category: str, action: str, asked: str | None, attribute_names: Iterable[str]
) -> tuple[RetentionClass, bool]:
    """The class an event is kept in, and whether the class it asked for was ignored.

    asked: the event's `audit.retention.class`, None when it has none.
    attribute_names: its attribute names; any `gen_ai.` one marks a generative AI operation.
    The shorter `rag` is given to data access that answers a question and to nothing else: a change of data
    keeps its full life whatever attributes it carries.
    """
    rag = category == Category.DATA_ACCESS and (
        action in _RAG_ACTIONS
        or (action not in _CHANGE_ACTIONS and any(n.startswith(_GEN_AI_PREFIX) for n in attribute_names))
    )
    if asked is None or (asked == RetentionClass.RAG and rag):
        return (RetentionClass.RAG if rag else RetentionClass.STANDARD), False
    return RetentionClass.STANDARD, asked != RetentionClass.STANDARD
