"""Which columns of an event are redacted, and how: the defaults every tenant starts from."""

from __future__ import annotations

from typing import Final

POLICY_VERSION: Final = "p1"
"""Changes whenever a column changes sides below; stored with each event together with the rules' version."""

IDENTITY_COLUMNS: Final = (
    "user_id",
    "user_email",
    "user_name",
    "user_type",
    "on_behalf_of",
    "client_address",
)
"""Who and from where. Personal data stays, because the trail needs it; secrets and credentials go."""

NAMING_COLUMNS: Final = (
    "category",
    "action",
    "event_name",
    "outcome",
    "resource_type",
    "resource_id",
    "request_id",
    "service_name",
    "service_version",
    "service_instance_id",
    "deployment_environment",
    "http_method",
    "emitter_id",
)
"""Ids and names that machines give. Secrets and credentials go; a number in an id is not a telephone."""

FREE_TEXT_COLUMNS: Final = ("message", "user_agent", "resource_name", "http_route")
"""Text people and clients write: every rule runs, personal data is masked."""

JSON_TEXT_COLUMNS: Final = ("changes", "attributes", "otel_resource")
"""JSON objects: every rule runs on names and values, and values of sensitive names are dropped."""

LIST_COLUMNS: Final = ("user_roles", "flags")
"""Lists of short names; as NAMING_COLUMNS."""

HASHED_COLUMNS: Final = ("session_id",)
"""Never stored as received: a session id is a credential."""

UNTOUCHED_COLUMNS: Final = ("event_id", "trace_id", "span_id", "severity", "retention", "date")
"""Text the receiver has itself made of bytes or chosen: a UUID, hex digits, one of four words, a date."""

SET_BY_WRITER: Final = (
    "tenant",
    "writer",
    "seq",
    "time",
    "observed_time",
    "received_time",
    "time_unix_nano",
    "severity_number",
    "http_status",
    "emitter_seq",
    "redactions",
    "policy_version",
    "content_digest",
)
"""No text of the sender; no policy may change them either."""

HIDEABLE_COLUMNS: Final = (
    "user_id",
    "user_email",
    "user_name",
    "on_behalf_of",
    "client_address",
    "resource_id",
)
"""Short values that a tenant's policy may mask, redact or tokenise as a whole."""

POLICY_MARKER_RULE: Final = "policy"
"""What a tenant's policy has hidden reads `[REDACTED:policy]`."""

POLICY_RULES: Final = {"mask": "policy_mask", "redact": "policy_redact", "tokenise": "policy_tokenise"}
"""Action of a tenant's policy → the rule that `redactions` names for it."""

UNKNOWN_USER_ACTIONS: Final = ("login_failed", "sso_failed", "mfa_failed")
UNKNOWN_USER_COLUMNS: Final = ("user_id", "user_email", "user_name")
UNKNOWN_USER_RULE: Final = "unknown_user"
"""A failed sign-in of nobody we know: what was typed may be a password, so only its keyed hash is kept."""


def is_personal(column: str) -> bool:
    """Whether rules of class personal run on this column."""
    return column in FREE_TEXT_COLUMNS or column in JSON_TEXT_COLUMNS
