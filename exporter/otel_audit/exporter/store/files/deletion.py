"""Deleting Parquet files with what belongs to them."""

from __future__ import annotations

from collections.abc import Iterable

from ..partition import RegionRoot
from ..snapshot import FileRef
from .blobs import Blobs


def delete_files(root: RegionRoot, blobs: Blobs, refs: Iterable[FileRef]) -> None:
    """Delete files, their sidecars and emptied partition folders. Safe to repeat. Raises OSError."""
    blobs.delete(*(root.key(path) for ref in refs for path in (ref.path, ref.index)), emptied=True)
