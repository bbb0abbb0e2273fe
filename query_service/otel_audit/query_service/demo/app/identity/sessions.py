"""Sessions by cookie: opened, found at every request, ended by hand or by idleness."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from otel_audit.instrumentation import audit

from ..call import OPENED, PERSON, SESSION, organization_of
from ..database import Database
from .people import Person, person_of

COOKIE: Final = "session"
IDLE_S: Final[Mapping[str, float]] = {"admin": 900.0, "analyst": 900.0, "support": 900.0, "contractor": 6.0}
"""How long a session may rest, by role. Contractors are sent out at once, which is easy to watch."""
_FIND: Final = (
    "SELECT people.*, sessions.id AS session, mfa_pending, seen_at, address, agent"
    " FROM sessions JOIN people ON people.id = sessions.person"
)


@dataclass(frozen=True, slots=True)
class Session:
    """One sign-in. mfa_pending: the password was right, the second factor is still asked for."""

    id: str
    person: Person
    mfa_pending: bool
    seen_at: float
    address: str | None
    agent: str | None

    def is_idle(self, now: float) -> bool:
        """Whether it rested for too long."""
        return now - self.seen_at > IDLE_S.get(self.person.role, 900.0)


class Sessions:
    """The sessions in the database. now: seconds since 1970."""

    def __init__(self, database: Database, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now

    def open(self, person: Person, *, mfa_pending: bool, address: str, agent: str) -> Session:
        """Start a session of 192 random bits."""
        now = self._now()
        session = Session(secrets.token_urlsafe(24), person, mfa_pending, now, address, agent)
        self._database.run(
            "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?)",
            [session.id, person.id, int(mfa_pending), now, now, address, agent],
        )
        return session

    def find(self, session_id: str) -> Session | None:
        """The session, which thereby counts as used; None when it is gone or rested too long."""
        row = self._database.one(f"{_FIND} WHERE sessions.id = ?", [session_id])
        if row is None or _session(row).is_idle(self._now()):
            return None
        self._database.run("UPDATE sessions SET seen_at = ? WHERE id = ?", [self._now(), session_id])
        return _session(row)

    def second_factor_passed(self, session: Session) -> None:
        """From now on the session is a whole one."""
        self._database.run("UPDATE sessions SET mfa_pending = 0 WHERE id = ?", [session.id])

    def end(self, session_id: str) -> bool:
        """End a session; whether there was one."""
        return self._database.run("DELETE FROM sessions WHERE id = ?", [session_id]) > 0

    def expire(self) -> int:
        """End and record every session that rested too long; how many."""
        now = self._now()
        idle = [s for s in map(_session, self._database.all(f"{_FIND} LIMIT 1000")) if s.is_idle(now)]
        for session in idle:
            if not self.end(session.id):
                continue
            with audit.context(
                **actor_of(session.person), client_address=session.address, user_agent=session.agent
            ):
                audit.record(
                    "authentication",
                    "session_expired",
                    session_id=session.id,
                    attributes={"session.idle_s": round(now - session.seen_at, 1)},
                )
        return len(idle)


def actor_of(person: Person) -> dict[str, Any]:
    """A person as the audit trail names them."""
    return {
        "user_id": person.id,
        "user_email": person.email,
        "user_name": person.name,
        "user_roles": [person.role],
        "tenant": person.organization,
    }


def who(scope: Scope) -> dict[str, Any]:
    """The audit resolver: the signed-in person of a request, else only the organization called."""
    person: Person | None = scope.get(PERSON)
    return actor_of(person) if person is not None else {"tenant": organization_of(scope)}


class SessionMiddleware:
    """Puts the session of the cookie, and its person once fully signed in, into the scope."""

    def __init__(self, app: ASGIApp, *, sessions: Sessions) -> None:
        self.app = app
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        cookie = HTTPConnection(scope).cookies.get(COOKIE, "")
        # A look-up by primary key takes microseconds; a thread would cost more.
        session = self._sessions.find(cookie) if cookie else None
        if session is not None and session.person.organization == organization_of(scope):
            scope[SESSION] = session
            if not session.mfa_pending:
                scope[PERSON] = session.person

        async def with_cookie(message: Message) -> None:
            opened: Session | None = scope.get(OPENED)
            if message["type"] == "http.response.start" and opened is not None:
                headers = MutableHeaders(scope=message)
                headers.append("set-cookie", f"{COOKIE}={opened.id}; Path=/; HttpOnly; SameSite=Lax")
            await send(message)

        await self.app(scope, receive, with_cookie)


def _session(row: Mapping[str, Any]) -> Session:
    return Session(
        id=row["session"],
        person=person_of(row),
        mfa_pending=bool(row["mfa_pending"]),
        seen_at=row["seen_at"],
        address=row["address"],
        agent=row["agent"],
    )
