"""The part of the service that writes: stores, control database, redaction and ingest, wired once."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from otel_audit.exporter.receiver.ingest import Ingest
from otel_audit.exporter.receiver.redact import BatchRedactor
from otel_audit.exporter.redaction.engine import Redactor
from otel_audit.exporter.redaction.rules import load_rules
from otel_audit.exporter.store.backups.backup_list import refuse_copies
from otel_audit.exporter.store.files.blobs import make_folder
from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.regions.claim import claim_root
from otel_audit.exporter.store.regions.stores import RegionKeys, RegionStores
from otel_audit.exporter.store.regions.tenant_copy import refuse_handed_over
from otel_audit.exporter.store.upkeep.retention import Expired
from otel_audit.exporter.wal.files import OS, FileSystem

from ..control.database import FILE_NAME, ControlDatabase
from ..control.deletions import Deletions
from ..control.holds import Holds
from ..control.ingest_keys import IngestKeys
from ..control.outbox import Actor
from ..control.own_events import SEARCH_PURPOSE
from ..control.reads import WaitingReads
from ..control.region_claims import RegionClaims, check_roots, refuse_orphans
from ..control.tenants import Tenants
from ..self_audit import SelfAudit
from ..settings import Settings
from .meter import Observer
from .policies import policies
from .residence_watch import ResidenceWatch
from .retention_run import RetentionRuns
from .tenant_deletion import delete_tenant


class Core:
    """Owns the data directory while it is open. `serve` adds listeners; an offline command uses it as is."""

    def __init__(
        self,
        settings: Settings,
        *,
        create: bool = True,
        giving_up: str | None = None,
        lock_timeout_s: float = 0.0,
        fs: FileSystem = OS,
    ) -> None:
        """create: make the data directory when it is not there. fs: the file system under the stores.

        giving_up: an organization whose folder may be gone, for it is to be deleted.
        Raises StoreLocked when another process owns a root, ControlMissing (none and not create), DataGone
        (a root or a folder that held rows is not there), and the rooms' own errors.
        """
        self.settings = settings
        self.root = RegionRoot(settings.data_dir)
        refuse_copies(self.root.path)
        if not (self.root.path / FILE_NAME).exists():
            refuse_handed_over(self.root.path)
        if create:
            refuse_orphans(settings)
            make_folder(self.root.path)
        self.db = ControlDatabase.open(
            self.root.path / FILE_NAME, create=create, operator_region=settings.default_region
        )
        roots = settings.region_roots
        self.tenants = Tenants(self.db, regions=roots, default_region=settings.default_region)
        try:
            self._claim()
            self.store = RegionStores(
                {region: RegionRoot(path) for region, path in roots.items()},
                self.tenants.region_of,
                lock_timeout_s=lock_timeout_s,
                fs=fs,
                giving_up=giving_up,
            )
        except BaseException:
            self.db.close()
            raise
        self.keys = IngestKeys(self.db, self.tenants)
        self.keyring = RegionKeys(self.store)
        self.holds = Holds(self.db, release_delay_s=settings.hold_release_delay_s)
        self.deletions = Deletions(self.db)
        self.residence = ResidenceWatch(self.store.roots, self.tenants, self.deletions)
        self.reads = {region: WaitingReads(root.reads) for region, root in self.store.roots.items()}
        self.rules = load_rules()
        self._redactor = BatchRedactor(
            Redactor(self.rules, matcher="re2"), self.keyring, policies(self.tenants)
        )
        self.self_audit = SelfAudit(
            self.ingest(),
            self.db,
            search_key=lambda tenant: self.keyring.key(tenant, SEARCH_PURPOSE),
            reads=list(self.reads.values()),
        )
        self._retention = RetentionRuns(
            self.store,
            self.tenants,
            self.holds,
            self.self_audit,
            memory_limit_mb=settings.memory_limit_mb,
            tokens_of=self.keyring.tokens_of,
        )

    def _claim(self) -> None:
        """Take over roots that are new, and refuse what only looks so."""
        check_roots(self.db, self.settings)
        for region, path in self.settings.region_roots.items():
            claim_root(RegionRoot(path), region)
        RegionClaims(self.db).record(self.settings.region_roots)

    def ingest(self, on_stored: Observer = lambda _: None) -> Ingest:
        """The way into the store. on_stored: told of the rows of each request once they are durable."""
        keys, ring = self.keys, self.keyring
        return Ingest(self.store, self._redactor, keys, ring, time.time_ns, on_stored=on_stored)

    def seal(self, tenant: str | None) -> int:
        """Write hot rows to files now; returns the rows written."""
        return self.store.seal(tenant)

    def delete_tenant(self, tenant: str, *, actor: str) -> dict[str, Any]:
        """Delete everything of an organization; see tenant_deletion.delete_tenant."""
        return delete_tenant(self, tenant, actor=Actor(actor))

    def run_retention(self, now: datetime, *, dry_run: bool, actor: str) -> list[Expired]:
        """Delete what is expired and not held; see RetentionRuns.run."""
        return self._retention.run(now, dry_run=dry_run, actor=actor)

    def record_waiting(self) -> None:
        """Record what waits to be recorded: changes, reads and what retention deleted. Raises AuditError."""
        self._retention.tell_deleted()
        self.self_audit.drain_outbox()

    def close(self) -> None:
        """Record what waits to be recorded, then release the data directory."""
        self.self_audit.stop()
        self.store.close()
        self.db.close()
