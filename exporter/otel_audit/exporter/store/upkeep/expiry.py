"""The end of a partition's time: what goes of a tenant, what holds keep of it, and the entry that says so."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..contents import Contents
from ..errors import StoreError
from ..files.blobs import Blobs
from ..files.deletion import delete_files
from ..files.parquet import write_file
from ..ledger.entry import ManifestFile
from ..partition import RegionRoot
from ..snapshot import FileRef
from .compaction import merged
from .deletion_notes import ASIDE_FACT, EVENT_FACT, DeletionNotes
from .held import Held
from .removal import delete_quarantined
from .retention import Expired

log = logging.getLogger(__name__)

# Deleted by one entry: a run after a quarter of a year is one, and an entry's size stays bounded.
_PARTITIONS_AN_ENTRY: Final = 100


class _Leaving(NamedTuple):
    """What of a partition goes: `gone` tells it, `remove` are its files, `made` those of its held rows."""

    gone: Expired
    kept: Held
    remove: list[ManifestFile]
    made: list[ManifestFile]


class Expiry:
    """Deletes what is due, for a maintainer that does one step at a time.

    untidy: tenants whose folders may hold files that no entry lists, as a step of theirs was interrupted.
    """

    def __init__(
        self,
        root: RegionRoot,
        blobs: Blobs,
        contents: Contents,
        notes: DeletionNotes,
        intact: Callable[[Sequence[FileRef]], bool],
        now: Callable[[], float],
    ) -> None:
        self._root, self._blobs, self._contents = root, blobs, contents
        self._notes, self._intact, self._now = notes, intact, now
        self.untidy: set[str] = set()

    def expire(
        self, tenant: str, judged: list[tuple[Expired, Held]], facts: Mapping[str, object], dry_run: bool
    ) -> list[Expired]:
        """Delete what is judged to go, but for what holds keep; answers what went, or would go.

        facts: of the manifest's entries.
        """
        done: list[Expired] = []
        if not dry_run and not all(kept.everything for _, kept in judged):
            try:
                event = self._notes.begin(tenant, str(facts["actor"]), int(self._now() * 1e6) * 1_000)
            except OSError:
                # What could not be told must not be done.
                log.exception("nothing of %s was deleted; the next run tries again", tenant)
                return done
            facts = {**facts, EVENT_FACT: event}
        done += self._expire_asides([pair for pair in judged if pair[0].aside], facts, dry_run)
        judged = [pair for pair in judged if not pair[0].aside]
        for first in range(0, len(judged), _PARTITIONS_AN_ENTRY):
            leaving: list[_Leaving] = []
            for due, kept in judged[first : first + _PARTITIONS_AN_ENTRY]:
                try:
                    leaving += self._leaving(due, kept, dry_run)
                except (OSError, pa.ArrowException, StoreError):
                    # One partition's trouble is not its neighbours'.
                    self.untidy.add(tenant)
                    name = f"{due.retention}/{due.date} of {tenant}"
                    log.exception("%s was not deleted; the next run tries again", name)
            try:
                done += [each.gone for each in leaving] if dry_run else self._delete(tenant, leaving, facts)
            except (OSError, StoreError):
                # What is gone already must be reported.
                self.untidy.add(tenant)
                log.exception("partitions of %s were not deleted; the next run tries again", tenant)
        return done

    def _leaving(self, due: Expired, kept: Held, dry_run: bool) -> list[_Leaving]:
        """What of a partition goes, none when all of it stays; held rows are in files of their own then."""
        held = kept.rows.num_rows if kept.rows is not None else 0
        if kept.everything or held >= due.rows or not kept.is_current():
            return []
        staying, made = list[ManifestFile](), list[ManifestFile]()
        if kept.rows is not None and not dry_run:
            staying, made = self._held_files(due, kept.rows)
        remove = [file for file in due.files if file not in staying]
        return [_Leaving(due.without(held), kept, remove, made)]

    def _delete(self, tenant: str, leaving: Sequence[_Leaving], facts: Mapping[str, object]) -> list[Expired]:
        """Delete partitions but for their held rows, all by one entry; what a new hold keeps stays."""
        going: list[_Leaving] = []
        for each in leaving:
            if each.kept.is_current():
                going.append(each)
            else:
                discard(self._root, self._blobs, each.made)
        if not going:
            return []
        made = [file for each in going for file in each.made]
        remove = [file for each in going for file in each.remove]
        holds = {name for each in going for name in each.kept.names}
        try:
            self._contents.enter(
                tenant, "retention", add=made, remove=remove,
                facts={**facts, "rows": sum(each.gone.rows for each in going), "holds": sorted(holds)},
            )  # fmt: skip
        except OSError:
            discard(self._root, self._blobs, made)
            raise
        try:
            delete_files(self._root, self._blobs, [file.ref for file in remove])
            delete_quarantined(self._root, self._blobs, self._contents, tenant)
        except OSError:
            # The entry is what deletes: the rows are gone, and that must be told.
            self.untidy.add(tenant)
            log.exception("expired files of %s are still there; the next step deletes them", tenant)
        return [each.gone for each in going]

    def _expire_asides(
        self, judged: list[tuple[Expired, Held]], facts: Mapping[str, object], dry_run: bool
    ) -> list[Expired]:
        """Delete days' files of refused lines; under any hold they stay."""
        done: list[Expired] = []
        for due, kept in judged:
            if not kept.nothing or not kept.is_current():
                continue
            try:
                if not dry_run:
                    aside = {due.date: [path.name for path in due.aside]}
                    entry = {**facts, "rows": 0, ASIDE_FACT: aside}
                    self._contents.enter(due.tenant, "retention", facts=entry)
                    self._blobs.delete(*(self._root.key(path) for path in due.aside))
            except (OSError, StoreError):
                # What is gone already must be reported.
                self.untidy.add(due.tenant)
                log.exception("refused lines of %s were not deleted; the next run tries again", due.tenant)
            else:
                done.append(due)
        return done

    def _held_files(self, due: Expired, numbers: pa.Table) -> tuple[list[ManifestFile], list[ManifestFile]]:
        """Files that stay as they are, as all their rows are held; new ones of the others' held rows."""
        # A damaged file's rows say nothing about what is held.
        if not self._intact([file.ref for file in due.files]):
            raise StoreError(
                f"a file of {due.date} of {due.tenant} is damaged, and holds keep some of its events",
                hint="nothing was deleted; restore the file from a backup",
            )
        staying, made = list[ManifestFile](), list[ManifestFile]()
        by_writer: dict[str, list[ManifestFile]] = {}
        for file in due.files:
            by_writer.setdefault(file.ref.writer, []).append(file)
        try:
            for writer, files in by_writer.items():
                keep = numbers.filter(pc.equal(numbers["writer"], writer))["seq"].combine_chunks()
                counts = [_count(file.ref, keep) for file in files]
                # Written again, such a file would come out under its own name and be removed with the rest.
                staying += [f for f, count in zip(files, counts, strict=True) if count == f.ref.rows]
                partly = [f.ref for f, count in zip(files, counts, strict=True) if 0 < count < f.ref.rows]
                if partly:
                    rows = merged(partly, keep)
                    made.append(write_file(self._root, self._blobs, rows, rows_expected=len(keep)))
            if sum(file.ref.rows for file in (*staying, *made)) != numbers.num_rows:
                raise StoreError(
                    f"not every held event of {due.tenant} was found in {due.date}",
                    hint="nothing was deleted; run `otel-audit verify`",
                )
        except (OSError, StoreError):
            discard(self._root, self._blobs, made)
            raise
        return staying, made


def discard(root: RegionRoot, blobs: Blobs, made: Sequence[ManifestFile]) -> None:
    """Delete files that were not entered; what cannot be deleted now is tidied up later."""
    with contextlib.suppress(OSError):
        delete_files(root, blobs, [file.ref for file in made])


def _count(ref: FileRef, numbers: pa.Array) -> int:
    """How many of a verified file's rows have one of these sequence numbers."""
    rows = pq.read_table(ref.path, columns=["seq"], partitioning=None)
    return pc.sum(pc.is_in(rows["seq"], numbers)).as_py() or 0
