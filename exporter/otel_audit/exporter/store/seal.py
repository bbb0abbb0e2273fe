"""Sealing: hot rows become Parquet files, then a manifest entry, then they may leave the WAL."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from . import fingerprints
from .blobs import put_new
from .frame import Frame
from .hot import join
from .manifest import ManifestFile
from .partition import RegionRoot
from .schema import PARQUET
from .snapshot import FileRef

# Few distinct values a file: a dictionary makes them a few bits a row. Ids would only fill it.
_DICTIONARY: Final = [
    "tenant", "writer", "category", "action", "event_name", "outcome", "severity", "user_id", "user_email",
    "user_name", "user_type", "client_address", "user_agent", "resource_type", "service_name",
    "service_version", "service_instance_id", "deployment_environment", "http_method", "http_route",
    "otel_resource", "emitter_id", "policy_version", "message", "session_id", "resource_name",
]  # fmt: skip
_BLOOM: Final = ("event_id", "request_id", "trace_id", "user_id")
_ROW_GROUP_ROWS: Final = 65_536
_PAGE_BYTES: Final = 16 << 10
_PAGE_ROWS: Final = 256


def write_files(root: RegionRoot, frames: Iterable[Frame]) -> Iterator[ManifestFile]:
    """Write the frames of ONE tenant and writer as one file a partition; durable when yielded."""
    frames = list(frames)
    table = join([frame.view() for frame in frames], None)
    pairs = set(zip(table["retention"].to_pylist(), table["date"].to_pylist(), strict=True))
    for retention, date in sorted(pairs):
        mine = pc.and_(pc.equal(table["retention"], retention), pc.equal(table["date"], date))
        rows = table.filter(mine).sort_by([("time", "ascending"), ("event_id", "ascending")])
        yield _write_file(root, rows, retention, date)


def _write_file(root: RegionRoot, rows: pa.Table, retention: str, date: str) -> ManifestFile:
    tenant, writer = rows["tenant"][0].as_py(), rows["writer"][0].as_py()
    seq = pc.min_max(rows["seq"]).as_py()
    data = encode_parquet(rows)
    sha256 = hashlib.sha256(data).hexdigest()
    # The range and the digest make the name unique for ever: a name is never used twice.
    name = f"{writer}-{seq['min']:012d}-{seq['max']:012d}-{sha256[:8]}"
    path = root.partition(tenant, retention, date) / f"{name}.parquet"
    _put_again(path, data)
    ids = rows["event_id"].to_pylist()
    index = f"{name}.fp"
    _put_again(root.index(tenant) / index, fingerprints.encode(ids))
    times = pc.min_max(rows["time"]).as_py()
    ref = FileRef(
        path=path,
        retention=retention,
        date=date,
        rows=rows.num_rows,
        bytes=len(data),
        time_min=times["min"],
        time_max=times["max"],
        writer=writer,
        seq_min=seq["min"],
        seq_max=seq["max"],
        sha256=sha256,
    )
    return ManifestFile(ref, min(ids), max(ids), index)


def _put_again(path: Path, data: bytes | memoryview) -> None:
    """Like put_new; what a crash before the manifest entry left under this name is replaced."""
    try:
        put_new(path, data)
    except FileExistsError:
        path.unlink()
        put_new(path, data)


def encode_parquet(rows: pa.Table) -> memoryview:
    """Rows of schema VIEW as the bytes of a Parquet file of schema PARQUET."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        rows.select(PARQUET.names).cast(PARQUET),
        sink,
        compression="zstd",
        compression_level=1,
        use_dictionary=_DICTIONARY,
        bloom_filter_options={name: {"ndv": max(rows.num_rows, 1), "fpp": 0.01} for name in _BLOOM},
        row_group_size=_ROW_GROUP_ROWS,
        write_page_checksum=True,
        # Small pages: the few rows of one page of answers are decoded without their neighbours.
        data_page_size=_PAGE_BYTES,
        write_batch_size=_PAGE_ROWS,
    )
    return memoryview(sink.getvalue())
