"""The part of the service that writes: store, control database, redaction and ingest, wired once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from otel_audit.exporter.receiver.ingest import Ingest
from otel_audit.exporter.receiver.redact import BatchRedactor
from otel_audit.exporter.redaction.engine import Redactor
from otel_audit.exporter.redaction.rules import load_rules
from otel_audit.exporter.store.blobs import make_folder
from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.regions import RegionKeys, RegionStores
from otel_audit.exporter.store.retention import DEFAULT_MONTHS, Expired
from otel_audit.instrumentation.event import AuditEvent
from otel_audit.instrumentation.ids import uuid7

from ..control.database import FILE_NAME, ControlDatabase
from ..control.deletions import Deletions
from ..control.ingest_keys import IngestKeys
from ..control.outbox import Actor
from ..control.own_events import SEARCH_PURPOSE
from ..control.reads import WaitingReads
from ..control.tenants import Tenants
from ..self_audit import SelfAudit
from ..settings import ConfigError, Settings
from .meter import Observer
from .residence_watch import ResidenceWatch
from .tenant_deletion import ActiveHolds, delete_tenant


class Core:
    """Owns the data directory while it is open. `serve` adds listeners; an offline command uses it as is."""

    def __init__(
        self,
        settings: Settings,
        *,
        lock_timeout_s: float = 0.0,
        active_holds: ActiveHolds = lambda _tenant, _now: (),
    ) -> None:
        """active_holds: tenant, seconds UTC → names of the legal holds that keep its data.

        Raises StoreLocked when another process owns a root, and the rooms' own errors.
        """
        self._active_holds = active_holds
        self.settings = settings
        self.root = RegionRoot(settings.data_dir)
        make_folder(self.root.path)
        self.db = ControlDatabase.open(self.root.path / FILE_NAME, operator_region=settings.default_region)
        roots = settings.region_roots
        self.tenants = Tenants(self.db, regions=roots, default_region=settings.default_region)
        try:
            refuse_lost_regions(self.tenants, settings)
            self.store = RegionStores(
                {region: RegionRoot(path) for region, path in roots.items()},
                self.tenants.region_of,
                lock_timeout_s=lock_timeout_s,
            )
        except BaseException:
            self.db.close()
            raise
        self.keys = IngestKeys(self.db, self.tenants)
        self.keyring = RegionKeys(self.store)
        self.deletions = Deletions(self.db)
        self.residence = ResidenceWatch(self.store.roots, self.tenants, self.deletions)
        self.reads = {region: WaitingReads(root.reads) for region, root in self.store.roots.items()}
        self.rules = load_rules()
        self._redactor = BatchRedactor(Redactor(self.rules, matcher="re2"), self.keyring)
        self.self_audit = SelfAudit(
            self.ingest(),
            self.db,
            search_key=lambda tenant: self.keyring.key(tenant, SEARCH_PURPOSE),
            reads=list(self.reads.values()),
        )

    def ingest(self, on_stored: Observer = lambda _: None) -> Ingest:
        """The way into the store. on_stored: told of the rows of each request once they are durable."""
        keys, ring = self.keys, self.keyring
        return Ingest(self.store, self._redactor, keys, ring, time.time_ns, on_stored=on_stored)

    def seal(self, tenant: str | None) -> int:
        """Write hot rows to files now; returns the rows written."""
        return self.store.seal(tenant)

    def delete_tenant(self, tenant: str, *, actor: str) -> dict[str, Any]:
        """Delete everything of an organization; see tenant_deletion.delete_tenant."""
        return delete_tenant(self, tenant, actor=Actor(actor), active_holds=self._active_holds)

    def run_retention(self, now: datetime, *, dry_run: bool, actor: str) -> list[Expired]:
        """Delete expired partitions and record each tenant's deletion.

        actor: `system:retention` or `os:<user>`.
        """
        due: list[Expired] = []
        failed: Exception | None = None
        # Region by region, so that what one has deleted is recorded when the next one fails.
        for store in self.store.stores:
            try:
                part = store.run_retention(self._months, now=now, actor=actor, dry_run=dry_run)
            except Exception as error:  # noqa: BLE001 - raised when every region had its turn
                failed = failed or error
                continue
            for tenant in sorted({partition.tenant for partition in part}) if not dry_run else ():
                mine = [partition for partition in part if partition.tenant == tenant]
                self.self_audit.record(tenant, _deletion(mine, actor))
            due += part
        if failed is not None:
            raise failed
        return due

    def _months(self, tenant: str, now: datetime) -> Mapping[str, int]:
        # A tenant that was never added (or was removed) keeps the defaults: never a shorter life.
        return self.tenants.retention_of(tenant, now) if self.tenants.exists(tenant) else DEFAULT_MONTHS

    def close(self) -> None:
        """Record what waits to be recorded, then release the data directory."""
        self.self_audit.stop()
        self.store.close()
        self.db.close()


def refuse_lost_regions(tenants: Tenants, settings: Settings) -> None:
    """Refuse a configuration that does not say where an organization's data is. Raises ConfigError."""
    lost = [region for region in tenants.regions_in_use() if region not in settings.region_roots]
    if lost:
        raise ConfigError(
            f"organizations are pinned to region {lost[0]}, which is not configured",
            hint=f"set regions.{lost[0]} to its root; every command needs the server's configuration",
        )


def _deletion(partitions: list[Expired], actor: str) -> AuditEvent:
    rows = sum(partition.rows for partition in partitions)
    return AuditEvent(
        record_id=uuid7(),
        time_unix_nano=time.time_ns(),
        category="system",
        action="retention_delete",
        message=f"Retention deleted {len(partitions)} partitions with {rows} events",
        user_id=actor,
        user_type="user" if actor.startswith("os:") else "system",
        target_type="partition",
        attributes={
            "audit.retention.partitions": [f"{p.retention}/{p.date}" for p in partitions],
            "audit.retention.rows": rows,
        },
    )
