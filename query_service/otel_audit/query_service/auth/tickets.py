"""One-time tickets: an address that logs in once, within minutes."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, insert, select, update

from otel_audit.instrumentation.ids import uuid7

from ..control.database import ControlDatabase
from ..control.outbox import Actor, os_actor, put_change
from ..control.tables import SESSIONS, TICKETS
from .principal import (
    SESSION_TTL_S,
    InvalidGrant,
    Principal,
    Unauthenticated,
    check_grant,
    check_user_to_keep,
    role_of,
    secret_sha256,
)
from .tokens import grant_change

TICKET_TTL_S: Final = 600
_TTL_S_MAX: Final = 3_600
# Used and expired tickets stay listed for a day, then their rows go with the next new ticket.
_KEPT_AFTER_EXPIRY_S: Final = 86_400
_TICKET_LENGTH_MAX: Final = 128


@dataclass(frozen=True, slots=True)
class TicketInfo:
    """What is kept of a ticket. Times are seconds UTC."""

    id: str
    org: str | None
    user: str
    role: str
    created_at: float
    expires_at: float
    redeemed_at: float | None
    revoked_at: float | None


class TicketService:
    """Makes tickets of 256 random bits, keeps their SHA-256 only, and lets each be used once."""

    def __init__(self, database: ControlDatabase, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now

    def create(
        self,
        org: str | None,
        user: str,
        role: str,
        ttl_s: float = TICKET_TTL_S,
        *,
        session_ttl_s: float = SESSION_TTL_S,
        actor: Actor | None = None,
    ) -> str:
        """A ticket that expires after `ttl_s`, at most an hour.

        session_ttl_s: how long the session may last that it opens, at most SESSION_TTL_S.
        Raises InvalidGrant, ControlUnavailable.
        """
        return self.create_with_id(org, user, role, ttl_s, session_ttl_s=session_ttl_s, actor=actor)[0]

    def create_with_id(
        self,
        org: str | None,
        user: str,
        role: str,
        ttl_s: float = TICKET_TTL_S,
        *,
        session_ttl_s: float = SESSION_TTL_S,
        actor: Actor | None = None,
    ) -> tuple[str, TicketInfo]:
        """As `create`, with what is kept of the ticket."""
        granted = role_of(role)
        check_grant(org, user, granted)
        check_user_to_keep(user)
        if not 1 <= ttl_s <= _TTL_S_MAX or session_ttl_s < 1:
            raise InvalidGrant(
                f"a ticket cannot live {ttl_s:.0f} s", hint=f"between 1 and {_TTL_S_MAX} seconds"
            )
        now, ticket = self._now(), secrets.token_urlsafe(32)
        info = TicketInfo(uuid7(), org, user, granted, now, now + ttl_s, None, None)
        with self._database.write() as connection:
            connection.execute(delete(TICKETS).where(TICKETS.c.expires_at < now - _KEPT_AFTER_EXPIRY_S))
            connection.execute(
                insert(TICKETS).values(
                    id=info.id,
                    ticket_sha256=secret_sha256(ticket),
                    org=org,
                    user=user,
                    role=granted,
                    created_at=now,
                    expires_at=info.expires_at,
                    session_ttl_s=min(session_ttl_s, SESSION_TTL_S),
                )
            )
            change = grant_change("ticket", info.id, user, (None, granted), expires_at=info.expires_at)
            put_change(connection, [org] if org else [], change, actor=actor or os_actor(), now=now)
        return ticket, info

    def redeem(self, ticket: str) -> Principal:
        """Whose ticket this is, the first time only; expires_at is the end of the session it may open.

        Of any number of simultaneous calls, in any number of processes, one returns.
        Raises Unauthenticated, ControlUnavailable.
        """
        if len(ticket) > _TICKET_LENGTH_MAX:
            raise _refused()
        now = self._now()
        redeem = (
            update(TICKETS)
            .where(
                TICKETS.c.ticket_sha256 == secret_sha256(ticket),
                TICKETS.c.redeemed_at.is_(None),
                TICKETS.c.revoked_at.is_(None),
                TICKETS.c.created_at <= now,
                TICKETS.c.expires_at > now,
            )
            .values(redeemed_at=now)
            .returning(TICKETS)
        )
        with self._database.write() as connection:
            row = connection.execute(redeem).one_or_none()
        if row is None:
            raise _refused()
        return Principal(row.user, row.org, role_of(row.role), "ticket", row.id, now + row.session_ttl_s)

    def revoke(self, id: str, *, actor: Actor | None = None) -> bool:  # noqa: A002
        """End a ticket and the sessions it opened; False when there is none of that id."""
        now = self._now()
        with self._database.write() as connection:
            row = connection.execute(select(TICKETS).where(TICKETS.c.id == id)).one_or_none()
            if row is None:
                return False
            if row.revoked_at is None:
                connection.execute(update(TICKETS).where(TICKETS.c.id == id).values(revoked_at=now))
                connection.execute(
                    update(SESSIONS)
                    .where(SESSIONS.c.opened_with == id, SESSIONS.c.ended_at.is_(None))
                    .values(ended_at=now)
                )
                change = grant_change("ticket", id, row.user, (row.role, None))
                put_change(
                    connection, [row.org] if row.org else [], change, actor=actor or os_actor(), now=now
                )
        return True

    def list(self) -> Sequence[TicketInfo]:
        """Every ticket not long expired, oldest first. Raises ControlUnavailable."""
        wanted = [TICKETS.c[name] for name in TicketInfo.__slots__]
        with self._database.read() as connection:
            rows = connection.execute(select(*wanted).order_by(TICKETS.c.created_at, TICKETS.c.id)).all()
        return [TicketInfo(*row) for row in rows]


def _refused() -> Unauthenticated:
    return Unauthenticated(
        "the ticket is not valid, it was used, or its time is over",
        hint="'otel-audit token create --console' makes a new one",
    )
