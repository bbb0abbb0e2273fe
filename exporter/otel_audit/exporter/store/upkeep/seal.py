"""Sealing: hot rows become Parquet files, then a manifest entry, then they may leave the WAL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from ..files.blobs import Blobs
from ..files.parquet import write_file
from ..intake.frame import Frame
from ..intake.hot import join
from ..ledger.entry import ManifestFile
from ..partition import RegionRoot

ORDER = [("time", "ascending"), ("event_id", "ascending")]
"""How the rows of a file are sorted."""
_PARTITION = [("date", "ascending"), ("retention", "ascending")]


def write_frames(root: RegionRoot, blobs: Blobs, frames: Iterable[Frame]) -> Iterator[ManifestFile]:
    """Write the frames of ONE tenant and writer as one file a partition; durable when yielded."""
    # Sorted once, so that each partition is a slice: a small tenant's rows are not worth a filter each.
    rows = join([frame.view() for frame in frames], None).sort_by([*_PARTITION, *ORDER])
    sizes = Counter(zip(*(rows[name].to_pylist() for name, _ in _PARTITION), strict=True))
    start = 0
    for size in sizes.values():
        yield write_file(root, blobs, [rows.slice(start, size)], rows_expected=size)
        start += size
