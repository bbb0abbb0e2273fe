"""Organizations that are being deleted or were: begun before anything goes, ended when nothing is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from otel_audit.instrumentation.errors import AuditError

from .database import OPERATOR, ControlDatabase
from .holds import names_in_force
from .outbox import Actor, Change, put_change
from .tables import (
    ALIASES,
    INGEST_KEY_TENANTS,
    INGEST_KEYS,
    OUTBOX,
    REDACTION_POLICIES,
    TENANT_DELETIONS,
    TENANTS,
)
from .tenants import NOT_DELETED, InvalidTenant, NoSuchTenant


class TenantHeld(AuditError):
    """A legal hold keeps the organization's data."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """One organization on its way out. began_at: seconds UTC."""

    tenant: str
    region: str
    actor: str
    began_at: float


class Deletions:
    """What is known of deletions. From `begin` on the organization does not exist for anybody else."""

    def __init__(self, database: ControlDatabase, *, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now

    def begin(self, tenant: str, *, actor: Actor) -> Deletion:
        """Make the organization vanish from everywhere but the disk; one that was begun goes on.

        In one transaction its aliases and settings go, the keys that write for it alone are revoked (their
        senders keep what they have for 72 h), its events that still wait are dropped, and the operator's
        trail tells it.
        Raises TenantHeld, NoSuchTenant, InvalidTenant (the operator's own), ControlUnavailable.
        """
        if tenant == OPERATOR:
            raise InvalidTenant(
                "the operator's own organization cannot be deleted", hint="it records what others do"
            )
        now = self._now()
        with self._database.write() as connection:
            known = _unfinished(connection, tenant)
            if known:
                return known[0]
            # In this transaction: a hold that is added meanwhile counts, or finds nobody to hold.
            held = names_in_force(connection, tenant, now)
            if held:
                raise TenantHeld(
                    f"{tenant} is under the legal hold {', '.join(held)}",
                    hint=f"'otel-audit hold release {held[0]}' first, if whoever placed it agrees",
                )
            region = connection.execute(
                select(TENANTS.c.region).where(TENANTS.c.id == tenant, NOT_DELETED)
            ).scalar_one_or_none()
            if region is None:
                raise NoSuchTenant(
                    f"there is no organization {tenant!r}", hint="see 'otel-audit tenant list'"
                )
            connection.execute(
                insert(TENANT_DELETIONS).values(tenant=tenant, actor=actor.user_id, began_at=now)
            )
            connection.execute(delete(ALIASES).where(ALIASES.c.tenant == tenant))
            connection.execute(delete(REDACTION_POLICIES).where(REDACTION_POLICIES.c.tenant == tenant))
            connection.execute(delete(OUTBOX).where(OUTBOX.c.tenant == tenant))
            revoked = _revoke_keys(connection, tenant, now)
            facts = {"otel_audit.region": region, "otel_audit.keys_revoked": revoked}
            _record(connection, tenant, "is being deleted", facts, actor, now)
            return Deletion(tenant, region, actor.user_id, now)

    def end(self, deletion: Deletion, facts: Mapping[str, Any]) -> None:
        """Record that nothing is left; facts become attributes of the event. Safe to repeat."""
        now = self._now()
        with self._database.write() as connection:
            ended = connection.execute(
                update(TENANT_DELETIONS)
                .where(TENANT_DELETIONS.c.tenant == deletion.tenant, TENANT_DELETIONS.c.ended_at.is_(None))
                .values(ended_at=now)
            ).rowcount
            if ended:
                told = {"otel_audit.region": deletion.region, **facts}
                _record(connection, deletion.tenant, "was deleted", told, Actor(deletion.actor), now)

    def unfinished(self) -> Sequence[Deletion]:
        """Deletions that were begun and not ended, by id. Raises ControlUnavailable."""
        with self._database.read() as connection:
            return _unfinished(connection)


def _unfinished(connection: Connection, tenant: str | None = None) -> list[Deletion]:
    wanted = (
        select(
            TENANT_DELETIONS.c.tenant, TENANTS.c.region, TENANT_DELETIONS.c.actor, TENANT_DELETIONS.c.began_at
        )
        .join(TENANTS, TENANTS.c.id == TENANT_DELETIONS.c.tenant)
        .where(TENANT_DELETIONS.c.ended_at.is_(None))
        .order_by(TENANT_DELETIONS.c.tenant)
    )
    if tenant is not None:
        wanted = wanted.where(TENANT_DELETIONS.c.tenant == tenant)
    return [Deletion(*row) for row in connection.execute(wanted)]


def _revoke_keys(connection: Connection, tenant: str, now: float) -> list[str]:
    """Revoke the keys of this tenant alone: a forwarder's key goes on for its other tenants."""
    links = INGEST_KEY_TENANTS.c
    alone = select(links.key_id).group_by(links.key_id).having(func.count() == 1)
    mine = select(links.key_id).where(links.tenant == tenant, links.key_id.in_(alone))
    wanted = select(INGEST_KEYS.c.id).where(
        INGEST_KEYS.c.id.in_(mine), INGEST_KEYS.c.all_tenants.is_(False), INGEST_KEYS.c.revoked_at.is_(None)
    )
    ids = list(connection.execute(wanted.order_by(INGEST_KEYS.c.id)).scalars())
    connection.execute(update(INGEST_KEYS).where(INGEST_KEYS.c.id.in_(ids)).values(revoked_at=now))
    return ids


def _record(
    connection: Connection, tenant: str, verb: str, facts: Mapping[str, Any], actor: Actor, now: float
) -> None:
    # For the operator alone: the organization's own trail goes with it.
    change = Change(
        "system",
        "config_change",
        f"organization {tenant} {verb}",
        ("tenant", tenant, None),
        None,
        facts,
    )
    put_change(connection, (), change, actor=actor, now=now)
