"""Legal holds: what of an organization's trail stays, whatever its retention says, until somebody lets go.

A hold counts from the moment its transaction is committed. It is never narrowed and never removed; a release
ends it after a delay.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from sqlalchemy import ColumnElement, Connection, Row, func, insert, or_, select, update

from otel_audit.instrumentation.errors import AuditError

from ..filters import FilterError
from ..hold_scope import HoldScope
from ..settings import RELEASE_DELAY_S
from .database import ControlDatabase
from .free_text import has_secret, prose
from .outbox import Actor, Change, os_actor, put_own_change, utc_text
from .tables import HOLDS, TENANTS
from .tenants import NOT_DELETED, NoSuchTenant

if TYPE_CHECKING:
    from ..auth.request_facts import RequestFacts

# Part of an address and of a command line, so without anything that either would need to escape.
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
# A paragraph; documents belong elsewhere.
_REASON_CHARS_MAX: Final = 1_000
# Retention asks each of them about each partition that is due, a few ms a time.
IN_FORCE_MAX: Final = 1_000
# Lists are sent whole: about 5 MB.
HOLDS_MAX: Final = 10_000


class InvalidHold(AuditError):
    """A name or reason that cannot be used."""

    exit_status = 2  # on the command line it is wrong use, not a failure


class HoldExists(AuditError):
    """The name is taken, by a hold that may have been released."""


class NoSuchHold(AuditError):
    """There is no hold of that name."""


class HoldReleased(AuditError):
    """The hold was released before."""


class TooManyHolds(AuditError):
    """The organization has as many holds as it may have."""


@dataclass(frozen=True, slots=True)
class Hold:
    """One hold. filters: JSON of its HoldScope. Times are seconds UTC; the last four None until released."""

    tenant: str
    name: str
    reason: str
    filters: str
    created_at: float
    created_by: str
    released_at: float | None
    effective_at: float | None
    released_by: str | None
    release_reason: str | None

    @property
    def scope(self) -> HoldScope:
        """What it covers. Raises FilterError or ValueError when this release cannot read it."""
        return HoldScope.from_json(self.filters)

    @property
    def chosen(self) -> dict[str, list[str]]:
        """Filter → values, also of filters that this release does not know."""
        found: dict[str, list[str]] = {}
        for name, value in json.loads(self.filters):
            found.setdefault(name, []).append(value)
        return found

    def in_force(self, now: float) -> bool:
        """Whether it holds at `now`: also before it was made, because a clock may be set back."""
        return self.effective_at is None or now < self.effective_at

    def status(self, now: float) -> Literal["active", "releasing", "released"]:
        """releasing: released, but still in force."""
        if self.released_at is None:
            return "active"
        return "releasing" if self.in_force(now) else "released"

    def as_dict(self, now: float) -> dict[str, Any]:
        """The hold as the API and the commands show it."""
        return {
            "tenant": self.tenant,
            "name": self.name,
            "status": self.status(now),
            "reason": self.reason,
            "filters": self.chosen,
            "created_at": utc_text(self.created_at),
            "created_by": self.created_by,
            "released_at": utc_text(self.released_at),
            "effective_at": utc_text(self.effective_at),
            "released_by": self.released_by,
            "release_reason": self.release_reason,
        }


class Holds:
    """The holds of a region root. Every change and its event of the organization are one transaction."""

    def __init__(
        self,
        database: ControlDatabase,
        *,
        now: Callable[[], float] = time.time,
        release_delay_s: float = RELEASE_DELAY_S,
    ) -> None:
        self._database = database
        self._now = now
        self._release_delay_s = release_delay_s

    def add(
        self,
        tenant: str,
        name: str,
        reason: str,
        filters: Iterable[tuple[str, str]] = (),
        *,
        actor: Actor | None = None,
        facts: RequestFacts | None = None,
    ) -> Hold:
        """Hold what the filters choose, everything when there are none; in force when this returns.

        Raises InvalidHold, FilterError, NoSuchTenant, HoldExists, TooManyHolds, ControlUnavailable.
        """
        scope, now, who = HoldScope.parse(filters), self._now(), actor or os_actor()
        _check_name(name)
        _check_filters(scope)
        hold = Hold(tenant, name, _checked(reason), scope.to_json(), now, who.user_id, None, None, None, None)
        with self._database.write() as connection:
            # One that is being deleted too: what it promised to keep may be gone by now.
            known = select(TENANTS.c.id).where(TENANTS.c.id == tenant, NOT_DELETED)
            if connection.execute(known).first() is None:
                raise NoSuchTenant(
                    f"there is no organization {tenant!r}", hint="see 'otel-audit tenant list'"
                )
            if _find(connection, tenant, name) is not None:
                raise HoldExists(
                    f"there is or was a hold {name} of {tenant}",
                    hint="choose another name: each means one hold for ever",
                )
            _check_room(connection, tenant, now)
            connection.execute(insert(HOLDS).values(_columns(hold)))
            self._record(connection, hold, "added", {"filters": (None, hold.chosen)}, who, facts)
        return hold

    def release(
        self,
        name: str,
        reason: str,
        *,
        tenant: str | None = None,
        actor: Actor | None = None,
        facts: RequestFacts | None = None,
    ) -> Hold:
        """End a hold after the delay; until then it holds, and nothing takes the release back.

        tenant: needed only when several organizations have a hold of that name.
        Raises InvalidHold (also when it is not clear whose), NoSuchHold, HoldReleased, ControlUnavailable.
        """
        now, who, why = self._now(), actor or os_actor(), _checked(reason)
        with self._database.write() as connection:
            before = _only(connection, name, tenant)
            if before.released_at is not None:
                raise HoldReleased(
                    f"hold {name} was released on {utc_text(before.released_at)}",
                    hint=f"it ends on {utc_text(before.effective_at)}; to go on holding, add another",
                )
            ended = {
                "released_at": now,
                "effective_at": now + self._release_delay_s,
                "released_by": who.user_id,
                "release_reason": why,
            }
            same = (HOLDS.c.tenant == before.tenant, HOLDS.c.name == name)
            connection.execute(update(HOLDS).where(*same).values(ended))
            hold = Hold(**{**_columns(before), **ended})
            changes = {"effective_at": (None, utc_text(hold.effective_at))}
            self._record(connection, hold, "released", changes, who, facts)
        return hold

    def list(self, tenant: str | None = None) -> Sequence[Hold]:
        """All holds, released ones too, of one organization or of all, oldest first."""
        wanted = (HOLDS.c.tenant == tenant,) if tenant is not None else ()
        return self._read(*wanted)

    def active(self, tenant: str, now: datetime | float) -> Sequence[Hold]:
        """The organization's holds in force at `now`, aware or seconds UTC. Raises ControlUnavailable.

        Read from the database each time: what another process changed counts at once.
        """
        at = now.timestamp() if isinstance(now, datetime) else now
        return self._read(HOLDS.c.tenant == tenant, _in_force(at))

    def _read(self, *wanted: ColumnElement[bool]) -> Sequence[Hold]:
        ordered = select(HOLDS).where(*wanted).order_by(HOLDS.c.created_at, HOLDS.c.tenant, HOLDS.c.name)
        with self._database.read() as connection:
            return [Hold(*row) for row in connection.execute(ordered)]

    @staticmethod
    def _record(
        connection: Connection,
        hold: Hold,
        done: str,
        changes: dict[str, tuple[Any, Any]],
        actor: Actor,
        facts: RequestFacts | None,
    ) -> None:
        change = Change(
            "system",
            "hold_change",
            f"legal hold {hold.name} {done}",
            ("hold", hold.name, None),
            changes,
            {"otel_audit.reason": hold.release_reason or hold.reason},
        )
        now = hold.released_at or hold.created_at
        put_own_change(connection, hold.tenant, change, actor=actor, now=now, facts=facts)


def names_in_force(connection: Connection, tenant: str, now: float) -> Sequence[str]:
    """Names of the organization's holds in force, oldest first, as this transaction sees them."""
    wanted = select(HOLDS.c.name).where(HOLDS.c.tenant == tenant, _in_force(now))
    return connection.execute(wanted.order_by(HOLDS.c.created_at, HOLDS.c.name)).scalars().all()


def _columns(hold: Hold) -> dict[str, Any]:
    return {column.name: getattr(hold, column.name) for column in HOLDS.columns}


def _in_force(now: float) -> ColumnElement[bool]:
    return or_(HOLDS.c.effective_at.is_(None), HOLDS.c.effective_at > now)


def _find(connection: Connection, tenant: str, name: str) -> Row[Any] | None:
    wanted = select(HOLDS).where(HOLDS.c.tenant == tenant, HOLDS.c.name == name)
    return connection.execute(wanted).one_or_none()


def _only(connection: Connection, name: str, tenant: str | None) -> Hold:
    wanted = select(HOLDS).where(HOLDS.c.name == name)
    if tenant is not None:
        wanted = wanted.where(HOLDS.c.tenant == tenant)
    found = [Hold(*row) for row in connection.execute(wanted.order_by(HOLDS.c.tenant))]
    if len(found) > 1:
        # Somebody who means the one that is still in force need not say so.
        found = [hold for hold in found if hold.released_at is None] or found
    if len(found) > 1:
        raise InvalidHold(
            f"several organizations have a hold {name[:80]!r}",
            hint=f"say whose with --tenant: {', '.join(hold.tenant for hold in found[:10])}",
        )
    if not found:
        raise NoSuchHold(f"there is no hold {name[:80]!r}", hint="list the holds to see their names")
    return found[0]


def _check_room(connection: Connection, tenant: str, now: float) -> None:
    mine = select(func.count()).select_from(HOLDS).where(HOLDS.c.tenant == tenant)
    every = connection.execute(mine).scalar_one()
    in_force = connection.execute(mine.where(_in_force(now))).scalar_one()
    if in_force >= IN_FORCE_MAX or every >= HOLDS_MAX:
        raise TooManyHolds(
            f"{tenant} has {in_force} holds in force and {every} in all",
            hint=f"at most {IN_FORCE_MAX} and {HOLDS_MAX}: one hold without a user or resource covers many",
        )


def _check_name(name: str) -> None:
    if has_secret(name):
        raise InvalidHold("the hold's name looks like a secret", hint="choose a name that everybody may read")
    if not NAME.fullmatch(name):
        raise InvalidHold(
            f"{name[:80]!r} cannot be a hold's name",
            hint="use letters, digits, dot, _ and -, a letter or digit first, at most 63",
        )


def _check_filters(scope: HoldScope) -> None:
    # Stored rows hold no secret either, so such a filter would hold nothing and only keep the secret.
    for name, value in scope.filters.items():
        if has_secret(value):
            raise FilterError(
                name, value, "looks like a secret, of which stored events keep only a marker",
                allowed="what events show, such as the user, the action or the time",
            )  # fmt: skip


def _checked(reason: str) -> str:
    """The reason on one line, without secrets: it stays in the database and the trail."""
    text = reason.strip()
    if not text or len(text) > _REASON_CHARS_MAX or not text.isprintable():
        raise InvalidHold(
            "the reason cannot be used",
            hint=f"give 1 to {_REASON_CHARS_MAX} printable characters on one line",
        )
    return prose(text)
