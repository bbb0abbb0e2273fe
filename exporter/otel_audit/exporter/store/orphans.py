"""What a crash between a file and its manifest entry leaves behind."""

from __future__ import annotations

import logging
from pathlib import Path

from .blobs import make_folder, sync_folder
from .manifest import TenantManifest
from .partition import RegionRoot

log = logging.getLogger(__name__)


def remove_orphans(root: RegionRoot, manifest: TenantManifest, writer: str) -> None:
    """Make the tenant's partitions hold exactly the live files; only at start, before any seal.

    A file the manifest removed is deleted, a file this writer had not yet entered too (its rows are
    still in the WAL); anything else is moved to `_quarantine/` for a person to look at.
    """
    folder = root.tenant(manifest.tenant)
    for path in sorted(folder.glob("retention=*/date=*/*")):
        if path in manifest.files:
            continue
        if path in manifest.removed or path.name.startswith("_") or _unfinished(path, manifest, writer):
            path.unlink()
            log.warning("removed %s, left by an interrupted run", path.name)
        else:
            quarantine = root.quarantine(manifest.tenant)
            make_folder(quarantine)
            path.rename(quarantine / path.name)
            sync_folder(quarantine)
            log.error("moved %s to %s: the manifest does not know it", path.name, quarantine)
    for temporary in folder.glob("_*/**/_*.tmp"):
        temporary.unlink()


def _unfinished(path: Path, manifest: TenantManifest, writer: str) -> bool:
    name, _, rest = path.stem.partition("-")
    first = rest.partition("-")[0]
    return name == writer and first.isdigit() and int(first) > manifest.sealed_to(writer)
