"""The store of one region root: WAL, hot rows, Parquet files and the manifest, as one consistent whole."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa

from ..wal.format import Position
from ..wal.writer import Wal
from .blobs import make_folder, put_new
from .errors import StoreUnavailable, WrongRegion
from .fingerprints import Fingerprints
from .frame import Frame
from .hot import HotRows, join
from .lock import RootLock
from .manifest import Manifest, TenantManifest
from .orphans import remove_orphans
from .partition import RegionRoot, check_tenant
from .removal import delete_files
from .retention import Expired, expired
from .seal import write_files
from .snapshot import Damage, FileRef, Published, Snapshot
from .tenant_removal import Removed, remove_tenant
from .verified import VerifiedFiles
from .writer import StoreWriter

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
        accepts: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """Recover what a crash left and take over the root.

        accepts: whether a tenant belongs to this root; no other is stored or sealed here.

        Raises StoreLocked, ManifestBroken, NewerData, or the WAL's own errors.
        """
        self.root = root
        self._now = now
        self._accepts = accepts
        self._leaving: set[str] = set()  # tenants whose removal has begun
        make_folder(root.path)
        self._lock_file = RootLock(root.run, timeout_s=lock_timeout_s)
        self.writer_id = _writer_id(root.path)
        self._state = threading.RLock()  # guards everything below
        self._maintenance = threading.Lock()  # one seal or retention run at a time
        self._manifest = Manifest(root)
        self._tenants: dict[str, TenantManifest] = {}
        self._hot = HotRows()
        self._segments: dict[int, dict[tuple[str, str], int]] = {}
        self._fingerprints = Fingerprints(root)
        self._verified = verified or VerifiedFiles()
        self._listeners: list[Listener] = []
        self._damages: list[str] = []
        for tenant in root.tenants():
            self._tenants[tenant] = self._manifest.load(tenant)
            remove_orphans(root, self._tenants[tenant], self.writer_id)
        self.wal = Wal.open(root.wal, segment_bytes_max=wal_segment_bytes_max)
        self._replay()
        self.look_at_files()
        self._writer = StoreWriter(self.wal, self, self.writer_id)

    def append(self, rows: Mapping[str, pa.RecordBatch]) -> None:
        """See StoreWriter.append. Raises WrongRegion for a tenant that is not of this root."""
        for tenant in rows:
            if not self._accepts(tenant):
                raise WrongRegion(f"{tenant} is not of this region", hint="nothing was stored")
            self._refuse_leaving(tenant)
        self._writer.append(rows)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with rows as they become durable, in order; returns how to stop.

        It runs on the writer's thread: it must be quick and never block.
        """
        with self._state:
            self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def snapshot(
        self,
        tenant: str,
        *,
        time_from: datetime | None = None,
        time_to: datetime | None = None,
        as_of: Mapping[str, int] | None = None,
    ) -> Snapshot:
        """See SnapshotSource.snapshot."""
        check_tenant(tenant)
        while True:
            with self._state:
                manifest = self._tenants.get(tenant) or TenantManifest(tenant)
                refs = [file.ref for file in manifest.files.values()]
                tables = self._hot.tables(tenant)
                position = {writer: chain.sealed_to for writer, chain in manifest.chains.items()}
                position |= self._hot.position(tenant)
            files, damaged = check_files(self._verified, overlapping(refs, time_from, time_to))
            with self._state:
                # A removal is final, so this ends: a file that retention took meanwhile is no damage.
                removed = any(ref.path in manifest.removed for ref in refs)
            if not (damaged and removed):
                break
        if damaged:
            self.look_at_files()
        return Snapshot(tenant, files, join(tables, as_of), position, damaged)

    def seal(self, tenant: str | None = None, *, due: Callable[[int, int, float], bool] | None = None) -> int:
        """Write hot rows to files; returns the rows written.

        tenant: only that one. due(rows, bytes, age_s): which tenants; all when None.
        """
        sealed = 0
        with self._maintenance:
            for name in self._due(tenant, due):
                sealed += self._seal_tenant(name)
            self._drop_segments()
        return sealed

    def run_retention(
        self,
        months: Callable[[str, datetime], Mapping[str, int]],
        *,
        now: datetime,
        actor: str,
        dry_run: bool = False,
    ) -> list[Expired]:
        """Delete the partitions whose period is over at `now`; returns them.

        months: tenant, now → months a class. actor: who asked, kept in the manifest entry.
        """
        self.seal()
        done: list[Expired] = []
        with self._maintenance:
            for tenant in sorted(self._tenants):
                policy = months(tenant, now)
                due = expired(tenant, self._tenants[tenant].files.values(), policy, now)
                for partition in due if not dry_run else ():
                    self._delete(
                        partition, {"actor": actor, "months": dict(policy), "as_of": now.isoformat()}
                    )
                done += due
        return done

    def remove_tenant(self, tenant: str) -> Removed:
        """Delete everything of a tenant for ever; see tenant_removal.remove_tenant."""
        self._leaving.add(check_tenant(tenant))
        self._writer.flush()  # what was under way is hot or refused now
        return remove_tenant(self.root, tenant, self.wal, self.seal, self._forget)

    @property
    def hot_rows(self) -> int:
        with self._state:
            return sum(hot.rows for hot in self._hot.tenants.values())

    @property
    def live_files(self) -> int:
        with self._state:
            return sum(len(manifest.files) for manifest in self._tenants.values())

    def look_at_files(self) -> None:
        """Bring `damages` up to date without reading a file: missing, of another size, or known to differ."""
        with self._state:
            live = [
                (name, file.ref)
                for name, manifest in self._tenants.items()
                for file in manifest.files.values()
            ]
        seen = ((name, self._verified.glance(ref)) for name, ref in live)
        self._damages = sorted(f"{name}/{damage.file}: {damage.reason}" for name, damage in seen if damage)

    @property
    def damages(self) -> list[str]:
        """Live files known to be damaged, one line each."""
        return self._damages

    @property
    def failure(self) -> str | None:
        """Why nothing can be acknowledged now, None when it can."""
        failure = self.wal.failure
        return failure.message if failure else None

    def close(self) -> None:
        """Finish queued requests and release the root; hot rows stay in the WAL."""
        self._writer.close()
        self.wal.close()
        self._lock_file.release()

    # The writer's view (writer.Ledger).

    def stored(self, tenant: str, event_ids: list[str]) -> Mapping[str, set[str]]:
        with self._state:
            manifest = self._tenants.get(tenant)
            files = list(manifest.files.values()) if manifest else []
            found = {event_id: set(self._hot.known(tenant, event_id)) for event_id in event_ids}
        while files:
            try:
                sealed = self._fingerprints.known(tenant, files, event_ids)
                break
            except FileNotFoundError:  # retention took one: look at what is live now
                with self._state:
                    files = list(self._tenants[tenant].files.values())
        else:
            return found
        for event_id, digests in sealed.items():
            found[event_id] |= digests
        return found

    def next_seq(self, tenant: str) -> int:
        self._refuse_leaving(tenant)
        with self._state:
            manifest = self._tenants.get(tenant)
            sealed = manifest.sealed_to(self.writer_id) if manifest else 0
            return max(sealed, self._hot.position(tenant).get(self.writer_id, 0)) + 1

    def publish(self, frames: list[tuple[Position, Frame]]) -> None:
        news = []
        with self._state:
            for position, frame in frames:
                table = self._hold(position, frame)
                news.append(Published(frame.tenant, frame.writer, frame.seq_min, frame.seq_max, table))
            listeners = list(self._listeners)
        for item in news:
            for listener in listeners:
                try:
                    listener(item)
                except Exception:
                    log.exception("a live listener failed; storing goes on")

    def check_room(self) -> None:
        if self._hot.bytes > HOT_BYTES_MAX:
            raise StoreUnavailable(
                "too many rows wait to be sealed",
                hint="check disk space and the server's log",
                retry_after_s=5,
            )

    # Own affairs.

    def _hold(self, position: Position, frame: Frame) -> pa.Table:
        self._segments.setdefault(position.segment, {})[frame.tenant, frame.writer] = frame.seq_max
        return self._hot.add(frame, self._now())

    def _replay(self) -> None:
        for position, data in self.wal.replay():
            frame = Frame.decode(data)
            manifest = self._tenants.get(frame.tenant)
            known = manifest.sealed_to(frame.writer) if manifest else 0
            known = max(known, self._hot.position(frame.tenant).get(frame.writer, 0))
            if frame.seq_max <= known:
                # Sealed already; its segment only waits for its neighbours.
                self._segments.setdefault(position.segment, {})[frame.tenant, frame.writer] = frame.seq_max
                continue
            if frame.seq_min <= known:
                rows = frame.rows.slice(known - frame.seq_min + 1)
                frame = Frame(frame.tenant, frame.writer, known + 1, rows)
            self._hold(position, frame)

    def _due(self, tenant: str | None, due: Callable[[int, int, float], bool] | None) -> list[str]:
        now = self._now()
        with self._state:
            names = [tenant] if tenant is not None else sorted(self._hot.tenants)
            hot = [(name, self._hot.tenants[name]) for name in names if name in self._hot.tenants]
            names = [n for n, rows in hot if due is None or due(rows.rows, rows.bytes, now - rows.since)]
        return [name for name in names if self._accepts(name)]

    def _refuse_leaving(self, tenant: str) -> None:
        if tenant in self._leaving:
            raise StoreUnavailable("the organization is being deleted", hint="stop its senders")

    def _forget(self, tenant: str) -> TenantManifest:
        with self._maintenance, self._state:
            return self._tenants.pop(tenant, TenantManifest(tenant))

    def _seal_tenant(self, tenant: str) -> int:
        with self._state:
            frames = list(self._hot.tenants[tenant].frames)
            manifest = self._tenants.setdefault(tenant, TenantManifest(tenant))
        by_writer: dict[str, list[Frame]] = {}
        for frame in frames:
            by_writer.setdefault(frame.writer, []).append(frame)
        for writer, mine in by_writer.items():
            files = list(write_files(self.root, mine))
            seq = (mine[0].seq_min, mine[-1].seq_max)
            raw = self._manifest.commit(
                manifest, writer, "seal", add=files, seq=seq, facts={"actor": "system:seal"}, now=self._utc()
            )
            # One step for readers: from now on the rows are in files and no longer hot.
            with self._state:
                self._manifest.apply(manifest, writer, raw)
                self._hot.drop(tenant, mine, self._now())
        return sum(frame.rows.num_rows for frame in frames)

    def _drop_segments(self) -> None:
        with self._state:
            segments = self.wal.segments()
            sealed = {
                number
                for number in segments
                if all(
                    tenant in self._tenants and self._tenants[tenant].sealed_to(writer) >= seq
                    for (tenant, writer), seq in self._segments.get(number, {}).items()
                )
            }
            active = segments[-1] if segments else 0
            if active in sealed and self._segments.get(active):
                self.wal.roll()  # so that the next round may remove it
            for number in sorted(sealed - {active}):
                self.wal.remove(number)
                self._segments.pop(number, None)

    def _delete(self, partition: Expired, facts: Mapping[str, object]) -> None:
        manifest = self._tenants[partition.tenant]
        raw = self._manifest.commit(
            manifest,
            self.writer_id,
            "retention",
            remove=partition.files,
            facts={**facts, "rows": partition.rows},
            now=self._utc(),
        )
        with self._state:
            self._manifest.apply(manifest, self.writer_id, raw)
        self._fingerprints.forget(file.ref.path for file in partition.files)
        delete_files(self.root, partition.tenant, partition.files)

    def _utc(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)


def overlapping(refs: list[FileRef], time_from: datetime | None, time_to: datetime | None) -> list[FileRef]:
    """Files that may hold an event in [time_from, time_to), ascending by (date, path)."""
    kept = [
        ref
        for ref in refs
        if (time_from is None or ref.time_max >= time_from) and (time_to is None or ref.time_min < time_to)
    ]
    return sorted(kept, key=lambda ref: (ref.date, ref.path))


def check_files(
    verified: VerifiedFiles, refs: list[FileRef]
) -> tuple[tuple[FileRef, ...], tuple[Damage, ...]]:
    """Split files into those whose bytes match the manifest and the damage of the others."""
    good: list[FileRef] = []
    damaged: list[Damage] = []
    for ref in refs:
        try:
            damage = verified.check(ref)
        except FileNotFoundError:
            damage = verified.missing(ref)
        if damage is None:
            good.append(ref)
        else:
            log.error("file %s is left out of an answer: %s", damage.file, damage.reason)
            damaged.append(damage)
    return tuple(good), tuple(damaged)


def _writer_id(root: Path) -> str:
    """This root's stable writer id, made on first use."""
    path = root / "writer-id"
    if not path.exists():
        put_new(path, f"w{uuid.uuid4().hex[:12]}".encode())
    return path.read_text().strip()
