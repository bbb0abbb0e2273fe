"""Deleting Parquet files with what belongs to them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from ..partition import RegionRoot
from ..snapshot import FileRef
from .blobs import Blobs


def delete_files(root: RegionRoot, blobs: Blobs, refs: Iterable[FileRef]) -> None:
    """Delete files, their sidecars and emptied partition folders. Safe to repeat. Raises OSError."""
    refs = list(refs)
    for ref in refs:
        blobs.delete(root.key(ref.path))
        blobs.delete(root.key(ref.index))
    remove_empty_folders(refs)


def remove_empty_folders(refs: Iterable[FileRef]) -> None:
    """Remove the partition folders of files that are gone, where nothing else is in them."""
    for folder in {ref.path.parent for ref in refs}:
        with contextlib.suppress(OSError):  # not empty, or gone already
            folder.rmdir()
