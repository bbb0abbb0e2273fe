"""How a table becomes a Parquet file: encodings, sizes and what is remembered of its rows."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..ledger.entry import ManifestFile
from ..partition import RegionRoot
from ..schema import PARQUET
from ..snapshot import FileRef
from .blobs import Blobs
from .deletion import delete_files
from .sidecar import SidecarBuilder

# Few distinct values a file: a dictionary makes them a few bits a row. Where nearly every row has its own,
# reading one row would mean reading the whole dictionary.
_DICTIONARY: Final = [
    "tenant", "writer", "category", "action", "event_name", "outcome", "severity", "user_id", "user_email",
    "user_name", "user_type", "client_address", "user_agent", "resource_type", "service_name",
    "service_version", "service_instance_id", "deployment_environment", "http_method", "http_route",
    "otel_resource", "emitter_id", "policy_version",
]  # fmt: skip
_BLOOM: Final = ("event_id", "request_id", "trace_id", "user_id")
# Reading a smaller file costs no more than asking its filters.
_BLOOM_ROWS_MIN: Final = 1_000
ROW_GROUP_ROWS: Final = 65_536
_PAGE_BYTES: Final = 16 << 10
_PAGE_ROWS: Final = 256


def write_file(
    root: RegionRoot, blobs: Blobs, chunks: Iterable[pa.Table], *, rows_expected: int
) -> ManifestFile:
    """Write rows of ONE writer and partition as a file with its sidecar; both durable on return.

    chunks: schema VIEW, ascending by (time, event_id) over all; rows_expected: how many at most, for sizing.
    What a crash before the manifest entry
    left under the same name is replaced.
    """
    sink = pa.BufferOutputStream()
    facts = _Facts()
    sidecar = SidecarBuilder(rows_expected)
    with pq.ParquetWriter(sink, PARQUET, **_options(rows_expected)) as writer:
        for chunk in _regrouped(chunks):
            facts.add(chunk)
            sidecar.add(chunk)
            writer.write_table(chunk.select(PARQUET.names).cast(PARQUET), ROW_GROUP_ROWS)
    data = memoryview(sink.getvalue())
    sha256 = hashlib.sha256(data).hexdigest()
    # The range and the digest make the name unique for ever: a name is never used twice.
    name = f"{facts.writer}-{facts.seq_min:012d}-{facts.seq_max:012d}-{sha256[:8]}"
    ref = FileRef(
        path=root.partition(facts.tenant, facts.retention, facts.date) / f"{name}.parquet",
        index=root.index(facts.tenant) / f"{name}.idx",
        retention=facts.retention,
        date=facts.date,
        rows=facts.rows,
        bytes=len(data),
        time_min=facts.time_min,
        time_max=facts.time_max,
        writer=facts.writer,
        seq_min=facts.seq_min,
        seq_max=facts.seq_max,
        sha256=sha256,
    )
    try:
        _put_again(blobs, root.key(ref.path), data)
        # Derived: one that is lost or torn is made anew from its file.
        _put_again(blobs, root.key(ref.index), sidecar.encode(), durable=False)
    except OSError:
        # A full disk must not fill up with what no entry will ever list.
        with contextlib.suppress(OSError):
            delete_files(root, blobs, [ref])
        raise
    return ManifestFile(ref, facts.id_min, facts.id_max)


def encode_parquet(rows: pa.Table) -> memoryview:
    """Rows of schema VIEW as the bytes of a Parquet file of schema PARQUET."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, PARQUET, **_options(rows.num_rows)) as writer:
        writer.write_table(rows.select(PARQUET.names).cast(PARQUET), ROW_GROUP_ROWS)
    return memoryview(sink.getvalue())


class _Facts:
    """What a manifest entry says about a file's rows."""

    rows = 0
    tenant: str
    writer: str
    retention: str
    date: str
    seq_min: int
    seq_max: int
    id_min: str
    id_max: str
    time_min: datetime
    time_max: datetime

    def add(self, chunk: pa.Table) -> None:
        seq, ids, time = (pc.min_max(chunk[name]).as_py() for name in ("seq", "event_id", "time"))
        if not self.rows:
            for name in ("tenant", "writer", "retention", "date"):
                setattr(self, name, chunk[name][0].as_py())
            self.seq_min, self.id_min, self.time_min = seq["min"], ids["min"], time["min"]
            self.seq_max, self.id_max, self.time_max = seq["max"], ids["max"], time["max"]
        self.rows += chunk.num_rows
        self.seq_min, self.seq_max = min(self.seq_min, seq["min"]), max(self.seq_max, seq["max"])
        self.id_min, self.id_max = min(self.id_min, ids["min"]), max(self.id_max, ids["max"])
        self.time_min, self.time_max = min(self.time_min, time["min"]), max(self.time_max, time["max"])


def _regrouped(chunks: Iterable[pa.Table]) -> Iterable[pa.Table]:
    """The same rows in chunks of a whole row group, but for the last one."""
    waiting: list[pa.Table] = []
    rows = 0
    for chunk in chunks:
        waiting.append(chunk)
        rows += chunk.num_rows
        while rows >= ROW_GROUP_ROWS:
            table = pa.concat_tables(waiting)
            yield table.slice(0, ROW_GROUP_ROWS)
            waiting, rows = [table.slice(ROW_GROUP_ROWS)], rows - ROW_GROUP_ROWS
    if rows:
        yield pa.concat_tables(waiting)


def _options(rows: int) -> dict[str, object]:
    distinct = max(1, min(rows, ROW_GROUP_ROWS))
    return {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": _DICTIONARY,
        "bloom_filter_options": {name: {"ndv": distinct, "fpp": 0.01} for name in _BLOOM}
        if rows >= _BLOOM_ROWS_MIN
        else None,
        "write_page_checksum": True,
        # Small pages: the few rows of one page of answers are decoded without their neighbours.
        "data_page_size": _PAGE_BYTES,
        "write_batch_size": _PAGE_ROWS,
    }


def _put_again(blobs: Blobs, key: str, data: bytes | memoryview, *, durable: bool = True) -> None:
    """Like put_new; what a crash left under this key is replaced."""
    try:
        blobs.put_new(key, data, durable=durable)
    except FileExistsError:
        blobs.delete(key)
        blobs.put_new(key, data, durable=durable)
