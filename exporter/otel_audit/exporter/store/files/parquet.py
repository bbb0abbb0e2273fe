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
# Setting up zstd and dictionaries for each of 46 columns takes longer than all else of writing a smaller
# file, and spares it a fifth of its bytes at most.
_ZSTD_ROWS_MIN: Final = 64
ROW_GROUP_ROWS: Final = 65_536
_TENANT_AT: Final = PARQUET.get_field_index("tenant")
_ALWAYS: Final[dict[str, object]] = {
    "write_page_checksum": True,
    # Small pages: the few rows of one page of answers are decoded without their neighbours.
    "data_page_size": 16 << 10,
    "write_batch_size": 256,
}


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
            writer.write_table(_stored(chunk), ROW_GROUP_ROWS)
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
        writer.write_table(_stored(rows), ROW_GROUP_ROWS)
    return memoryview(sink.getvalue())


def _stored(rows: pa.Table) -> pa.Table:
    """Rows of schema VIEW in schema PARQUET: `tenant` encoded, the partition's own columns left out."""
    # A cast of all 46 columns to the types they have costs as much as sorting them.
    tenant = rows["tenant"].dictionary_encode()
    kept = rows.select(PARQUET.names).set_column(_TENANT_AT, PARQUET.field(_TENANT_AT), tenant)
    return kept.replace_schema_metadata(PARQUET.metadata)


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
        seq, ids = (pc.min_max(chunk[name]).as_py() for name in ("seq", "event_id"))
        self.time_max = chunk["time"][-1].as_py()  # chunks ascend by time
        if not self.rows:
            for name in ("tenant", "writer", "retention", "date"):
                setattr(self, name, chunk[name][0].as_py())
            self.time_min = chunk["time"][0].as_py()
            self.seq_min, self.id_min = seq["min"], ids["min"]
            self.seq_max, self.id_max = seq["max"], ids["max"]
        self.rows += chunk.num_rows
        self.seq_min, self.seq_max = min(self.seq_min, seq["min"]), max(self.seq_max, seq["max"])
        self.id_min, self.id_max = min(self.id_min, ids["min"]), max(self.id_max, ids["max"])


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
    if rows < _ZSTD_ROWS_MIN:
        return _ALWAYS | {"compression": "snappy", "use_dictionary": ["tenant"]}
    options = _ALWAYS | {"compression": "zstd", "compression_level": 1, "use_dictionary": _DICTIONARY}
    if rows >= _BLOOM_ROWS_MIN:
        distinct = min(rows, ROW_GROUP_ROWS)
        options["bloom_filter_options"] = {name: {"ndv": distinct, "fpp": 0.01} for name in _BLOOM}
    return options


def _put_again(blobs: Blobs, key: str, data: bytes | memoryview, *, durable: bool = True) -> None:
    """Like put_new; what a crash left under this key is replaced."""
    try:
        blobs.put_new(key, data, durable=durable)
    except FileExistsError:
        blobs.delete(key)
        blobs.put_new(key, data, durable=durable)
