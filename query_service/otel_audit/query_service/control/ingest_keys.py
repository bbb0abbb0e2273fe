"""Ingest keys: made, rotated and revoked by administrators, looked up by the receiver."""

from __future__ import annotations

import builtins
import hashlib
import secrets
import string
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Row, insert, select, update

from otel_audit.exporter.receiver.keys import IngestKey
from otel_audit.instrumentation.errors import AuditError

from .database import OPERATOR, ControlDatabase
from .free_text import label
from .outbox import SERVICE, Actor, Change, os_actor, put_change, utc_text
from .recent import Recent
from .tables import INGEST_KEY_TENANTS, INGEST_KEYS, TENANT_DELETIONS, TENANTS
from .tenants import NoSuchTenant, Tenants

_ID_ALPHABET: Final = string.digits + string.ascii_lowercase
_SECRET_ALPHABET: Final = string.digits + string.ascii_letters
_ID_LENGTH: Final = 12
# 43 characters of 62 are 256 bits.
_SECRET_LENGTH: Final = 43
_NAME_LENGTH_MAX: Final = 128


class NoSuchKey(AuditError):
    """There is no ingest key of that id."""


class InvalidKey(AuditError):
    """What was asked of a key cannot be done."""


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What may be shown of a key. tenants: None is every tenant; times are seconds UTC."""

    key_id: str
    name: str
    tenants: tuple[str, ...] | None
    create_tenants: bool
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    compromised: bool
    rotated_from: str | None

    def status(self, now: float) -> str:
        """`compromised`, `revoked`, `expired` or `active` at `now`, seconds UTC."""
        if self.compromised:
            return "compromised"
        if self.revoked_at is not None and self.revoked_at <= now:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key. text: `oak_<key id>_<secret>`, kept nowhere else."""

    info: KeyInfo
    text: str = field(repr=False)


class IngestKeys:
    """The ingest keys of a region root; the receiver's KeyDirectory, its answers at most RECENT_S old."""

    def __init__(
        self,
        database: ControlDatabase,
        tenants: Tenants | None = None,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._now = now
        self._tenants = tenants or Tenants(database, now=now)
        self._keys: Recent[str, IngestKey | None] = Recent(self._load_key)
        self._names: Recent[str, str | None] = Recent(self._tenants.resolve)

    def create(
        self,
        tenants: Iterable[str] | None,
        *,
        name: str = "",
        create_tenants: bool = False,
        ttl_s: float | None = None,
        actor: Actor | None = None,
    ) -> IssuedKey:
        """Make a key for some tenants, or for all (None); more than one makes a forwarder key.

        Raises NoSuchTenant, InvalidKey, ControlUnavailable.
        """
        now = self._now()
        ids = None if tenants is None else tuple(sorted(set(tenants)))
        _check(ids, name, create_tenants, ttl_s)
        name = label(name)
        with self._database.write() as connection:
            _check_tenants(connection, ids or ())
            expires_at = None if ttl_s is None else now + ttl_s
            info = KeyInfo(_new_id(), name, ids, create_tenants, now, expires_at, None, False, None)
            issued = _insert(connection, info)
            self._record(connection, "key_create", "created", info, None, actor)
        self._keys.clear()
        return issued

    def rotate(
        self,
        key_id: str,
        *,
        overlap_s: float,
        ttl_s: float | None = None,
        actor: Actor | None = None,
    ) -> IssuedKey:
        """Make a key like this one, which itself expires after `overlap_s` if not sooner.

        ttl_s: life of the new key; None gives it as long as the old one had.
        Raises NoSuchKey, InvalidKey (revoked), ControlUnavailable.
        """
        now = self._now()
        with self._database.write() as connection:
            old = _read(connection, key_id)
            if old.revoked_at is not None:
                raise InvalidKey(f"key {key_id} is revoked", hint="'otel-audit key create' makes a new one")
            if ttl_s is None and old.expires_at is not None:
                ttl_s = old.expires_at - old.created_at
            _check(old.tenants, old.name, old.create_tenants, ttl_s)
            ends_at = now + overlap_s if old.expires_at is None else min(old.expires_at, now + overlap_s)
            info = KeyInfo(
                _new_id(),
                old.name,
                old.tenants,
                old.create_tenants,
                now,
                None if ttl_s is None else now + ttl_s,
                None,
                False,
                key_id,
            )
            issued = _insert(connection, info)
            connection.execute(
                update(INGEST_KEYS).where(INGEST_KEYS.c.id == key_id).values(expires_at=ends_at)
            )
            self._record(connection, "key_create", f"rotated in for {key_id}", info, None, actor)
            expiry = {"expires_at": (utc_text(old.expires_at), utc_text(ends_at))}
            self._record(connection, "key_revoke", f"expires, {info.key_id} follows it", old, expiry, actor)
        self._keys.clear()
        return issued

    def revoke(self, key_id: str, *, compromised: bool = False, actor: Actor | None = None) -> KeyInfo:
        """End a key now; `compromised` also ends the grace that senders of a revoked key have.

        Doing it again changes nothing, but a revoked key can still be called compromised.
        Raises NoSuchKey, ControlUnavailable.
        """
        now = self._now()
        with self._database.write() as connection:
            old = _read(connection, key_id)
            if old.revoked_at is None or (compromised and not old.compromised):
                revoked_at = now if old.revoked_at is None else old.revoked_at
                connection.execute(
                    update(INGEST_KEYS)
                    .where(INGEST_KEYS.c.id == key_id)
                    .values(revoked_at=revoked_at, compromised=old.compromised or compromised)
                )
                new = _read(connection, key_id)
                changes: dict[str, tuple[Any, Any]] = {
                    "status": (old.status(now), new.status(now)),
                }
                verb = "revoked as compromised" if compromised else "revoked"
                self._record(connection, "key_revoke", verb, new, changes, actor)
            info = _read(connection, key_id)
        self._keys.clear()
        return info

    def list(self, tenant: str | None = None) -> Sequence[KeyInfo]:
        """Every key, or those that may write for `tenant`, oldest first. Raises ControlUnavailable."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(INGEST_KEYS).order_by(INGEST_KEYS.c.created_at, INGEST_KEYS.c.id)
            ).all()
            infos = [_info(connection, row) for row in rows]
        return [i for i in infos if tenant is None or i.tenants is None or tenant in i.tenants]

    def find_key(self, key_id: str) -> IngestKey | None:
        """As KeyDirectory says. Raises ControlUnavailable."""
        return self._keys.get(key_id)

    def resolve_tenant(self, claimed: str) -> str | None:
        """As KeyDirectory says; no payload may name the operator's own tenant. Raises ControlUnavailable."""
        return None if claimed == OPERATOR else self._names.get(claimed)

    def create_tenant(self, claimed: str) -> str | None:
        """As KeyDirectory says; the addition is recorded. Raises ControlUnavailable."""
        known = self.resolve_tenant(claimed)
        if known is not None:
            return known
        created = claimed if self._tenants.ensure(claimed, actor=SERVICE) else None
        self._names.clear()
        return created

    def _load_key(self, key_id: str) -> IngestKey | None:
        with self._database.read() as connection:
            row = connection.execute(select(INGEST_KEYS).where(INGEST_KEYS.c.id == key_id)).one_or_none()
            if row is None:
                return None
            info = _info(connection, row)
        return IngestKey(
            key_id=info.key_id,
            secret_sha256=row.secret_sha256,
            tenants=None if info.tenants is None else frozenset(info.tenants),
            create_tenants=info.create_tenants,
            expires_at=info.expires_at,
            revoked_at=info.revoked_at,
            compromised=info.compromised,
        )

    def _record(
        self,
        connection: Connection,
        action: str,
        verb: str,
        info: KeyInfo,
        changes: Mapping[str, tuple[Any, Any]] | None,
        actor: Actor | None,
    ) -> None:
        attributes = {
            "otel_audit.ingest.tenants": "all" if info.tenants is None else builtins.list(info.tenants),
            "otel_audit.ingest.create_tenants": info.create_tenants,
            "otel_audit.ingest.expires_at": utc_text(info.expires_at),
        }
        change = Change(
            "security",
            action,
            f"ingest key {info.key_id} {verb}",
            ("ingest_key", info.key_id, info.name or None),
            changes,
            {name: value for name, value in attributes.items() if value is not None},
        )
        put_change(connection, info.tenants or (), change, actor=actor or os_actor(), now=self._now())


def _new_id() -> str:
    return "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH))


def _check(ids: tuple[str, ...] | None, name: str, create_tenants: bool, ttl_s: float | None) -> None:
    if ids is not None and not ids:
        raise InvalidKey("a key needs a tenant", hint="give --tenant ID or --all-tenants")
    if create_tenants and ids is not None:
        raise InvalidKey(
            "only a key for all tenants may create tenants", hint="use --all-tenants --create-tenants"
        )
    if len(name) > _NAME_LENGTH_MAX or (name and not name.isprintable()):
        raise InvalidKey(
            "the key's name cannot be used", hint=f"use at most {_NAME_LENGTH_MAX} printable characters"
        )
    if ttl_s is not None and ttl_s <= 0:
        raise InvalidKey("the key would be expired from its start", hint="give --expires 90d or leave it out")


def _check_tenants(connection: Connection, ids: Sequence[str]) -> None:
    for tenant in ids:
        if tenant == OPERATOR:
            raise InvalidKey(
                "no key may write the operator's own trail", hint="name the organization that sends events"
            )
        deleted = select(TENANT_DELETIONS.c.tenant)
        wanted = select(TENANTS.c.id).where(TENANTS.c.id == tenant, TENANTS.c.id.not_in(deleted))
        if connection.execute(wanted).first() is None:
            raise NoSuchTenant(
                f"there is no organization {tenant!r}", hint=f"'otel-audit tenant add {tenant}' adds it"
            )


def _insert(connection: Connection, info: KeyInfo) -> IssuedKey:
    secret = "".join(secrets.choice(_SECRET_ALPHABET) for _ in range(_SECRET_LENGTH))
    connection.execute(
        insert(INGEST_KEYS).values(
            id=info.key_id,
            name=info.name,
            secret_sha256=hashlib.sha256(secret.encode()).digest(),
            all_tenants=info.tenants is None,
            create_tenants=info.create_tenants,
            created_at=info.created_at,
            expires_at=info.expires_at,
            compromised=False,
            rotated_from=info.rotated_from,
        )
    )
    for tenant in info.tenants or ():
        connection.execute(insert(INGEST_KEY_TENANTS).values(key_id=info.key_id, tenant=tenant))
    return IssuedKey(info, f"oak_{info.key_id}_{secret}")


def _read(connection: Connection, key_id: str) -> KeyInfo:
    row = connection.execute(select(INGEST_KEYS).where(INGEST_KEYS.c.id == key_id)).one_or_none()
    if row is None:
        # What was typed may be a whole key, secret included: it is not repeated.
        raise NoSuchKey("there is no ingest key of that id", hint="see 'otel-audit key list'")
    return _info(connection, row)


def _info(connection: Connection, row: Row[Any]) -> KeyInfo:
    tenants = (
        select(INGEST_KEY_TENANTS.c.tenant)
        .where(INGEST_KEY_TENANTS.c.key_id == row.id)
        .order_by(INGEST_KEY_TENANTS.c.tenant)
    )
    return KeyInfo(
        row.id,
        row.name,
        None if row.all_tenants else tuple(connection.execute(tenants).scalars()),
        row.create_tenants,
        row.created_at,
        row.expires_at,
        row.revoked_at,
        row.compromised,
        row.rotated_from,
    )
