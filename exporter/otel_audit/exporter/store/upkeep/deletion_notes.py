"""What retention has deleted and nobody has told yet: noted before it begins, so that no crash hides it.

    tenant=<id>/_ledger/_untold/<event id>.json

A note says who deletes and where in the chain it begins; what went is in the manifest entries that name the
note's event. So the event is the same whenever it is made, and the store knows it when it comes twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from otel_audit.instrumentation.ids import uuid7

from ..contents import Contents
from ..errors import ManifestBroken
from ..files.blobs import Blobs
from ..ledger.entry import UNREADABLE, Chain, entry_of
from ..ledger.history import history
from ..partition import RegionRoot

EVENT_FACT: Final = "event"
"""Name of the fact by which a manifest entry names the event that tells of it."""
ASIDE_FACT: Final = "kept_aside"
"""Name of the fact with the names of deleted files of refused lines, date by date."""


class _Note(msgspec.Struct, frozen=True):
    """after: the number of the writer's last entry before the deletions."""

    actor: str
    time_unix_nano: int
    writer: str
    after: int


@dataclass(frozen=True, slots=True)
class Deletion:
    """What one run has deleted of a tenant. partitions: `<class>/<date>`; aside: files of refused lines."""

    tenant: str
    event_id: str
    actor: str
    time_unix_nano: int
    partitions: tuple[str, ...]
    rows: int
    aside: int

    @property
    def nothing(self) -> bool:
        """Whether it ended before anything went."""
        return not self.partitions and not self.aside


class DeletionNotes:
    """The notes of a region root, only for whoever holds the maintenance lock."""

    def __init__(self, root: RegionRoot, blobs: Blobs, contents: Contents) -> None:
        self._root, self._blobs, self._contents = root, blobs, contents

    def begin(self, tenant: str, actor: str, time_unix_nano: int) -> str:
        """Note durably that deletions of a tenant begin; returns the id of their event. Raises OSError."""
        event_id, writer = uuid7(), self._contents.writer
        after = self._contents.manifest_of(tenant).chains.get(writer, Chain()).number
        note = _Note(actor, time_unix_nano, writer, after)
        self._blobs.put_new(self._key(tenant, event_id), msgspec.json.encode(note))
        return event_id

    def untold(self, tenant: str) -> list[Deletion]:
        """Deletions of a tenant whose event may not be stored yet, oldest first. Raises ManifestBroken."""
        return [self._read(tenant, key) for key in self._blobs.list(self._root.untold_key(tenant))]

    def drop(self, deletion: Deletion) -> None:
        """Forget one whose event is durable. Raises OSError."""
        self._blobs.delete(self._key(deletion.tenant, deletion.event_id))

    def _key(self, tenant: str, event_id: str) -> str:
        return f"{self._root.untold_key(tenant)}/{event_id}.json"

    def _read(self, tenant: str, key: str) -> Deletion:
        try:
            note = msgspec.json.decode(self._blobs.get(key), type=_Note)
        except UNREADABLE as error:
            raise ManifestBroken(
                f"a note of what retention deleted of {tenant} is damaged", tenant=tenant, entry=key
            ) from error
        event_id = key.rpartition("/")[2].removesuffix(".json")
        partitions: set[str] = set()
        rows = aside = 0
        for raw in history(self._blobs, self._root.ledger_key(tenant, note.writer), note.after):
            entry = entry_of(raw, tenant)
            if entry.facts.get(EVENT_FACT) == event_id:
                partitions.update(f"{item.retention}/{item.date}" for item in entry.remove)
                rows += entry.facts["rows"]
                aside += sum(map(len, entry.facts.get(ASIDE_FACT, {}).values()))
        return Deletion(
            tenant, event_id, note.actor, note.time_unix_nano, tuple(sorted(partitions)), rows, aside
        )
