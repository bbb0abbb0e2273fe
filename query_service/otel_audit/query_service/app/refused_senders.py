"""Requests the receiver did not admit, as audit events of the tenant concerned."""

from __future__ import annotations

import logging
import queue
import threading
from typing import Final

from otel_audit.exporter.receiver.admission import RefusedAttempt

from ..auth.request_facts import RequestFacts
from ..self_audit import AuditUnavailable, SelfAudit

log = logging.getLogger(__name__)

# A flood of bad keys must cost the receiver nothing; what does not fit is only missing from a count.
_WAITING_MAX: Final = 1_000
_FACTS_ROUTE: Final = "/v1/logs"


class RefusedSenders:
    """Takes attempts without blocking and records them from a thread of its own."""

    def __init__(self, self_audit: SelfAudit) -> None:
        self._self_audit = self_audit
        self._waiting: queue.Queue[RefusedAttempt | None] = queue.Queue(_WAITING_MAX)
        self._thread = threading.Thread(target=self._run, name="otel-audit-refused", daemon=True)
        self._thread.start()

    def take(self, attempt: RefusedAttempt) -> None:
        """Called by the receiver for every attempt it refused."""
        try:
            self._waiting.put_nowait(attempt)
        except queue.Full:
            log.warning("more senders were refused than can be recorded one by one")

    def stop(self) -> None:
        """Record what waits, then end."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (attempt := self._waiting.get()) is not None:
            key = attempt.key
            # Only a key that was proved real speaks for an organization.
            org = next(iter(key.tenants)) if key and key.tenants and not key.forwards else None
            facts = RequestFacts(None, attempt.peer, None, "POST", _FACTS_ROUTE)
            caller = f"key:{attempt.key_id}" if attempt.key_id else None
            try:
                self._self_audit.refused(
                    org, caller, facts, 503 if attempt.retryable else 401, attempt.reason
                )
            except AuditUnavailable as error:
                log.warning("a refused sender waits to be recorded: %s", error.message)
