"""Who asks, once their credential has been believed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, Literal, get_args

from otel_audit.instrumentation.errors import AuditError

from ..control.free_text import has_secret

Role = Literal["admin", "auditor", "member", "operator"]
ROLES: Final[tuple[str, ...]] = get_args(Role)

SESSION_TTL_S: Final = 8 * 3600
"""The longest a console session lasts: a working day."""

_USER_LENGTH_MAX: Final = 254


class Unauthenticated(AuditError):
    """No credential, or one that is not believed; to a client this is 401, without saying why."""


class InvalidGrant(AuditError):
    """A token or ticket was asked for that nobody may have."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A person or program. org: None for an operator only; expires_at: seconds UTC, None where unknown."""

    user: str
    org: str | None
    role: Role
    credential: Literal["token", "session", "ticket"]
    credential_id: str
    expires_at: float | None = None


def role_of(text: str) -> Role:
    """The role of that name. Raises InvalidGrant."""
    for role in get_args(Role):
        if role == text:
            return role  # type: ignore[no-any-return]
    raise InvalidGrant(f"there is no role {text[:40]!r}", hint=f"one of {', '.join(ROLES)}")


def check_grant(org: str | None, user: str, role: Role) -> None:
    """Whether such a principal may be: only an operator has no organization. Raises InvalidGrant."""
    if (role == "operator") != (org is None):
        raise InvalidGrant(
            f"role {role} does not go with organization {org}",
            hint="an operator has no organization, everybody else has one",
        )
    if not user or len(user) > _USER_LENGTH_MAX or not user.isprintable() or " " in user:
        raise InvalidGrant(
            "the user cannot be named like that",
            hint=f"give an e-mail, at most {_USER_LENGTH_MAX} characters",
        )


def check_user_to_keep(user: str) -> None:
    """Refuse a user's name that may not lie in the control database. Raises InvalidGrant."""
    if has_secret(user):
        raise InvalidGrant("the user's name looks like a secret", hint="give an e-mail")


def secret_sha256(secret: str) -> bytes:
    """What is kept of a ticket or cookie: 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
