"""Reads by commands, kept in the region of who was read until a server takes them into the trail.

They tell who looked for what in an organization, so they may not wait in the control database, which
lies in one place for all regions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from pathlib import Path

from otel_audit.exporter.store.files.blobs import put_new
from otel_audit.instrumentation.event import AuditEvent

from .database import ControlUnavailable
from .free_text import redacted
from .outbox import Waiting, event_from_json, event_to_json


class WaitingReads:
    """A folder with one create-only file an event, `<tenant>.<record id>.json`; ids ascend with time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, tenant: str, event: AuditEvent) -> None:
        """Keep one event, redacted, durably until a server has stored it. Raises ControlUnavailable."""
        try:
            put_new(self._folder / _name(tenant, event), event_to_json(redacted(event)).encode())
        except OSError as error:
            raise ControlUnavailable(
                f"the read cannot be recorded in {self._folder}: {error.strerror}",
                hint="make the folder writable for this user; nothing was shown",
            ) from error

    def waiting(self, rows_max: int, *, without: Collection[str] = ()) -> Sequence[Waiting]:
        """The oldest events of each organization but those `without`, at most `rows_max`.

        Raises ControlUnavailable.
        """
        rows = []
        try:
            names = sorted(path.name for path in self._folder.glob("[a-z]*.json"))
            wanted = (name for name in names if name.partition(".")[0] not in without)
            for seq, name in enumerate(islice(wanted, rows_max)):
                text = (self._folder / name).read_text()
                rows.append(Waiting(seq, name.partition(".")[0], event_from_json(text)))
        except OSError as error:
            raise ControlUnavailable(
                f"{self._folder} cannot be read: {error.strerror}", hint="check its owner"
            ) from error
        return rows

    def done(self, rows: Iterable[Waiting]) -> None:
        """Remove events that are durable in the store."""
        for row in rows:
            (self._folder / _name(row.tenant, row.event)).unlink(missing_ok=True)

    def drop(self, tenant: str) -> None:
        """Remove everything that waits for an organization that is deleted."""
        for path in self._folder.glob(f"{tenant}.*.json"):
            path.unlink(missing_ok=True)


def _name(tenant: str, event: AuditEvent) -> str:
    return f"{tenant}.{event.record_id}.json"
