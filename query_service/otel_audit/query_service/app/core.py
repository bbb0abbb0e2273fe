"""The part of the service that writes: store, control database, redaction and ingest, wired once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime

from otel_audit.exporter.receiver.ingest import Ingest
from otel_audit.exporter.receiver.redact import BatchRedactor
from otel_audit.exporter.redaction.engine import Redactor
from otel_audit.exporter.redaction.rules import load_rules
from otel_audit.exporter.store.blobs import make_folder
from otel_audit.exporter.store.keyring import Keyring
from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.retention import DEFAULT_MONTHS, Expired
from otel_audit.exporter.store.store import Store
from otel_audit.exporter.wal.files import OS, FileSystem
from otel_audit.instrumentation.event import AuditEvent
from otel_audit.instrumentation.ids import uuid7

from ..control.database import ControlDatabase
from ..control.ingest_keys import IngestKeys
from ..control.own_events import SEARCH_PURPOSE
from ..control.tenants import Tenants
from ..self_audit import SelfAudit
from ..settings import Settings
from .meter import Observer


class Core:
    """Owns the data directory while it is open. `serve` adds listeners; an offline command uses it as is."""

    def __init__(self, settings: Settings, *, lock_timeout_s: float = 0.0, fs: FileSystem = OS) -> None:
        """fs: the file system under the store.

        Raises StoreLocked when another process owns the directory, and the rooms' own errors.
        """
        self.settings = settings
        self.root = RegionRoot(settings.data_dir)
        make_folder(self.root.path)
        self.store = Store(self.root, lock_timeout_s=lock_timeout_s, fs=fs)
        self.db = ControlDatabase.open(self.root.path / "control.sqlite")
        self.tenants = Tenants(self.db)
        self.keys = IngestKeys(self.db)
        self.keyring = Keyring(self.root.keys)
        self.rules = load_rules()
        self._redactor = BatchRedactor(Redactor(self.rules, matcher="re2"), self.keyring)
        self.self_audit = SelfAudit(
            self.ingest(), self.db, search_key=lambda tenant: self.keyring.key(tenant, SEARCH_PURPOSE)
        )

    def ingest(self, on_stored: Observer = lambda _: None) -> Ingest:
        """The way into the store. on_stored: told of the rows of each request once they are durable."""
        keys, ring = self.keys, self.keyring
        return Ingest(self.store, self._redactor, keys, ring, time.time_ns, on_stored=on_stored)

    def seal(self, tenant: str | None) -> int:
        """Write hot rows to files now; returns the rows written."""
        return self.store.seal(tenant)

    def run_retention(self, now: datetime, *, dry_run: bool, actor: str) -> list[Expired]:
        """Delete expired partitions and record each tenant's deletion.

        actor: `system:retention` or `os:<user>`.
        """
        due = self.store.run_retention(self._months, now=now, actor=actor, dry_run=dry_run)
        if not dry_run:
            for tenant in sorted({partition.tenant for partition in due}):
                mine = [partition for partition in due if partition.tenant == tenant]
                self.self_audit.record(tenant, _deletion(mine, actor))
        return due

    def _months(self, tenant: str, now: datetime) -> Mapping[str, int]:
        # A tenant that was never added (or was removed) keeps the defaults: never a shorter life.
        return self.tenants.retention_of(tenant, now) if self.tenants.exists(tenant) else DEFAULT_MONTHS

    def close(self) -> None:
        """Record what waits to be recorded, then release the data directory."""
        self.self_audit.stop()
        self.store.close()
        self.db.close()


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
