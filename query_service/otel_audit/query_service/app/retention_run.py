"""One run of retention over all regions: judge what is held, delete what is due, record both."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from otel_audit.exporter.store.regions.stores import RegionStores
from otel_audit.exporter.store.store import Store
from otel_audit.exporter.store.upkeep.deletion_notes import Deletion
from otel_audit.exporter.store.upkeep.retention import DEFAULT_MONTHS, Expired
from otel_audit.instrumentation.errors import AuditError
from otel_audit.instrumentation.event import AuditEvent
from otel_audit.instrumentation.ids import uuid7
from otel_audit.instrumentation.vocabulary import Severity

from ..control.holds import Holds
from ..control.retention import MONTHS_MAX
from ..control.tenants import Tenants
from ..engine import Engine
from ..held_rows import HeldRows
from ..self_audit import SelfAudit

log = logging.getLogger(__name__)


class RetentionIncomplete(AuditError):
    """Something that may have been due was kept, because it could not be known whether it is held."""


class RetentionRuns:
    """Runs retention. memory_limit_mb: of the engine that evaluates holds; tokens_of: as in HeldRows."""

    def __init__(
        self,
        stores: RegionStores,
        tenants: Tenants,
        holds: Holds,
        self_audit: SelfAudit,
        *,
        memory_limit_mb: int,
        tokens_of: Callable[[str, str], Sequence[str]],
    ) -> None:
        self._stores, self._tenants, self._holds, self._self_audit = stores, tenants, holds, self_audit
        self._memory_limit_mb, self._tokens_of = memory_limit_mb, tokens_of
        # Partitions that are held wholly, by files and holds, so that they are not read every hour.
        self._held_wholly: set[bytes] = set()

    def run(self, now: datetime, *, dry_run: bool, actor: str) -> list[Expired]:
        """Delete expired partitions but for what is held, and record each tenant's deletion.

        actor: `system:retention` or `os:<user>`. Raises RetentionIncomplete after everything else is done
        when something of a tenant should have been judged and could not be.
        """
        judge = HeldRows(
            self._holds, self._judging_engine, whole=self._held_wholly, tokens_of=self._tokens_of
        )

        def months(tenant: str, at: datetime) -> Mapping[str, int]:
            try:
                return self._months(tenant, at)
            except AuditError as error:
                log.error("the retention of %s cannot be read: %s", tenant, error.message)
                judge.problems[tenant] = "its retention cannot be read"
                # Of what is due nonetheless, the judge keeps everything.
                return dict.fromkeys(DEFAULT_MONTHS, MONTHS_MAX)

        due: list[Expired] = []
        failed: Exception | None = None
        with contextlib.closing(judge):
            # Region by region, so that what one has deleted is recorded when the next one fails.
            for store in self._stores.stores:
                try:
                    due += store.run_retention(months, now=now, actor=actor, dry_run=dry_run, held=judge)
                except Exception as error:  # noqa: BLE001 - raised when every region had its turn
                    failed = failed or error
                if not dry_run:
                    # Also what an earlier run deleted before it died.
                    untold = self._tell_deleted(store)
                    failed = failed or untold
        self._tell(judge.problems, dry_run, actor, len(due))
        if failed is not None:
            raise failed
        return due

    def tell_deleted(self) -> None:
        """Record what was deleted and is not recorded yet. Raises what failed first, after the others."""
        failures = [self._tell_deleted(store) for store in self._stores.stores]
        for failure in filter(None, failures):
            raise failure

    def _tell_deleted(self, store: Store) -> Exception | None:
        """Record every tenant's deletion; what failed first when one could not be."""
        try:
            untold = store.untold_deletions()
        except (AuditError, OSError) as error:
            log.error("what retention deleted cannot be read: %s", error)
            return error
        failed: Exception | None = None
        for deletion in untold:
            try:
                if not deletion.nothing:
                    self._self_audit.record(deletion.tenant, _deletion(deletion))
                store.told(deletion)
            except (AuditError, OSError) as error:
                # The note stays for the next run; others' deletions must be told all the same.
                log.error("what retention deleted of %s cannot be recorded: %s", deletion.tenant, error)
                failed = failed or error
        return failed

    def _months(self, tenant: str, now: datetime) -> Mapping[str, int]:
        # A tenant that was never added (or was removed) keeps the defaults: never a shorter life.
        return self._tenants.retention_of(tenant, now) if self._tenants.exists(tenant) else DEFAULT_MONTHS

    def _judging_engine(self) -> Engine:
        # One thread: whoever searches meanwhile comes first.
        return Engine(memory_limit=f"{self._memory_limit_mb}MB", threads=1)

    def _tell(self, problems: Mapping[str, str], dry_run: bool, actor: str, gone: int) -> None:
        for tenant, reason in problems.items() if not dry_run else ():
            try:
                self._self_audit.record(tenant, _nothing_deleted(reason, actor))
            except AuditError as error:
                log.error("retention kept everything of %s, which cannot be recorded: %s", tenant, error)
        if problems:
            kept = "; ".join(f"{tenant}: {reason}" for tenant, reason in sorted(problems.items())[:3])
            raise RetentionIncomplete(
                f"retention kept everything of {len(problems)} organizations ({kept}); "
                f"{gone} partitions of others {'would go' if dry_run else 'are deleted'}",
                hint="restore the file or control database that is needed, or release the hold; run it again",
            )


def _event(
    actor: str, message: str, *, record_id: str = "", time_unix_nano: int = 0, **given: object
) -> AuditEvent:
    return AuditEvent(
        record_id=record_id or uuid7(),
        time_unix_nano=time_unix_nano or time.time_ns(),
        category="system",
        action="retention_delete",
        message=message,
        user_id=actor,
        user_type="user" if actor.startswith("os:") else "system",
        target_type="partition",
        **given,  # type: ignore[arg-type]
    )


def _nothing_deleted(reason: str, actor: str) -> AuditEvent:
    return _event(
        actor,
        "Retention deleted nothing, because what is held could not be judged",
        outcome="failure",
        severity=Severity.ERROR,
        attributes={"otel_audit.reason": reason},
    )


def _deletion(deletion: Deletion) -> AuditEvent:
    """The same event whenever it is made, so that the store knows it when it comes twice."""
    gone = [_counted(len(deletion.partitions), "partition") + f" with {_counted(deletion.rows, 'event')}"]
    if deletion.aside:
        refused = _counted(deletion.aside, "file") + " of refused lines"
        gone = [*gone, refused] if deletion.partitions else [refused]
    return _event(
        deletion.actor,
        f"Retention deleted {' and '.join(gone)}",
        record_id=deletion.event_id,
        time_unix_nano=deletion.time_unix_nano,
        attributes={
            "audit.retention.partitions": list(deletion.partitions),
            "audit.retention.rows": deletion.rows,
            **({"audit.retention.kept_aside": deletion.aside} if deletion.aside else {}),
        },
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
