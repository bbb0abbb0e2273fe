"""The store of one region root: WAL, hot rows, Parquet files and the manifest, as one consistent whole."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

import pyarrow as pa

from otel_audit.instrumentation.errors import AuditError

from ..wal.files import OS, FileSystem
from ..wal.format import Position
from ..wal.writer import Wal
from .backups.backup_list import refuse_copies
from .contents import Contents
from .errors import StoreUnavailable, WrongRegion
from .files.blobs import Blobs, LocalBlobs, make_folder, put_new
from .files.sidecar import Sidecars
from .files.verified import VerifiedFiles, check_files, overlapping
from .intake.frame import Frame
from .intake.hot import join
from .intake.writer import StoreWriter
from .ledger.manifest import Manifest
from .lock import RootLock
from .partition import RegionRoot, check_tenant
from .regions.known import known_tenants, note_tenants
from .regions.tenant_removal import Removed, remove_tenant
from .snapshot import FileRef, Published, Snapshot
from .upkeep.deletion_notes import Deletion
from .upkeep.headroom import check_headroom, shortage_of
from .upkeep.held import HeldOf
from .upkeep.maintainer import Maintainer, Months
from .upkeep.removal import quarantine_file
from .upkeep.retention import Expired
from .upkeep.scrub import Scrubbed, Scrubber
from .upkeep.segments import Segments

log = logging.getLogger(__name__)

# Hot rows in memory, all tenants: about a million events. Sealing keeps it far below; above it
# sealing must be failing, and taking more would end the process instead of the backlog.
HOT_BYTES_MAX: Final = 1 << 30

Listener = Callable[[Published], None]


class Store:
    """Opens a region root for writing; at most one a root (`run/lock`). Thread-safe."""

    def __init__(
        self,
        root: RegionRoot,
        *,
        lock_timeout_s: float = 0.0,
        wal_segment_bytes_max: int = 64 << 20,
        now: Callable[[], float] = time.time,
        verified: VerifiedFiles | None = None,
        blobs: Blobs | None = None,
        fs: FileSystem = OS,
        accepts: Callable[[str], bool] = lambda _: True,
        hot_bytes_max: int = HOT_BYTES_MAX,
    ) -> None:
        """Recover what a crash left and take over the root.

        hot_bytes_max: of rows that wait to be sealed; above it senders are refused.
        fs: the file system under log and files, so that tests can fail the N-th call.
        accepts: whether a tenant belongs to this root; no other is stored, sealed or merged here.
        Raises BackupError (a copy, not a root), StoreLocked, ManifestBroken, NewerData, the WAL's own
        errors; then the root is free again.
        """
        self.root, self._fs = root, fs
        self._hot_bytes_max = hot_bytes_max
        refuse_copies(root.path)
        self._accepts = accepts
        self._leaving: set[str] = set()  # tenants whose removal has begun
        make_folder(root.path, fs=fs)
        with contextlib.ExitStack() as on_error:
            self._lock_file = RootLock(root.run, timeout_s=lock_timeout_s)
            on_error.callback(self._lock_file.release)
            self.wal = Wal.open(root.wal, fs=fs, segment_bytes_max=wal_segment_bytes_max)
            on_error.callback(self.wal.close)
            self.writer_id = _writer_id(root, fs)
            self._recover(blobs or LocalBlobs(root.path, fs), verified or VerifiedFiles(), now)
            on_error.pop_all()

    def _recover(self, blobs: Blobs, verified: VerifiedFiles, now: Callable[[], float]) -> None:
        root = self.root
        self._blobs = blobs
        self._verified = verified
        self._manifest = Manifest(root, self._blobs)
        self._sidecars = Sidecars(root, self._blobs)
        self._contents = Contents(
            root, self._manifest, self._sidecars, self._verified, writer=self.writer_id, now=now
        )
        self._listeners: tuple[Listener, ...] = ()
        self._damages: list[str] = []
        self._segments = Segments(self.wal, self._contents)
        self._known = set(known_tenants(root))
        self._note_tenants()
        self._replay()
        self._maintainer = Maintainer(
            root, self._blobs, self._contents, self._segments, self._verified, now, self._accepts
        )
        self._maintainer.tidy_after_crash()
        self.look_at_files()
        self._scrubbing = threading.Lock()
        self._scrubber = Scrubber(self._contents, self._verified, self._quarantine)
        self._writer = StoreWriter(self.wal, self, self.writer_id)

    def append(self, rows: Mapping[str, pa.RecordBatch], *, own: bool = False) -> None:
        """See StoreWriter.append. Raises WrongRegion for a tenant that is not of this root.

        own: events of the service itself, which may use the room that senders may not.
        """
        for tenant in rows:
            if not self._accepts(tenant):
                raise WrongRegion(f"{tenant} is not of this region", hint="nothing was stored")
            self._refuse_leaving(tenant)
        if not own:
            check_headroom(self._fs, self.root.path)
        self._writer.append(rows, own=own)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with rows as they become durable, in order; returns how to stop.

        It runs on the writer's thread: it must be quick and never block.
        """
        self._listeners = (*self._listeners, listener)

        def stop() -> None:
            self._listeners = tuple(each for each in self._listeners if each is not listener)

        return stop

    def snapshot(
        self,
        tenant: str,
        *,
        time_from: datetime | None = None,
        time_to: datetime | None = None,
        as_of: Mapping[str, int] | None = None,
        text: str | None = None,
    ) -> Snapshot:
        """See SnapshotSource.snapshot."""
        check_tenant(tenant)
        while True:
            refs, tables, position = self._contents.view(tenant)
            wanted = self._sidecars.holding(text, overlapping(refs, time_from, time_to))
            files, damaged, differing = check_files(self._verified, wanted)
            # A removal is final, so this ends: a file that was taken meanwhile is no damage.
            if not damaged or all(self._contents.is_live(tenant, ref) for ref in refs):
                break
        for ref in differing:
            self._quarantine(tenant, ref)
        if damaged:
            self.look_at_files()
        return Snapshot(tenant, files, join(tables, as_of), position, damaged)

    def seal(self, tenant: str | None = None, *, due: Callable[[int, int, float], bool] | None = None) -> int:
        """Write hot rows to files; returns the rows written.

        tenant: only that one. due(rows, bytes, age_s): only those it chooses.
        """
        self._refuse_away()
        try:
            return self._maintainer.seal(tenant, due)
        finally:
            self._note_tenants()

    def compact(self, tenant: str | None = None, *, merges_max: int | None = None) -> int:
        """Merge files of closed days, and many small ones of open days; returns the merges made.

        tenant: only that one. merges_max: stop after so many, all that is due when None.
        """
        self._refuse_away()
        return self._maintainer.compact(tenant, merges_max=merges_max)

    def run_retention(
        self,
        months: Months,
        *,
        now: datetime,
        actor: str,
        dry_run: bool = False,
        held: HeldOf | None = None,
    ) -> list[Expired]:
        """Delete the partitions whose period is over at `now`, but for held rows; returns what went.

        months: tenant, now → months a class. actor: who asked, kept in the manifest entry. held: what legal
        holds keep; a partition that is held in part is rewritten to its held rows. A partition that could not
        be deleted is logged and left for the next run.
        """
        self._refuse_away()
        try:
            self.seal()
        except (OSError, AuditError):
            # Room may be just what is missing. Rows that are still hot go with a later run.
            log.exception("sealing failed before retention")
        return self._maintainer.run_retention(months, now=now, actor=actor, dry_run=dry_run, held=held)

    def untold_deletions(self) -> list[Deletion]:
        """What retention has deleted since `told` was last called of it, also before a crash.

        Raises ManifestBroken, StoreUnavailable, OSError.
        """
        return self._maintainer.untold_deletions()

    def told(self, deletion: Deletion) -> None:
        """Forget a deletion whose event is durable. Raises OSError."""
        self._maintainer.told(deletion)

    def tidy(self) -> None:
        """Delete replaced files that nobody can be reading any more."""
        self._refuse_away()
        self._maintainer.tidy()

    def scrub(self, *, files_max: int | None = None) -> Scrubbed:
        """Read files again, the next `files_max` in turn or all of them; damaged ones go to quarantine."""
        self._refuse_away()
        with self._scrubbing:
            done = self._scrubber.whole_pass() if files_max is None else self._scrubber.turn(files_max)
        if done.damages:
            self.look_at_files()
        return done

    def remove_tenant(self, tenant: str) -> Removed:
        """Delete everything of a tenant for ever; see tenant_removal.remove_tenant."""
        self._refuse_away()
        self._leaving.add(check_tenant(tenant))
        self._writer.flush()  # what was under way is hot or refused now
        return remove_tenant(
            self.root, tenant, self.wal, self.seal, self._contents.files, self._maintainer.forget
        )

    @property
    def hot_rows(self) -> int:
        return self._contents.hot_rows

    @property
    def live_files(self) -> int:
        return self._contents.live_files

    def look_at_files(self) -> None:
        """Bring `damages` up to date: files that are missing, of another size, or known to differ."""
        seen = [
            (tenant, file.ref, damage)
            for tenant in self._contents.tenants()
            for file in self._contents.files(tenant)
            if (damage := self._verified.glance(file.ref))
        ]
        # What compaction or retention took in the meantime is no damage. Whose a file is stays unsaid: probes
        # show these lines to everybody.
        told = [damage for tenant, ref, damage in seen if self._contents.is_live(tenant, ref)]
        self._damages = sorted(f"{damage.file}: {damage.reason}" for damage in told)

    @property
    def damages(self) -> list[str]:
        """What is wrong while all else works, one line each: damaged files, no room on disk or in memory."""
        full = (shortage_of(self._fs, self.root.path), self._backlog())
        return [*filter(None, full), *self._damages]

    @property
    def failure(self) -> str | None:
        """Why nothing can be acknowledged now, None when it can."""
        failure = self.wal.failure
        return self._away() or (failure.message if failure else self._manifest.failure)

    def close(self) -> None:
        """Finish queued requests and the step under way, then release the root; hot rows stay in the WAL."""
        self._writer.close()
        self._maintainer.close()
        self.wal.close()
        self._lock_file.release()

    # The writer's view (writer.Ledger).

    def stored(self, tenant: str, event_ids: list[str]) -> Mapping[str, set[str]]:
        return self._contents.stored(tenant, event_ids)

    def next_seq(self, tenant: str) -> int:
        self._refuse_leaving(tenant)
        return self._contents.next_seq(tenant)

    def note(self, position: Position, frame: Frame) -> None:
        self._segments.note(position, frame)

    def publish(self, frames: list[Frame]) -> None:
        news = [
            Published(frame.tenant, frame.writer, frame.seq_min, frame.seq_max, self._contents.hold(frame))
            for frame in frames
        ]
        for item in news:
            for listener in self._listeners:
                try:
                    listener(item)
                except Exception:
                    log.exception("a live listener failed; storing goes on")

    def check_room(self) -> None:
        self._refuse_away()
        if self._manifest.failure:
            hint = "it is tried again; restart the server if it lasts"
            raise StoreUnavailable(self._manifest.failure, hint=hint, retry_after_s=30)
        backlog = self._backlog()
        if backlog:
            raise StoreUnavailable(backlog, hint="check disk space and the server's log", retry_after_s=5)

    # Own affairs.

    def _away(self) -> str | None:
        """Why nothing may be written to the root: it would lie under the disk's mount point."""
        file = self.root.writer_file
        return None if file.exists() else f"{file} is gone; is the disk mounted?"

    def _refuse_away(self) -> None:
        if away := self._away():
            raise StoreUnavailable(away, hint="mount it, or stop the server and restore from a backup")

    def _note_tenants(self) -> None:
        new = self._contents.with_entries(but=self._known)
        if new:
            note_tenants(self.root, new, fs=self._fs)
            self._known |= new

    def _backlog(self) -> str:
        """What is wrong with the rows in memory, "" when more may come."""
        return "too many rows wait to be sealed" if self._contents.hot_bytes > self._hot_bytes_max else ""

    def _refuse_leaving(self, tenant: str) -> None:
        if tenant in self._leaving:
            raise StoreUnavailable("the organization is being deleted", hint="stop its senders")

    def _quarantine(self, tenant: str, ref: FileRef) -> None:
        try:
            quarantine_file(self.root, self._blobs, tenant, ref)
        except OSError:
            # A full or read-only disk is no reason not to answer: the file is left out all the same.
            log.exception("%s of %s could not be moved to quarantine", ref.path.name, tenant)

    def _replay(self) -> None:
        for position, data in self.wal.replay():
            frame = Frame.decode(data)
            self._segments.note(position, frame)
            known = self._contents.reached(frame.tenant, frame.writer)
            if frame.seq_max <= known:
                # Sealed already; its segment only waits for its neighbours.
                continue
            if frame.seq_min <= known:
                rows = frame.rows.slice(known - frame.seq_min + 1)
                frame = Frame(frame.tenant, frame.writer, known + 1, rows)
            self._contents.hold(frame)


def _writer_id(root: RegionRoot, fs: FileSystem) -> str:
    """This root's stable writer id, made on first use."""
    path = root.writer_file
    if not path.exists():
        put_new(path, f"w{uuid.uuid4().hex[:12]}".encode(), fs=fs)
    return path.read_text().strip()
