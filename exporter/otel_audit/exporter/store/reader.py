"""The store for another process: manifest and WAL from disk, without the lock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from ..wal.errors import SegmentVanished
from ..wal.reader import read_durable
from .errors import StoreUnavailable
from .files.blobs import LocalBlobs
from .files.sidecar import Sidecars
from .files.verified import VerifiedFiles, check_files, overlapping
from .intake.frame import Frame
from .intake.hot import join
from .ledger.entry import TenantManifest
from .ledger.manifest import Manifest
from .partition import RegionRoot, check_tenant
from .snapshot import Snapshot

# A segment vanishes when its rows were just sealed, at most every few seconds.
_TRIES_MAX: Final = 10


class StoreReader:
    """A SnapshotSource over a region root that a server may be writing at the same time."""

    def __init__(self, root: RegionRoot, *, verified: VerifiedFiles | None = None) -> None:
        self.root = root
        blobs = LocalBlobs(root.path)
        self._manifest, self._sidecars = Manifest(root, blobs), Sidecars(root, blobs)
        self._verified = verified or VerifiedFiles()

    def snapshot(
        self,
        tenant: str,
        *,
        time_from: datetime | None = None,
        time_to: datetime | None = None,
        as_of: Mapping[str, int] | None = None,
        text: str | None = None,
    ) -> Snapshot:
        """See SnapshotSource.snapshot. Raises StoreUnavailable when the root never stands still."""
        # The WAL first: rows that are sealed meanwhile are then in both and dropped by number;
        # the other way round they would be in neither.
        for _ in range(_TRIES_MAX):
            frames = self._frames(check_tenant(tenant))
            manifest = self._manifest.load(tenant)
            tables, position = self._above(manifest, frames)
            refs = [file.ref for file in manifest.files.values()]
            files, damaged, _ = check_files(
                self._verified, self._sidecars.holding(text, overlapping(refs, time_from, time_to))
            )
            # A file that compaction or retention took meanwhile is no damage.
            if not damaged or self._manifest.load(tenant).files.keys() >= {ref.path for ref in refs}:
                return Snapshot(tenant, files, join(tables, as_of), position, damaged)
        raise StoreUnavailable("the files keep changing", hint="try again in a moment")

    def _frames(self, tenant: str) -> list[Frame]:
        for _ in range(_TRIES_MAX):
            try:
                frames = (Frame.decode(data) for _, data in read_durable(self.root.wal))
                return [frame for frame in frames if frame.tenant == tenant]
            except SegmentVanished:
                continue
        raise StoreUnavailable("the write-ahead log keeps changing", hint="try again in a moment")

    @staticmethod
    def _above(manifest: TenantManifest, frames: list[Frame]) -> tuple[list[object], dict[str, int]]:
        position = {writer: chain.sealed_to for writer, chain in manifest.chains.items()}
        tables: list[object] = []
        for frame in frames:
            known = position.get(frame.writer, 0)
            if frame.seq_max <= known:
                continue
            skip = max(0, known - frame.seq_min + 1)
            tables.append(frame.view().slice(skip))
            position[frame.writer] = frame.seq_max
        return tables, position
