"""Taking files away that a manifest entry has already removed, or that no entry knows.

Replaced files wait in `_retired/` for queries that still read them; damaged and unknown ones go to
`_quarantine/` for a person to look at. Both are outside of what engines read.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ..contents import Contents
from ..errors import ManifestBroken
from ..files.blobs import Blobs, is_temporary
from ..files.deletion import delete_files
from ..partition import RegionRoot
from ..snapshot import FileRef

log = logging.getLogger(__name__)

# Longer than any query, export or list of files that names them.
RETIRED_S: Final = 3_600.0


def retire_files(root: RegionRoot, blobs: Blobs, tenant: str, refs: Iterable[FileRef]) -> None:
    """Move replaced files to `_retired/`; their sidecars go at once. Safe to repeat."""
    refs = list(refs)
    for ref in refs:
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            blobs.move_new(root.key(ref.path), root.key(root.retired(tenant) / ref.path.name))
    # What an earlier try left, the sidecars, and folders that are empty now.
    delete_files(root, blobs, refs)


def quarantine_file(root: RegionRoot, blobs: Blobs, tenant: str, ref: FileRef) -> None:
    """Move a live file whose bytes are not the manifest's out of the way; the manifest goes on naming it."""
    try:
        blobs.move_new(root.key(ref.path), root.key(root.quarantine(tenant) / ref.path.name))
    except FileExistsError:
        blobs.delete(root.key(ref.path))  # an earlier copy of it is there already
    except FileNotFoundError:
        return
    log.error("moved %s of %s to quarantine: its bytes are not the manifest's", ref.path.name, tenant)


def delete_quarantined(root: RegionRoot, blobs: Blobs, contents: Contents, tenant: str) -> None:
    """Delete damaged files in quarantine that are live no more: their period is over like any other's."""
    live = {file.ref.path.name for file in contents.files(tenant)}
    for path in root.quarantine(tenant).glob("*.parquet"):
        if path.name not in live and _numbered(path.stem)[0] is not None:
            blobs.delete(root.key(path))


def asides(root: RegionRoot, tenant: str) -> list[tuple[Path, float]]:
    """Files of lines that imports refused, each with its mtime, seconds since 1970-01-01 UTC."""
    found = []
    for path in root.quarantine(tenant).glob("import-*.ndjson"):
        with contextlib.suppress(FileNotFoundError):
            found.append((path, path.stat().st_mtime))
    return found


def delete_retired(root: RegionRoot, blobs: Blobs, tenant: str, now: float) -> None:
    """Delete what has been in `_retired/` for an hour at `now`, seconds since 1970-01-01 UTC."""
    for key in list(blobs.list(root.key(root.retired(tenant)))):
        with contextlib.suppress(FileNotFoundError):
            if now - (root.path / key).stat().st_ctime >= RETIRED_S:
                blobs.delete(key)


def tidy_partitions(root: RegionRoot, blobs: Blobs, contents: Contents, tenant: str) -> None:
    """Make the tenant's partitions hold exactly the live files; only while no step is under way.

    A file of ours that no entry lists is left from an interrupted seal, merge or removal: its rows are in
    other files or in the WAL, and it is retired. A stranger's goes to quarantine.
    Raises ManifestBroken when a file holds rows that are nowhere else: then the manifest has lost its end.
    """
    folder = root.tenant(tenant)
    live = {file.ref.path for file in contents.files(tenant)}
    for path in sorted(folder.glob("retention=*/date=*/*")):
        if path in live:
            continue
        target = root.quarantine(tenant)
        if is_temporary(path.name):
            blobs.delete(root.key(path))
            continue
        writer, seq_max = _numbered(path.stem)
        if writer is not None:
            # Rows above a gap say nothing of those in it: the manifest may have lost its end.
            if seq_max > contents.covered(tenant, writer):
                raise ManifestBroken(
                    f"{path.name} of {tenant} holds events that neither manifest nor write-ahead log knows",
                    tenant=tenant,
                    entry="the newest manifest entries",
                )
            target = root.retired(tenant)
        try:
            blobs.move_new(root.key(path), root.key(target / path.name))
        except FileExistsError:
            blobs.delete(root.key(path))
        log.warning("moved %s to %s: the manifest does not list it", path.name, target)
    for temporary in folder.glob("_*/**/_*.tmp"):
        blobs.delete(root.key(temporary))
    stems = {path.stem for path in live}
    for index in root.index(tenant).glob("*"):
        if index.stem not in stems:
            blobs.delete(root.key(index))
    delete_quarantined(root, blobs, contents, tenant)


def _numbered(stem: str) -> tuple[str | None, int]:
    """Writer and highest sequence number in one of the store's own file names."""
    parts = stem.split("-")
    if len(parts) == 4 and parts[1].isdigit() and parts[2].isdigit():
        return parts[0], int(parts[2])
    return None, 0
