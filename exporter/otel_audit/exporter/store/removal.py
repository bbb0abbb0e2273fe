"""Deleting files that a manifest entry has already removed."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from .blobs import sync_folder
from .manifest import ManifestFile
from .partition import RegionRoot


def delete_files(root: RegionRoot, tenant: str, files: Sequence[ManifestFile]) -> None:
    """Unlink files, their sidecars and emptied partition folders. Safe to repeat."""
    folders = {file.ref.path.parent for file in files}
    for file in files:
        file.ref.path.unlink(missing_ok=True)
        (root.index(tenant) / file.index).unlink(missing_ok=True)
    for folder in folders:
        with contextlib.suppress(OSError):  # not empty, or gone already
            folder.rmdir()
        sync_folder(folder.parent)
