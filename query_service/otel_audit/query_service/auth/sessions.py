"""Console sessions: a random cookie value, of which only the SHA-256 is kept."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, insert, or_, select, update

from otel_audit.instrumentation.ids import uuid7

from ..control.database import ControlDatabase
from ..control.recent import Recent
from ..control.tables import SESSIONS
from .principal import SESSION_TTL_S, Principal, Unauthenticated, role_of, secret_sha256

COOKIE_NAME: Final = "otel_audit_session"
_COOKIE_LENGTH_MAX: Final = 128


@dataclass(frozen=True, slots=True)
class _Session:
    principal: Principal
    expires_at: float
    ended: bool


class SessionService:
    """Opens, verifies and ends sessions; an end is seen by every process within RECENT_S."""

    def __init__(self, database: ControlDatabase, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now
        self._sessions: Recent[bytes, _Session | None] = Recent(self._load)

    def create(self, principal: Principal) -> str:
        """A cookie value for a person whose ticket or token was just believed.

        It lasts SESSION_TTL_S, or until `principal.expires_at` when that is sooner; nothing prolongs it.
        Raises Unauthenticated (already expired), ControlUnavailable.
        """
        now, cookie = self._now(), secrets.token_urlsafe(32)
        ends_at = now + SESSION_TTL_S
        if principal.expires_at is not None:
            ends_at = min(ends_at, principal.expires_at)
        if ends_at <= now:
            raise _refused()
        with self._database.write() as connection:
            connection.execute(
                delete(SESSIONS).where(or_(SESSIONS.c.expires_at <= now, SESSIONS.c.ended_at.is_not(None)))
            )
            connection.execute(
                insert(SESSIONS).values(
                    id=uuid7(),
                    cookie_sha256=secret_sha256(cookie),
                    opened_with=principal.credential_id,
                    org=principal.org,
                    user=principal.user,
                    role=principal.role,
                    created_at=now,
                    expires_at=ends_at,
                )
            )
        return cookie

    def verify(self, cookie: str) -> Principal:
        """Whose session this is. Raises Unauthenticated, ControlUnavailable."""
        if len(cookie) > _COOKIE_LENGTH_MAX:
            raise _refused()
        session = self._sessions.get(secret_sha256(cookie))
        if session is None or session.ended or session.expires_at <= self._now():
            raise _refused()
        return session.principal

    def end(self, cookie: str) -> None:
        """Log out; an unknown cookie is no error. Raises ControlUnavailable."""
        with self._database.write() as connection:
            connection.execute(
                update(SESSIONS)
                .where(SESSIONS.c.cookie_sha256 == secret_sha256(cookie), SESSIONS.c.ended_at.is_(None))
                .values(ended_at=self._now())
            )
        self._sessions.clear()

    def _load(self, cookie_sha256: bytes) -> _Session | None:
        with self._database.read() as connection:
            row = connection.execute(
                select(SESSIONS).where(SESSIONS.c.cookie_sha256 == cookie_sha256)
            ).one_or_none()
        if row is None:
            return None
        principal = Principal(row.user, row.org, role_of(row.role), "session", row.id, row.expires_at)
        return _Session(principal, row.expires_at, row.ended_at is not None)


def _refused() -> Unauthenticated:
    return Unauthenticated(
        "the session is over", hint="'otel-audit token create --console' makes an address that logs in"
    )
