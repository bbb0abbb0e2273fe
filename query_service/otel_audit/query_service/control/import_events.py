"""The audit events of an import: one before it begins, so that none goes unseen, and one at its end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from otel_audit.instrumentation.event import AuditEvent
from otel_audit.instrumentation.ids import uuid7
from otel_audit.instrumentation.vocabulary import default_outcome, default_severity

from .outbox import Outbox, os_actor

# More names would tell an investigator nothing; their number is told anyway.
_FILES_MAX: Final = 100


class ImportRecord:
    """Puts the events of one import into the outbox; they share a target id."""

    def __init__(
        self, outbox: Outbox, tenant: str, files: Sequence[str], options: Mapping[str, bool]
    ) -> None:
        self._outbox = outbox
        self._tenant = tenant
        self._id = uuid7()
        self._facts: dict[str, Any] = {
            "otel_audit.import.files": list(files)[:_FILES_MAX],
            "otel_audit.import.file_count": len(files),
            **{f"otel_audit.import.{name}": value for name, value in options.items()},
        }

    def started(self) -> None:
        """Raises ControlUnavailable: then nothing may be imported."""
        self._put("task_started", "began to import events", {})

    def ended(self, counts: Mapping[str, int], *, completed: bool) -> None:
        """Record the end with its counts. Raises ControlUnavailable."""
        facts = {f"otel_audit.import.{name}": count for name, count in counts.items()}
        said = f"imported {counts['new']} new events of {counts['events']}, {counts['rejected']} rejected"
        if completed:
            self._put("task_completed", said, facts)
        else:
            self._put("task_failed", f"stopped before the end of an import: {said}", facts)

    def _put(self, action: str, said: str, facts: Mapping[str, Any]) -> None:
        actor = os_actor()
        event = AuditEvent(
            record_id=uuid7(),
            time_unix_nano=time.time_ns(),
            category="system",
            action=action,
            outcome=default_outcome("system", action),
            severity=default_severity("system", action),
            message=f"{actor.user_id} {said}",
            user_id=actor.user_id,
            user_type=actor.user_type,
            target_type="import",
            target_id=self._id,
            attributes={**self._facts, **facts},
        )
        self._outbox.put(self._tenant, event)
