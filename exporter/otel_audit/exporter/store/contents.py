"""What a region root holds at this moment: every tenant's manifest and hot rows, under one lock.

A change of both is one step for readers, so the union of files and hot rows never doubles or misses a row.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from .files.fingerprints import known_in_files
from .files.sidecar import Sidecars
from .files.verified import VerifiedFiles
from .intake.frame import Frame
from .intake.hot import HotRows
from .ledger.entry import ManifestFile, TenantManifest
from .ledger.manifest import Manifest, utc
from .partition import RegionRoot
from .snapshot import FileRef


class View(NamedTuple):
    """One tenant's rows at one moment: files as the manifest lists them, unread, and hot rows by frame."""

    refs: list[FileRef]
    tables: list[pa.Table]
    position: dict[str, int]


class Contents:
    """Loads the manifests of `root` when made. Thread-safe. Raises ManifestBroken, NewerData."""

    def __init__(
        self,
        root: RegionRoot,
        manifest: Manifest,
        sidecars: Sidecars,
        verified: VerifiedFiles,
        *,
        writer: str,
        now: Callable[[], float],
    ) -> None:
        self.writer = writer
        self._manifest, self._sidecars, self._verified = manifest, sidecars, verified
        self._now = now
        self._lock = threading.RLock()  # guards everything below
        self._tenants: dict[str, TenantManifest] = {name: manifest.load(name) for name in root.tenants()}
        self._hot = HotRows()

    # What readers see.

    def view(self, tenant: str) -> View:
        """The tenant's rows now."""
        with self._lock:
            manifest = self._tenants.get(tenant) or TenantManifest(tenant)
            position = {writer: chain.sealed_to for writer, chain in manifest.chains.items()}
            position |= self._hot.position(tenant)
            refs = [file.ref for file in manifest.files.values()]
            return View(refs, self._hot.tables(tenant), position)

    def is_live(self, tenant: str, ref: FileRef) -> bool:
        with self._lock:
            manifest = self._tenants.get(tenant)
            return manifest is not None and ref.path in manifest.files

    def tenants(self) -> list[str]:
        """Tenants with files, sorted."""
        with self._lock:
            return sorted(self._tenants)

    def with_entries(self, *, but: set[str]) -> set[str]:
        """Tenants whose ledger has an entry, less those of `but`: asked every second, of thousands."""
        with self._lock:
            return {
                name
                for name, manifest in self._tenants.items()
                if name not in but and any(chain.number for chain in manifest.chains.values())
            }

    def files(self, tenant: str) -> list[ManifestFile]:
        """The tenant's live files."""
        with self._lock:
            manifest = self._tenants.get(tenant)
            return list(manifest.files.values()) if manifest else []

    @property
    def live_files(self) -> int:
        with self._lock:
            return sum(len(manifest.files) for manifest in self._tenants.values())

    @property
    def hot_rows(self) -> int:
        with self._lock:
            return sum(hot.rows for hot in self._hot.tenants.values())

    @property
    def hot_bytes(self) -> int:
        return self._hot.bytes

    # What the writer asks.

    def stored(self, tenant: str, event_ids: list[str]) -> Mapping[str, set[str]]:
        """event id → content digests already stored, hot or in files."""
        with self._lock:
            found = {event_id: set(self._hot.known(tenant, event_id)) for event_id in event_ids}
        gone: set[FileRef] = set()
        while files := [file for file in self.files(tenant) if file.ref not in gone]:
            try:
                sealed = known_in_files(self._sidecars, self._verified, files, event_ids)
                break
            except FileNotFoundError:
                # Compaction or retention took one: then it is not listed any more. One that is listed and
                # not there is damage; its rows are in no answer, so an event is kept rather than dropped.
                gone.update(file.ref for file in files if not file.ref.path.exists())
        else:
            return found
        for event_id, digests in sealed.items():
            found[event_id] |= digests
        return found

    def next_seq(self, tenant: str) -> int:
        """The number of the tenant's next row."""
        return self.reached(tenant, self.writer) + 1

    def reached(self, tenant: str, writer: str) -> int:
        """The highest number of `writer` that is durable, in a file or hot."""
        with self._lock:
            return max(self.sealed_to(tenant, writer), self._hot.position(tenant).get(writer, 0))

    def covered(self, tenant: str, writer: str) -> int:
        """The highest number up to which files and hot rows hold every row of `writer`, without a gap."""
        with self._lock:
            covered = self.sealed_to(tenant, writer)
            for frame in self.hot_frames(tenant):
                if frame.writer == writer and frame.seq_min <= covered + 1:
                    covered = max(covered, frame.seq_max)
            return covered

    def sealed_to(self, tenant: str, writer: str) -> int:
        """The highest number of `writer` that is in a file."""
        with self._lock:
            manifest = self._tenants.get(tenant)
            return manifest.sealed_to(writer) if manifest else 0

    def hold(self, frame: Frame) -> pa.Table:
        """Publish a durable frame; returns its rows as queries see them."""
        with self._lock:
            self._hot.add(frame, self._now())
        return frame.view()

    # What maintenance does.

    def settle(self) -> None:
        """See Manifest.settle."""
        self._manifest.settle()

    def hot_frames(self, tenant: str) -> list[Frame]:
        """The tenant's hot frames in sequence order."""
        with self._lock:
            hot = self._hot.tenants.get(tenant)
            return list(hot.frames) if hot else []

    def hot_tenants(self, due: Callable[[int, int, float], bool] | None = None) -> list[str]:
        """Tenants with hot rows, sorted; due(rows, bytes, age_s) chooses."""
        now = self._now()
        with self._lock:
            hot = sorted(self._hot.tenants.items())
            for _, rows in hot:
                # When the clock was set back, rows from "later" would wait until it is that late again.
                rows.since = min(rows.since, now)
        return [name for name, rows in hot if due is None or due(rows.rows, rows.bytes, now - rows.since)]

    def manifest_of(self, tenant: str) -> TenantManifest:
        """The tenant's manifest, only for whoever holds the maintenance lock: nobody else changes it."""
        with self._lock:
            return self._tenants.setdefault(tenant, TenantManifest(tenant))

    def enter(
        self,
        tenant: str,
        kind: str,
        *,
        writer: str | None = None,
        add: Sequence[ManifestFile] = (),
        remove: Sequence[ManifestFile] = (),
        sealed: Iterable[Frame] = (),
        facts: Mapping[str, Any],
    ) -> None:
        """Commit a manifest entry and show it: `sealed` frames leave the hot rows in the same step.

        writer: whose chain, this root's when None. Raises OSError with nothing changed, ManifestBroken.
        """
        manifest, frames = self.manifest_of(tenant), list(sealed)
        seq = (frames[0].seq_min, frames[-1].seq_max) if frames else None
        raw = self._manifest.commit(
            manifest, writer or self.writer, kind, add=add, remove=remove, seq=seq, facts=facts,
            now=utc(self._now()),
        )  # fmt: skip
        with self._lock:
            self._manifest.apply(manifest, raw)
            if frames:
                self._hot.drop(tenant, frames[-1].writer, frames[-1].seq_max, self._now())
        self._sidecars.forget(file.ref for file in remove)

    def forget(self, tenant: str) -> None:
        """Drop a tenant whose folder goes."""
        with self._lock:
            self._tenants.pop(tenant, None)
