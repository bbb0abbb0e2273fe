"""Sealing: hot rows become Parquet files, then a manifest entry, then they may leave the WAL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow.compute as pc

from ..files.blobs import Blobs
from ..files.parquet import write_file
from ..intake.frame import Frame
from ..intake.hot import join
from ..ledger.entry import ManifestFile
from ..partition import RegionRoot

ORDER = [("time", "ascending"), ("event_id", "ascending")]
"""How the rows of a file are sorted."""


def write_frames(root: RegionRoot, blobs: Blobs, frames: Iterable[Frame]) -> Iterator[ManifestFile]:
    """Write the frames of ONE tenant and writer as one file a partition; durable when yielded."""
    table = join([frame.view() for frame in frames], None)
    partitions = table.select(["retention", "date"]).group_by(["retention", "date"]).aggregate([])
    for partition in sorted(partitions.to_pylist(), key=lambda each: (each["date"], each["retention"])):
        mine = table
        if partitions.num_rows > 1:
            mine = table.filter(pc.and_(*(pc.equal(table[name], value) for name, value in partition.items())))
        yield write_file(root, blobs, [mine.sort_by(ORDER)], rows_expected=mine.num_rows)
