"""Signed bearer tokens: JSON Web Tokens with one pinned algorithm, issuer and audience."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jwt
from sqlalchemy import delete, insert, select, update

from otel_audit.instrumentation.ids import uuid7

from ..control.database import ControlDatabase
from ..control.outbox import Actor, Change, os_actor, put_change, utc_text
from ..control.recent import Recent
from ..control.tables import SESSIONS, TOKENS
from .principal import (
    InvalidGrant,
    Principal,
    Role,
    Unauthenticated,
    check_grant,
    check_user_to_keep,
    role_of,
)
from .signing_key import load_signing_key

ALGORITHM: Final = "HS256"
ISSUER: Final = "otel-audit"
AUDIENCE: Final = "otel-audit"
DEFAULT_TTL_S: Final = 8 * 3600
# Longer than any certificate lives; what must live longer is an ingest key.
TTL_S_MAX: Final = 366 * 86_400
# A real token has some 300 characters; longer input is refused before it is parsed.
_TOKEN_LENGTH_MAX: Final = 4_096
_CLAIMS: Final = ["iss", "aud", "sub", "role", "jti", "iat", "exp"]
# Expired tokens stay listed for as long as somebody may ask which ones there were.
_KEPT_AFTER_EXPIRY_S: Final = 30 * 86_400
# Two servers of one data directory share a clock, so only rounding needs room.
_CLOCK_SKEW_S: Final = 5


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """What is kept of a token. Times are seconds UTC."""

    id: str
    org: str | None
    user: str
    role: str
    created_at: float
    expires_at: float
    revoked_at: float | None


class TokenService:
    """Issues, verifies and revokes tokens; a revocation is seen by every process within RECENT_S."""

    def __init__(
        self, database: ControlDatabase, key_path: Path, now: Callable[[], float] = time.time
    ) -> None:
        """key_path: the signing key, made when missing. Raises SigningKeyUnusable."""
        self._database = database
        self._key = load_signing_key(key_path)
        self._now = now
        self._states: Recent[str, TokenInfo | None] = Recent(self._load)

    def issue(
        self,
        org: str | None,
        user: str,
        role: str,
        ttl_s: float = DEFAULT_TTL_S,
        *,
        actor: Actor | None = None,
    ) -> str:
        """A signed token. org: None for role `operator` only. Raises InvalidGrant, ControlUnavailable."""
        return self.issue_with_id(org, user, role, ttl_s, actor=actor)[0]

    def issue_with_id(
        self,
        org: str | None,
        user: str,
        role: str,
        ttl_s: float = DEFAULT_TTL_S,
        *,
        actor: Actor | None = None,
    ) -> tuple[str, TokenInfo]:
        """As `issue`, with what is kept of the token."""
        granted = role_of(role)
        check_grant(org, user, granted)
        check_user_to_keep(user)
        if not 1 <= ttl_s <= TTL_S_MAX:
            raise InvalidGrant(f"a token cannot live {ttl_s:.0f} s", hint="give --ttl between 1s and 366d")
        now = int(self._now())
        info = TokenInfo(uuid7(), org, user, granted, now, now + int(ttl_s), None)
        with self._database.write() as connection:
            connection.execute(delete(TOKENS).where(TOKENS.c.expires_at < now - _KEPT_AFTER_EXPIRY_S))
            connection.execute(
                insert(TOKENS).values(
                    id=info.id,
                    org=org,
                    user=user,
                    role=granted,
                    created_at=info.created_at,
                    expires_at=info.expires_at,
                )
            )
            change = grant_change("token", info.id, user, (None, granted), expires_at=info.expires_at)
            put_change(connection, [org] if org else [], change, actor=actor or os_actor(), now=self._now())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user,
            "org": org,
            "role": granted,
            "jti": info.id,
            "iat": now,
            "exp": int(info.expires_at),
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM), info

    def verify(self, token: str) -> Principal:
        """Whose token this is. Raises Unauthenticated; ControlUnavailable when that cannot be known."""
        if len(token) > _TOKEN_LENGTH_MAX:
            raise _refused()
        try:
            # Headers choose nothing: the algorithm is pinned and there is one key.
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                # Times are compared below, with the clock that was passed in.
                options={
                    "require": _CLAIMS,
                    "strict_aud": True,
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            # The last three are what a hostile header makes of the JSON parser.
            raise _refused() from error
        principal = _principal(claims)
        now = self._now()
        issued_at, expires_at = claims["iat"], claims["exp"]
        if not _is_time(issued_at) or not _is_time(expires_at):
            raise _refused()
        if not issued_at - _CLOCK_SKEW_S <= now < expires_at:
            raise _refused()
        state = self._states.get(principal.credential_id)
        if state is None or state.revoked_at is not None:
            raise _refused()
        return principal

    def revoke(self, id: str, *, actor: Actor | None = None) -> bool:  # noqa: A002
        """End a token and the sessions it opened; False when there is none of that id.

        Raises ControlUnavailable.
        """
        now = self._now()
        with self._database.write() as connection:
            row = connection.execute(select(TOKENS).where(TOKENS.c.id == id)).one_or_none()
            if row is not None and row.revoked_at is None:
                connection.execute(update(TOKENS).where(TOKENS.c.id == id).values(revoked_at=now))
                connection.execute(
                    update(SESSIONS)
                    .where(SESSIONS.c.opened_with == id, SESSIONS.c.ended_at.is_(None))
                    .values(ended_at=now)
                )
                change = grant_change("token", id, row.user, (row.role, None))
                put_change(
                    connection, [row.org] if row.org else [], change, actor=actor or os_actor(), now=now
                )
        self._states.clear()
        return row is not None

    def list(self) -> Sequence[TokenInfo]:
        """Every token not long expired, oldest first. Raises ControlUnavailable."""
        with self._database.read() as connection:
            rows = connection.execute(select(TOKENS).order_by(TOKENS.c.created_at, TOKENS.c.id)).all()
        return [TokenInfo(*row) for row in rows]

    def _load(self, id: str) -> TokenInfo | None:  # noqa: A002
        with self._database.read() as connection:
            row = connection.execute(select(TOKENS).where(TOKENS.c.id == id)).one_or_none()
        return None if row is None else TokenInfo(*row)


def grant_change(
    credential: str,
    id: str,  # noqa: A002
    user: str,
    role: tuple[str | None, str | None],
    *,
    expires_at: float | None = None,
) -> Change:
    """The audit event of a role given to a user or taken from them. role: (before, after)."""
    before, after = role
    attributes: dict[str, Any] = {"otel_audit.grant.kind": credential, "otel_audit.grant.id": id}
    if expires_at is not None:
        attributes["otel_audit.grant.expires_at"] = utc_text(expires_at)
    message = f"{credential} of role {after} created" if after else f"{credential} of role {before} revoked"
    return Change("security", "permission_change", message, ("user", user, None), {"role": role}, attributes)


def _principal(claims: Mapping[str, Any]) -> Principal:
    org, user, token_id = claims.get("org"), claims["sub"], claims["jti"]
    if not isinstance(user, str) or not isinstance(token_id, str) or not isinstance(org, str | None):
        raise _refused()
    try:
        role: Role = role_of(str(claims["role"]))
        check_grant(org, user, role)
    except InvalidGrant as error:
        raise _refused() from error
    return Principal(user, org, role, "token", token_id, claims["exp"])


def _is_time(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _refused() -> Unauthenticated:
    # One text for every cause, so that a guess learns nothing.
    return Unauthenticated(
        "the token is not valid", hint="'otel-audit token create' issues one, 'token list' shows their state"
    )
