"""Takes finished rows of another process: checks them, drops repeats, and says how many there were."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import StoreError
from ..partition import RETENTION_CLASSES, check_tenant
from ..schema import ROW, TEXT

EXPORTED_DIGEST: Final = "exported_digest"
HANDED: Final = pa.schema([*ROW, pa.field(EXPORTED_DIGEST, TEXT)])
"""ROW and, for an event that a store has given out before, the content_digest it had there, else null.

The digest is keyed, so the same event made into a record again has another one: without the old one an
organization's own export would come in as a second event.
"""

_NEVER_NULL: Final = ("event_id", "time", "received_time", "time_unix_nano", "category", "action")
_DIGEST: Final = re.compile(r"[0-9a-f]{32}")


class RowsRefused(StoreError):
    """Rows that are not what the receiver's pipeline makes; they would spoil files or never be sealed."""


@dataclass(frozen=True, slots=True)
class Taken:
    """How many rows were new, and how many were stored already."""

    new: int
    repeats: int


class RowStore(Protocol):
    """What the store offers."""

    def stored(self, tenant: str, event_ids: list[str]) -> Mapping[str, set[str]]: ...

    def append(self, rows: Mapping[str, pa.RecordBatch]) -> None: ...


class RowTarget(Protocol):
    """Where finished rows go: the store of this process, or the one of the running server."""

    def take(self, tenant: str, rows: pa.RecordBatch) -> Taken: ...


class Intake:
    """The way into the store for rows that are redacted already. Safe to call from many threads."""

    def __init__(
        self, store: RowStore, on_stored: Callable[[Mapping[str, pa.RecordBatch]], None] = lambda _: None
    ) -> None:
        """on_stored: told of new rows once they are durable; it must be quick."""
        self._store = store
        self._on_stored = on_stored

    def take(self, tenant: str, rows: pa.RecordBatch) -> Taken:
        """Store rows of schema HANDED; returns when all of them are durable.

        Raises RowsRefused, InvalidTenant: sending them again is useless; StoreUnavailable: it is not.
        """
        check_tenant(tenant)
        _check(rows)
        if not rows.num_rows:
            return Taken(0, 0)
        new = rows.select(ROW.names).take(pa.array(self._new(tenant, rows), pa.int64()))
        if new.num_rows:
            # The writer looks for repeats once more: another sender may have been quicker.
            self._store.append({tenant: new})
            self._on_stored({tenant: new})
        return Taken(new.num_rows, rows.num_rows - new.num_rows)

    def _new(self, tenant: str, rows: pa.RecordBatch) -> list[int]:
        ids = rows.column("event_id").to_pylist()
        digests = rows.column("content_digest").to_pylist()
        exported = rows.column(EXPORTED_DIGEST).to_pylist()
        known = {event_id: set(found) for event_id, found in self._store.stored(tenant, ids).items()}
        new: list[int] = []
        for index, (event_id, digest) in enumerate(zip(ids, digests, strict=True)):
            seen = known.setdefault(event_id, set())
            if digest in seen or exported[index] in seen:
                continue
            seen.add(digest)
            new.append(index)
        return new


def _check(rows: pa.RecordBatch) -> None:
    """Refuse what the writer or a later seal would stumble over."""
    if not rows.schema.equals(HANDED):
        raise RowsRefused("the rows have other columns than this release", hint="use the server's release")
    try:
        rows.validate(full=True)
    except pa.ArrowInvalid as error:
        raise RowsRefused("the rows are damaged") from error
    if any(rows.column(name).null_count for name in _NEVER_NULL):
        raise RowsRefused("a row lacks its id, its time, its category or its action")
    if not all(text is not None and _DIGEST.fullmatch(text) for text in _distinct(rows, "content_digest")):
        raise RowsRefused("a row has no content digest")
    if not set(_distinct(rows, "retention")) <= set(RETENTION_CLASSES):
        raise RowsRefused("a row has an unknown retention class")
    for day in _distinct(rows, "date"):
        if day is None or not _is_day(day):
            raise RowsRefused("a row has a date that is none")


def _distinct(rows: pa.RecordBatch, name: str) -> list[str | None]:
    values: list[str | None] = pc.unique(rows.column(name)).to_pylist()
    return values


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
