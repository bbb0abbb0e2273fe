"""Organizations: who may have events, under which other names, and for how long."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from otel_audit.exporter.redaction.tenant_policy import Policy
from otel_audit.exporter.store.partition import DEFAULT_REGION, TENANT_PATTERN
from otel_audit.instrumentation.errors import AuditError

from .database import OPERATOR, ControlDatabase
from .free_text import has_secret, prose
from .outbox import Actor, Change, os_actor, put_change
from .recent import Recent
from .redaction import NO_POLICY, policy_of, put_policy, stored_policies
from .retention import DEFAULT, Retention, retention_to_json
from .tables import ALIASES, TENANT_DELETIONS, TENANTS
from .tenant import Tenant, differences, settings_of, tenant_of, told

_EXPORT_RATE: Final = re.compile(r"[1-9][0-9]{0,5}/[mhd]")
_ALIAS_LENGTH_MAX: Final = 256
# Ten times what one region root is built for; a forwarder that may create tenants stops here.
TENANTS_MAX: Final = 100_000


NOT_DELETED: Final = TENANTS.c.id.not_in(select(TENANT_DELETIONS.c.tenant))
"""Of organizations whose deletion has not begun: for everybody but the deletion the others are gone."""


class InvalidTenant(AuditError):
    """A tenant setting that cannot be used."""

    exit_status = 2  # on the command line it is wrong use, not a failure


class TenantExists(AuditError):
    """The id or alias is already taken."""


class NoSuchTenant(AuditError):
    """There is no tenant of that id."""


class Tenants:
    """The organizations of a data directory. Every change is recorded in the same transaction."""

    def __init__(
        self,
        database: ControlDatabase,
        *,
        now: Callable[[], float] = time.time,
        regions: Iterable[str] = (DEFAULT_REGION,),
        default_region: str = DEFAULT_REGION,
    ) -> None:
        """regions: those that are configured. default_region: where who names none is pinned."""
        self._database = database
        self._now = now
        self._regions = tuple(regions)
        self._default_region = default_region
        self._found: Recent[str, str | None] = Recent(self._load_region)
        self._policies: Recent[str, Policy] = Recent(self._load_policy)

    def add(
        self,
        id: str,  # noqa: A002
        aliases: Iterable[str] = (),
        region: str | None = None,
        retention: Mapping[str, int] | None = None,
        export_rate: str = "10/h",
        *,
        redaction: Policy | None = None,
        actor: Actor | None = None,
    ) -> Tenant:
        """Add an organization, pinned to a region for good.

        retention: months per class, 6 and 3 where not given. redaction: the default policy when None.
        Raises InvalidTenant, TenantExists, ControlUnavailable.
        """
        with self._database.write() as connection:
            tenant = self._add(
                connection, id, tuple(aliases), region, retention, export_rate, actor, redaction
            )
        self._found.clear()
        return tenant

    def ensure(self, tenant_id: str, *, actor: Actor) -> bool:
        """Add an organization with the defaults unless it exists; False when the id cannot be one."""
        if not TENANT_PATTERN.fullmatch(tenant_id) or tenant_id == OPERATOR or has_secret(tenant_id):
            return False
        with self._database.write() as connection:
            if _find(connection, tenant_id) is None:
                taken = _deletion(connection, tenant_id) or _alias_owner(connection, tenant_id)
                if taken is not None or _count(connection) >= TENANTS_MAX:
                    return False
                self._add(connection, tenant_id, (), None, None, "10/h", actor)
        self._found.clear()
        return True

    def set(
        self,
        tenant_id: str,
        *,
        add_aliases: Iterable[str] = (),
        remove_aliases: Iterable[str] = (),
        retention: Mapping[str, int] | None = None,
        export_rate: str | None = None,
        redaction: Policy | None = None,
        reason: str | None = None,
        at_once: bool = False,
        actor: Actor | None = None,
    ) -> Tenant:
        """Change what is given and keep the rest; a shorter retention as Retention.changed says.

        Raises NoSuchTenant, InvalidTenant, InvalidRetention, TenantExists, ControlUnavailable.
        """
        now, reason = self._now(), None if reason is None else prose(reason)
        with self._database.write() as connection:
            before = self._read(connection, tenant_id, now)
            asked = Retention(before.retention, before.retention_pending).changed(
                retention or {}, now=now, reason=reason, at_once=at_once
            )
            months, pending = retention_to_json(asked)
            rate = before.export_rate if export_rate is None else _checked_rate(export_rate)
            connection.execute(
                update(TENANTS)
                .where(TENANTS.c.id == tenant_id)
                .values(retention=months, retention_pending=pending, export_rate=rate)
            )
            gone = list(remove_aliases)
            connection.execute(
                delete(ALIASES).where(ALIASES.c.tenant == tenant_id, ALIASES.c.alias.in_(gone))
            )
            _add_aliases(connection, tenant_id, [a for a in add_aliases if a not in before.aliases])
            if redaction is not None:
                put_policy(connection, tenant_id, redaction)
            after = self._read(connection, tenant_id, now)
            changes = differences(before, after)
            if changes:
                change = Change(
                    "system",
                    "config_change",
                    f"settings of organization {tenant_id} changed",
                    ("tenant", tenant_id, None),
                    changes,
                    told(after, reason, policy="redaction" in changes),
                )
                put_change(connection, [tenant_id], change, actor=actor or os_actor(), now=now)
        self._policies.clear()
        return after

    def show(self, tenant_id: str) -> Tenant:
        """One organization. Raises NoSuchTenant, ControlUnavailable."""
        with self._database.read() as connection:
            return self._read(connection, tenant_id, self._now())

    def list(self) -> Sequence[Tenant]:
        """Every organization, the operator's own included, by id."""
        now = self._now()
        with self._database.read() as connection:
            rows = connection.execute(select(TENANTS).where(NOT_DELETED).order_by(TENANTS.c.id)).all()
            aliases: dict[str, list[str]] = {}
            for alias, tenant in connection.execute(select(ALIASES).order_by(ALIASES.c.alias)):
                aliases.setdefault(tenant, []).append(alias)
            policies = stored_policies(connection)
        return [
            tenant_of(row, tuple(aliases.get(row.id, ())), now, policies.get(row.id, NO_POLICY))
            for row in rows
        ]

    def exists(self, tenant_id: str) -> bool:
        """Whether there is such an organization; at most RECENT_S old. Raises ControlUnavailable."""
        return self.region_of(tenant_id) is not None

    def region_of(self, tenant_id: str) -> str | None:
        """The region an organization is pinned to, None when there is none of that id (any more).

        At most RECENT_S old. Raises ControlUnavailable.
        """
        return self._found.get(tenant_id) if TENANT_PATTERN.fullmatch(tenant_id) else None

    def redaction_of(self, tenant_id: str) -> Policy:
        """The redaction policy in force, at most RECENT_S old; the default for who has none.

        Raises PolicyError when it cannot be used by this release, ControlUnavailable.
        """
        return self._policies.get(tenant_id)

    def regions_in_use(self) -> Sequence[str]:
        """Every region that an organization is pinned to. Raises ControlUnavailable."""
        with self._database.read() as connection:
            wanted = select(TENANTS.c.region).where(NOT_DELETED).distinct().order_by(TENANTS.c.region)
            return connection.execute(wanted).scalars().all()

    def check_region(self, region: str) -> None:
        """Raises InvalidTenant unless the region is configured."""
        if region not in self._regions:
            raise InvalidTenant(
                f"{region[:80]!r} is no region",
                hint=f"one of: {', '.join(self._regions)}; [regions] in the configuration names more",
            )

    def moved(self, tenant_id: str, region: str, *, actor: Actor) -> None:
        """Pin an organization whose data has been moved already to where it is now.

        Raises NoSuchTenant, InvalidTenant, ControlUnavailable.
        """
        self.check_region(region)
        now = self._now()
        with self._database.write() as connection:
            before = self._read(connection, tenant_id, now)
            connection.execute(update(TENANTS).where(TENANTS.c.id == tenant_id).values(region=region))
            change = Change(
                "system",
                "config_change",
                f"organization {tenant_id} moved to another region",
                ("tenant", tenant_id, None),
                {"region": (before.region, region)},
            )
            put_change(connection, [tenant_id], change, actor=actor, now=now)
        self._found.clear()

    def forget_recent(self) -> None:
        """See changes of other rooms of this process at once."""
        self._found.clear()
        self._policies.clear()

    def retention_of(self, tenant_id: str, now: datetime | float) -> Mapping[str, int]:
        """Months per class in force at `now`, aware or seconds UTC.

        Raises NoSuchTenant, ControlUnavailable.
        """
        at = now.timestamp() if isinstance(now, datetime) else now
        with self._database.read() as connection:
            return self._read(connection, tenant_id, at).retention

    def resolve(self, name: str) -> str | None:
        """Id of the organization with that id or alias. Raises ControlUnavailable."""
        with self._database.read() as connection:
            return name if _find(connection, name) is not None else _alias_owner(connection, name)

    def _add(
        self,
        connection: Connection,
        tenant_id: str,
        aliases: Sequence[str],
        region: str | None,
        retention: Mapping[str, int] | None,
        export_rate: str,
        actor: Actor | None,
        redaction: Policy | None = None,
    ) -> Tenant:
        now = self._now()
        region = region or self._default_region
        _check_new(connection, tenant_id)
        self.check_region(region)
        months, pending = retention_to_json(Retention({**DEFAULT, **(retention or {})}, {}))
        connection.execute(
            insert(TENANTS).values(
                id=tenant_id,
                region=region,
                retention=months,
                retention_pending=pending,
                export_rate=_checked_rate(export_rate),
                created_at=now,
            )
        )
        _add_aliases(connection, tenant_id, aliases)
        if redaction is not None:
            put_policy(connection, tenant_id, redaction)
        tenant = self._read(connection, tenant_id, now)
        change = Change(
            "system",
            "config_change",
            f"organization {tenant_id} added",
            ("tenant", tenant_id, None),
            {name: (None, value) for name, value in settings_of(tenant).items() if value},
            told(tenant, None, policy=tenant.redaction != NO_POLICY),
        )
        put_change(connection, [tenant_id], change, actor=actor or os_actor(), now=now)
        return tenant

    def _read(self, connection: Connection, tenant_id: str, now: float) -> Tenant:
        row = _find(connection, tenant_id)
        if row is None:
            raise NoSuchTenant(f"there is no organization {tenant_id!r}", hint="see 'otel-audit tenant list'")
        names = select(ALIASES.c.alias).where(ALIASES.c.tenant == tenant_id).order_by(ALIASES.c.alias)
        text = stored_policies(connection, tenant_id).get(tenant_id, NO_POLICY)
        return tenant_of(row, tuple(connection.execute(names).scalars()), now, text)

    def _load_region(self, tenant_id: str) -> str | None:
        with self._database.read() as connection:
            row = _find(connection, tenant_id)
        return None if row is None else str(row.region)

    def _load_policy(self, tenant_id: str) -> Policy:
        with self._database.read() as connection:
            return policy_of(connection, tenant_id)


def _find(connection: Connection, tenant_id: str) -> Row[Any] | None:
    return connection.execute(select(TENANTS).where(TENANTS.c.id == tenant_id, NOT_DELETED)).one_or_none()


def _deletion(connection: Connection, tenant_id: str) -> Row[Any] | None:
    wanted = select(TENANT_DELETIONS).where(TENANT_DELETIONS.c.tenant == tenant_id)
    return connection.execute(wanted).one_or_none()


def _count(connection: Connection) -> int:
    return int(connection.execute(select(func.count()).select_from(TENANTS)).scalar_one())


def _alias_owner(connection: Connection, alias: str) -> str | None:
    return connection.execute(select(ALIASES.c.tenant).where(ALIASES.c.alias == alias)).scalar_one_or_none()


def _check_new(connection: Connection, tenant_id: str) -> None:
    if not TENANT_PATTERN.fullmatch(tenant_id):
        raise InvalidTenant(
            f"{tenant_id[:80]!r} cannot be an organization's id",
            hint="use a-z, 0-9, _ and -, a letter first, at most 63; other names go into --alias",
        )
    if has_secret(tenant_id):
        raise InvalidTenant(
            "the organization's id looks like a secret", hint="choose an id that everybody may read"
        )
    if _deletion(connection, tenant_id) is not None:
        raise TenantExists(
            f"there was an organization {tenant_id}, which was deleted; ids are never used twice",
            hint=f"'otel-audit tenant add ANOTHER --alias {tenant_id}' takes what is sent under that name",
        )
    if _find(connection, tenant_id) is not None:
        raise TenantExists(
            f"organization {tenant_id} already exists", hint="'otel-audit tenant set' changes it"
        )
    owner = _alias_owner(connection, tenant_id)
    if owner is not None:
        raise TenantExists(
            f"{tenant_id} is already an alias of {owner}",
            hint=f"'otel-audit tenant set {owner} --remove-alias {tenant_id}'",
        )


def _add_aliases(connection: Connection, tenant_id: str, aliases: Iterable[str]) -> None:
    for alias in dict.fromkeys(aliases):
        if not alias.strip() or len(alias) > _ALIAS_LENGTH_MAX or not alias.isprintable():
            raise InvalidTenant(
                f"{alias[:80]!r} cannot be an alias",
                hint=f"use 1 to {_ALIAS_LENGTH_MAX} printable characters",
            )
        if has_secret(alias):
            raise InvalidTenant("the alias looks like a secret", hint="use the name that apps send")
        if tenant_id == OPERATOR or alias == OPERATOR:
            raise InvalidTenant(
                "the operator's own organization has no aliases", hint="nothing sends events to it by name"
            )
        owner = _alias_owner(connection, alias) or (alias if _find(connection, alias) is not None else None)
        if owner is not None:
            raise TenantExists(
                f"{alias!r} already names {owner}", hint="'otel-audit tenant list' shows aliases"
            )
        connection.execute(insert(ALIASES).values(alias=alias, tenant=tenant_id))


def _checked_rate(rate: str) -> str:
    if not _EXPORT_RATE.fullmatch(rate):
        raise InvalidTenant(f"export rate {rate!r} is not understood", hint="write 10/h, or 5/m, 100/d")
    return rate
