"""The part of the service that writes: store, control database, redaction and ingest, wired once."""

from __future__ import annotations

import contextlib
import logging
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
from otel_audit.instrumentation.errors import AuditError
from otel_audit.instrumentation.event import AuditEvent
from otel_audit.instrumentation.ids import uuid7
from otel_audit.instrumentation.vocabulary import Severity

from ..control.database import ControlDatabase
from ..control.holds import Holds
from ..control.ingest_keys import IngestKeys
from ..control.own_events import SEARCH_PURPOSE
from ..control.retention import MONTHS_MAX
from ..control.tenants import Tenants
from ..engine import Engine
from ..held_rows import HeldRows
from ..self_audit import SelfAudit
from ..settings import Settings
from .meter import Observer

log = logging.getLogger(__name__)


class RetentionIncomplete(AuditError):
    """Something that may have been due was kept, because it could not be known whether it is held."""


class Core:
    """Owns the data directory while it is open. `serve` adds listeners; an offline command uses it as is."""

    def __init__(self, settings: Settings, *, lock_timeout_s: float = 0.0) -> None:
        """Raises StoreLocked when another process owns the directory, and the rooms' own errors."""
        self.settings = settings
        self.root = RegionRoot(settings.data_dir)
        make_folder(self.root.path)
        self.store = Store(self.root, lock_timeout_s=lock_timeout_s)
        self.db = ControlDatabase.open(self.root.path / "control.sqlite")
        self.tenants = Tenants(self.db)
        self._held_wholly: set[bytes] = set()
        self.holds = Holds(self.db, release_delay_s=settings.hold_release_delay_s)
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
        """Delete expired partitions but for what is held, and record each tenant's deletion.

        actor: `system:retention` or `os:<user>`. Raises RetentionIncomplete after everything else is done
        when something of a tenant should have been judged and could not be.
        """
        judge = HeldRows(self.holds, self._judging_engine, whole=self._held_wholly)

        def months(tenant: str, at: datetime) -> Mapping[str, int]:
            try:
                return self._months(tenant, at)
            except AuditError as error:
                log.error("the retention of %s cannot be read: %s", tenant, error.message)
                judge.problems[tenant] = "its retention cannot be read"
                # Of what is due nonetheless, the judge keeps everything.
                return dict.fromkeys(DEFAULT_MONTHS, MONTHS_MAX)

        with contextlib.closing(judge):
            due = self.store.run_retention(months, now=now, actor=actor, dry_run=dry_run, held=judge)
        if not dry_run:
            for tenant in sorted({partition.tenant for partition in due}):
                mine = [partition for partition in due if partition.tenant == tenant]
                self.self_audit.record(tenant, _deletion(mine, actor))
        self._tell(judge.problems, dry_run, actor, len(due))
        return due

    def _months(self, tenant: str, now: datetime) -> Mapping[str, int]:
        # A tenant that was never added (or was removed) keeps the defaults: never a shorter life.
        return self.tenants.retention_of(tenant, now) if self.tenants.exists(tenant) else DEFAULT_MONTHS

    def _judging_engine(self) -> Engine:
        # One thread: whoever searches meanwhile comes first.
        return Engine(memory_limit=f"{self.settings.memory_limit_mb}MB", threads=1)

    def _tell(self, problems: Mapping[str, str], dry_run: bool, actor: str, gone: int) -> None:
        for tenant, reason in problems.items() if not dry_run else ():
            try:
                self.self_audit.record(tenant, _nothing_deleted(reason, actor))
            except AuditError as error:
                log.error("retention kept everything of %s, which cannot be recorded: %s", tenant, error)
        if problems:
            kept = "; ".join(f"{tenant}: {reason}" for tenant, reason in sorted(problems.items())[:3])
            raise RetentionIncomplete(
                f"retention kept everything of {len(problems)} organizations ({kept}); "
                f"{gone} partitions of others {'would go' if dry_run else 'are deleted'}",
                hint="restore the file or control database that is needed, or release the hold; run it again",
            )

    def close(self) -> None:
        """Record what waits to be recorded, then release the data directory."""
        self.self_audit.stop()
        self.store.close()
        self.db.close()


def _nothing_deleted(reason: str, actor: str) -> AuditEvent:
    return AuditEvent(
        record_id=uuid7(),
        time_unix_nano=time.time_ns(),
        category="system",
        action="retention_delete",
        outcome="failure",
        severity=Severity.ERROR,
        message="Retention deleted nothing, because what is held could not be judged",
        user_id=actor,
        user_type="user" if actor.startswith("os:") else "system",
        target_type="partition",
        attributes={"otel_audit.reason": reason},
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
