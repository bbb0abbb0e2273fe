"""The auditor audited: refusals, reads and administrators' changes become events of the same trail."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from otel_audit.instrumentation.errors import AuditError
from otel_audit.instrumentation.event import AuditEvent

from .auth.principal import Principal
from .auth.refusals import RefusalCounter, RefusalKey, Tally, minute_of
from .auth.request_facts import RequestFacts
from .control.database import OPERATOR, ControlDatabase
from .control.outbox import Outbox, Waiting
from .control.own_events import plain, read_event, refusal_event
from .control.own_request import own_request
from .control.reads import WaitingReads
from .control.tenants import Tenants

if TYPE_CHECKING:
    from otel_audit.exporter.receiver.ingest import Ingest

_log = logging.getLogger(__name__)

# Quick enough that an administrator sees a change in the trail at once; idle it costs a few ms a second.
DRAIN_INTERVAL_S: Final = 0.25
# One request's worth; the next round takes the rest.
_DRAIN_ROWS: Final = 200
# Organizations whose events cannot be stored and are passed over in one round; each is tried once a round.
_PASSED_OVER_MAX: Final = 1_000
# A person who pages for longer than a session lasts starts a new read.
_ONCE_AGE_S: Final = 8 * 3600
# Reads in progress of more people than one server serves.
_ONCE_MAX: Final = 10_000
# As long as the receiver may take for an fsync before a client would have given up.
_ONCE_WAIT_S: Final = 30
ANONYMOUS: Final = "anonymous"


class AuditUnavailable(AuditError):
    """The event could not be made durable, so what it tells of must not happen: 503, retry_after_s."""

    def __init__(self, message: str, *, hint: str = "", retry_after_s: float = 1.0) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class SelfAudit:
    """Writes the service's own events through the receiver's pipeline: redacted, durable, searchable."""

    def __init__(
        self,
        ingest: Ingest,
        database: ControlDatabase,
        now_ns: Callable[[], int] = time.time_ns,
        *,
        refusals: RefusalCounter | None = None,
        search_key: Callable[[str], bytes] | None = None,
        reads: Sequence[WaitingReads] = (),
    ) -> None:
        """search_key: organization → the key that hashes its free-text searches; one for this run if None.

        reads: where each region keeps what commands have read.
        """
        own_key = secrets.token_bytes(32)
        self._ingest = ingest
        self._now_ns = now_ns
        self._search_key = search_key or (lambda _: own_key)
        self._outboxes: tuple[Outbox | WaitingReads, ...] = (Outbox(database), *reads)
        self._tenants = Tenants(database, now=lambda: now_ns() / 1e9)
        self._refusals = refusals or RefusalCounter()
        self._once: OrderedDict[tuple[str, str, str], tuple[float, Future[None]]] = OrderedDict()
        self._once_lock = threading.Lock()
        self._drain_lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def record(self, org: str | None, event: AuditEvent) -> None:
        """Make one event of an organization durable; of one that does not exist it goes to `operator`.

        Raises AuditUnavailable.
        """
        self._accept(self._tenant_of(org), [event])

    def read(
        self,
        org: str,
        principal: Principal,
        facts: RequestFacts,
        action: str,
        details: Mapping[str, Any],
        once_key: str | None = None,
    ) -> None:
        """Record that somebody is about to see events; answer only after this returned.

        action: `search`, `read` (details names `event_id`), `export` or `stream`.
        once_key: what makes calls one action of this person, such as filters and `as_of` together; a call
        with the key of an earlier one adds nothing, and waits while that one is being written.
        Raises AuditUnavailable.
        """
        if once_key is None:
            self._read(org, principal, facts, action, details)
            return
        # A person's keys are their own: nobody can make another's read go unrecorded.
        key = (org, f"{principal.user}\0{principal.role}", f"{action}\0{once_key}")
        future, mine = self._claim(key)
        if not mine:
            _wait(future)
            return
        try:
            self._read(org, principal, facts, action, details)
        except BaseException as error:
            with self._once_lock:
                self._once.pop(key, None)
            future.set_exception(error)
            # Nobody may be waiting, and an exception that nobody fetched is not worth a warning.
            future.exception()
            raise
        future.set_result(None)

    def _read(
        self, org: str, principal: Principal, facts: RequestFacts, action: str, details: Mapping[str, Any]
    ) -> None:
        key = self._search_key(org)
        self.record(org, read_event(org, principal, facts, action, details, self._now_ns(), key))

    def refused(
        self,
        org: str | None,
        caller: Principal | str | None,
        facts: RequestFacts,
        status: int,
        reason: str,
    ) -> None:
        """Record a refusal before it is answered.

        org: as asked for, None when the request named none. caller: whose credential was believed (the
        Principal, or the user's name), or None or `anonymous`: then the client's address tells callers
        apart. The first of a minute is durable when this returns; repeats are counted and told at its end.
        Raises AuditUnavailable; the refusal stays counted and is told once the store is back.
        """
        now_ns = self._now_ns()
        tenant = self._tenant_or_operator(org)
        name = None if org is None else plain(org)
        key = RefusalKey(
            tenant,
            None if caller == ANONYMOUS else caller,
            facts.client_address if caller in (None, ANONYMOUS) else None,
            facts.method,
            facts.route,
            status,
            reason,
            minute_of(now_ns),
        )
        tally = Tally(1, now_ns, now_ns, facts, {} if name is None else {name: None})
        key, first = self._refusals.count(key, tally)
        if not first:
            return
        try:
            self._accept(tenant, [refusal_event(key, tally)])
        except AuditUnavailable:
            self._refusals.add(key, tally)
            raise

    def flush_refusals(self, *, everything: bool = False) -> None:
        """Tell the counts of minutes that are over, or of all; what cannot be told stays counted."""
        taken = list(self._refusals.take(None if everything else self._now_ns()))
        for at, (key, tally) in enumerate(taken):
            try:
                self._accept(key.tenant, [refusal_event(key, tally)])
            except AuditUnavailable as error:
                for kept_key, kept in taken[at:]:
                    self._refusals.add(kept_key, kept)
                _log.warning("refusals wait to be recorded: %s", error.message)
                return

    def drain_outbox(self) -> int:
        """Move waiting events of changes and reads into the store, in order; how many were moved.

        A row goes only after its event is durable. After a crash in between it is sent again, and the
        store keeps the first copy of a record id. What one region cannot take keeps no other waiting.
        Raises AuditError when something had to stay.
        """
        with self._drain_lock:
            moved, failed = 0, None
            for outbox in self._outboxes:
                try:
                    moved += self._drain(outbox)
                except AuditError as error:
                    failed = failed or error
            if failed is not None:
                raise failed
            return moved

    def _drain(self, outbox: Outbox | WaitingReads) -> int:
        moved, failed = 0, dict[str, AuditError]()
        while True:
            rows = outbox.waiting(_DRAIN_ROWS, without=failed)
            self._move(outbox, rows, failed)
            moved += len(rows)
            # What a region that is down cannot take may be older than all that the others could.
            if not failed or len(rows) < _DRAIN_ROWS or len(failed) >= _PASSED_OVER_MAX:
                break
        if failed:
            raise next(iter(failed.values()))
        return moved

    def _move(
        self, outbox: Outbox | WaitingReads, rows: Sequence[Waiting], failed: dict[str, AuditError]
    ) -> None:
        """Store rows and take them out of their outbox; whose cannot be stored is added to `failed`."""
        for tenant, group in groupby(rows, key=lambda row: row.tenant):
            members = list(group)
            if tenant in failed:
                continue  # its earlier events come first
            try:
                # Who read an organization that was deleted since is part of what was deleted.
                if isinstance(outbox, Outbox) or self._tenants.exists(tenant):
                    self._accept(self._tenant_of(tenant), [row.event for row in members])
                outbox.done(members)
            except AuditError as error:
                failed[tenant] = error

    def start(self) -> None:
        """Drain and flush in a thread until `stop`."""
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name="self-audit", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread, then tell every count and drain what waits; what fails is logged."""
        if self._thread is not None:
            self._stopping.set()
            self._thread.join()
            self._thread = None
        self.flush_refusals(everything=True)
        self._drain_quietly()

    def _run(self) -> None:
        while not self._stopping.wait(DRAIN_INTERVAL_S):
            self._drain_quietly()
            try:
                self.flush_refusals()
            except Exception:  # noqa: BLE001 - the counts are still there, and so must the thread be
                _log.exception("refusals could not be recorded; trying again")

    def _drain_quietly(self) -> None:
        try:
            while self.drain_outbox() >= _DRAIN_ROWS:
                pass
        except AuditError as error:
            _log.warning("changes wait to be recorded: %s", error.message)
        except Exception:  # noqa: BLE001 - the rows are still there, and so must the thread be
            _log.exception("changes wait to be recorded")

    def _accept(self, tenant: str, events: list[AuditEvent]) -> None:
        try:
            self._ingest.accept_own(tenant, own_request(events))
        except AuditError as error:
            raise AuditUnavailable(
                "the audit trail cannot record this now, so it was not done",
                hint=error.hint or "see /readyz and the server's log",
                retry_after_s=getattr(error, "retry_after_s", 1.0),
            ) from error

    def _tenant_of(self, org: str | None) -> str:
        try:
            return org if org is not None and self._tenants.exists(org) else OPERATOR
        except AuditError as error:
            raise AuditUnavailable(error.message, hint=error.hint) from error

    def _tenant_or_operator(self, org: str | None) -> str:
        try:
            return self._tenant_of(org)
        except AuditUnavailable:
            # Which organization it was is in the event; better there than nowhere.
            return OPERATOR

    def _claim(self, key: tuple[str, str, str]) -> tuple[Future[None], bool]:
        now = time.monotonic()
        with self._once_lock:
            entry = self._once.get(key)
            if entry is not None and now - entry[0] < _ONCE_AGE_S:
                self._once.move_to_end(key)
                return entry[1], False
            future: Future[None] = Future()
            self._once[key] = (now, future)
            self._once.move_to_end(key)
            while len(self._once) > _ONCE_MAX:
                self._once.popitem(last=False)
            return future, True


def _wait(future: Future[None]) -> None:
    try:
        future.result(timeout=_ONCE_WAIT_S)
    except FutureTimeout as error:
        raise AuditUnavailable(
            "the audit trail did not record this in time", hint="see /readyz and the server's log"
        ) from error


__all__ = ["AuditUnavailable", "RequestFacts", "SelfAudit"]
