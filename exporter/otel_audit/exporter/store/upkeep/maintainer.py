"""Everything that rearranges what is stored: sealing, compaction, retention. One step at a time."""

from __future__ import annotations

import bisect
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

import pyarrow as pa

from otel_audit.instrumentation.errors import AuditError

from ..contents import Contents
from ..errors import StoreError, StoreUnavailable
from ..files.blobs import Blobs
from ..files.parquet import write_file
from ..files.verified import VerifiedFiles
from ..intake.frame import Frame
from ..ledger.entry import ManifestFile, TenantManifest
from ..ledger.history import pack
from ..ledger.manifest import utc
from ..ledger.state import STATE_EVERY_ENTRIES, write_state
from ..partition import RegionRoot
from ..snapshot import FileRef
from .compaction import merged, plan
from .deletion_notes import Deletion, DeletionNotes
from .expiry import Expiry, discard
from .held import Held, HeldOf
from .pins import pinned
from .removal import asides, delete_retired, retire_files, tidy_partitions
from .retention import Expired, expired, expired_asides
from .seal import write_frames
from .segments import Segments

log = logging.getLogger(__name__)

Months = Callable[[str, datetime], Mapping[str, int]]
_BY_ITSELF: Final = "system:store"


class Maintainer:
    """The one maintainer of a region root: whoever opened its store. Thread-safe."""

    def __init__(
        self,
        root: RegionRoot,
        blobs: Blobs,
        contents: Contents,
        segments: Segments,
        verified: VerifiedFiles,
        now: Callable[[], float],
        accepts: Callable[[str], bool],
    ) -> None:
        self._root, self._blobs, self._contents = root, blobs, contents
        self._segments, self._verified, self._now = segments, verified, now
        self._accepts = accepts
        self._notes = DeletionNotes(root, blobs, contents)
        self._expiry = Expiry(root, blobs, contents, self._notes, self._intact, now)
        self._step = threading.Lock()  # one seal, merge or removal at a time
        # tenant → entries of its chain when its state was last written.
        self._states: dict[str, int] = {}
        # Tenants whose folders may hold files that no entry lists: a step of theirs was interrupted.
        self._untidy = self._expiry.untidy
        # Whose files the last bounded round of merges looked at last.
        self._merged_to = ""
        self._closed = False

    def close(self) -> None:
        """Wait for the step under way; no other begins. Only then may another process have the root."""
        with self._step:
            self._closed = True

    def tidy_after_crash(self) -> None:
        """Make every tenant's partitions hold exactly the live files; after the log is replayed.

        Raises ManifestBroken.
        """
        self._untidy.update(self._root.tenants())
        self.tidy()

    def _prepare(self) -> None:
        """Finish what an earlier step could not, so that every step starts from a known state.

        Raises ManifestBroken, StoreUnavailable when closed or while the manifest's end is in doubt.
        """
        self._settle()
        for tenant in sorted(self._untidy):
            try:
                tidy_partitions(self._root, self._blobs, self._contents, tenant)
            except OSError:
                # Files too many mislead only who reads the folder past the manifest.
                log.exception("the folders of %s could not be tidied; the next step tries again", tenant)
            else:
                self._untidy.discard(tenant)

    def _settle(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed", hint="start the server again")
        self._contents.settle()

    def seal(self, tenant: str | None, due: Callable[[int, int, float], bool] | None) -> int:
        """See Store.seal."""
        sealed, failures = 0, list[Exception]()
        with self._step:
            self._prepare()
            for name in self._contents.hot_tenants(due):
                if tenant not in (None, name) or not self._accepts(name):
                    continue
                try:
                    sealed += self._seal_tenant(name)
                except (OSError, pa.ArrowException, AuditError) as failure:
                    # One tenant's trouble is not its neighbours'.
                    self._untidy.add(name)
                    failures.append(failure)
            try:
                self._segments.drop_sealed()
            except (OSError, AuditError) as failure:
                failures.append(failure)
        if failures:
            raise failures[0]
        return sealed

    def _seal_tenant(self, tenant: str) -> int:
        by_writer: dict[str, list[Frame]] = {}
        for frame in self._contents.hot_frames(tenant):
            by_writer.setdefault(frame.writer, []).append(frame)
        for writer, mine in by_writer.items():
            files: list[ManifestFile] = []
            try:
                files += write_frames(self._root, self._blobs, mine)
                self._contents.enter(
                    tenant, "seal", writer=writer, add=files, sealed=mine, facts={"actor": _BY_ITSELF}
                )
            except OSError:
                discard(self._root, self._blobs, files)
                raise
        self._keep_state(tenant)
        return sum(frame.rows.num_rows for mine in by_writer.values() for frame in mine)

    def compact(self, tenant: str | None = None, *, merges_max: int | None = None) -> int:
        """See Store.compact."""
        now, done = self._now(), 0
        with self._step:
            self._prepare()
        kept = pinned(self._root, now)
        for name in [tenant] if tenant is not None else self._in_turn():
            if not self._accepts(name):
                continue
            for group in plan(self._contents.files(name), utc(now).date()):
                if merges_max is not None and done >= merges_max:
                    return done
                self._merged_to = name
                if any(file.ref.path in kept for file in group):
                    continue
                try:
                    # The step is released between merges, so that sealing need not wait for a whole round.
                    with self._step:
                        self._settle()
                        done += self._merge(name, group)
                except (OSError, pa.ArrowException, StoreError):
                    # One partition's trouble is not its neighbours'.
                    self._untidy.add(name)
                    log.exception("a partition of %s was not merged; the next round tries again", name)
        return done

    def _in_turn(self) -> list[str]:
        """All tenants, beginning with the one after the last whose files were merged: each has its turn."""
        names = self._contents.tenants()
        start = bisect.bisect_right(names, self._merged_to)
        return names[start:] + names[:start]

    def _merge(self, tenant: str, group: Sequence[ManifestFile]) -> int:
        refs = [file.ref for file in group]
        if not all(self._contents.is_live(tenant, ref) for ref in refs) or not self._intact(refs):
            return 0
        rows = sum(ref.rows for ref in refs)
        made = write_file(self._root, self._blobs, merged(refs), rows_expected=rows)
        if made.ref.rows != rows:
            discard(self._root, self._blobs, [made])
            raise StoreError(
                f"merging {len(refs)} files of {tenant} gave {made.ref.rows} rows instead of {rows}",
                hint="nothing was changed; run `otel-audit verify`",
            )
        if pinned(self._root, self._now()) & {ref.path for ref in refs}:
            discard(self._root, self._blobs, [made])  # listed for another engine in the meantime
            return 0
        try:
            self._contents.enter(tenant, "compact", add=[made], remove=group, facts={"actor": _BY_ITSELF})
        except OSError:
            discard(self._root, self._blobs, [made])
            raise
        retire_files(self._root, self._blobs, tenant, refs)
        self._keep_state(tenant)
        return 1

    def _intact(self, refs: Sequence[FileRef]) -> bool:
        """Whether all files are what the manifest says; damage is for queries and scrub to report."""
        try:
            return all(self._verified.check(ref) is None for ref in refs)
        except OSError:
            return False

    def run_retention(
        self, months: Months, *, now: datetime, actor: str, dry_run: bool, held: HeldOf | None
    ) -> list[Expired]:
        """See Store.run_retention."""
        done: list[Expired] = []
        with self._step:
            self._prepare()
        for tenant in self._contents.tenants():
            policy = months(tenant, now)
            facts = {"actor": actor, "months": dict(policy), "as_of": now.isoformat()}
            # The step is released between tenants, so that sealing need not wait for a whole run.
            with self._step:
                self._contents.settle()
                due = expired(tenant, self._contents.files(tenant), policy, now)
                due += expired_asides(tenant, asides(self._root, tenant), policy, now)
                # All are judged before one goes: what cannot be judged keeps its neighbours too.
                judged = [(each, _held(held, each, now)) for each in due]
                if not any(kept.problem for _, kept in judged):
                    done += self._expiry.expire(tenant, judged, facts, dry_run)
                    if not dry_run:
                        self._keep_state(tenant)
        return done

    def untold_deletions(self) -> list[Deletion]:
        """See Store.untold_deletions."""
        with self._step:
            self._prepare()
            return [each for tenant in self._contents.tenants() for each in self._notes.untold(tenant)]

    def told(self, deletion: Deletion) -> None:
        """See Store.told."""
        with self._step:
            self._notes.drop(deletion)

    def forget(self, tenant: str) -> None:
        """Make the store unaware of a tenant."""
        with self._step:
            # Its folder is on its way out: nothing of it is to be tidied, by a manifest that is not there.
            self._untidy.discard(tenant)
            self._contents.forget(tenant)

    def tidy(self) -> None:
        """Delete what an interrupted step left, and retired files whose hour is over."""
        with self._step:
            self._prepare()
        for tenant in self._contents.tenants():
            try:
                delete_retired(self._root, self._blobs, tenant, self._now())
            except OSError:
                log.exception("a replaced file of %s was not deleted; the next round tries again", tenant)

    def _keep_state(self, tenant: str) -> None:
        manifest = self._contents.manifest_of(tenant)
        entries = _entries(manifest)
        if entries - self._states.setdefault(tenant, 0) < STATE_EVERY_ENTRIES:
            return
        # Both only spare later work: a full disk must not undo what was just entered.
        try:
            write_state(self._blobs, self._root, manifest)
            for writer, chain in manifest.chains.items():
                pack(self._blobs, self._root.ledger_key(tenant, writer), chain.number)
        except OSError:
            log.exception("the manifest's state of %s was not kept; the next entry tries again", tenant)
        else:
            self._states[tenant] = entries


def _held(held: HeldOf | None, due: Expired, now: datetime) -> Held:
    return held(due.tenant, [file.ref for file in due.files], now) if held is not None else Held()


def _entries(manifest: TenantManifest) -> int:
    return sum(chain.number for chain in manifest.chains.values())
