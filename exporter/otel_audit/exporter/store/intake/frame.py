"""What one WAL record holds: the rows of ONE tenant from one group commit.

offset  bytes  field
0       1      schema version (1)
1       1      length of the tenant id, T
2       1      length of the writer id, W
3       1      zero
4       4      rows, little-endian
8       8      sequence number of the first row, little-endian
16      T+W    tenant id, writer id, ASCII
…              Arrow IPC record batch message of schema ROW, without its schema
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from ..errors import NewerData
from ..schema import ROW, SCHEMA_VERSION, VIEW

_HEAD = struct.Struct("<BBBBIQ")


@dataclass(frozen=True, slots=True)
class Frame:
    """Rows seq_min … seq_min + rows.num_rows - 1 of one tenant, numbered by one writer."""

    tenant: str
    writer: str
    seq_min: int
    rows: pa.RecordBatch

    @property
    def seq_max(self) -> int:
        return self.seq_min + int(self.rows.num_rows) - 1

    @classmethod
    def joined(cls, frames: Sequence[Frame]) -> Frame:
        """Frames of one tenant and writer that follow each other as one."""
        if len(frames) == 1:
            return frames[0]
        rows = pa.Table.from_batches([frame.rows for frame in frames]).combine_chunks().to_batches()[0]
        return cls(frames[0].tenant, frames[0].writer, frames[0].seq_min, rows)

    def above(self, seq: int) -> Frame:
        """The rows with numbers above `seq`, maybe none."""
        skip = min(max(0, seq - self.seq_min + 1), self.rows.num_rows)
        return Frame(self.tenant, self.writer, self.seq_min + skip, self.rows.slice(skip)) if skip else self

    def encode(self) -> bytes:
        tenant, writer = self.tenant.encode("ascii"), self.writer.encode("ascii")
        head = _HEAD.pack(SCHEMA_VERSION, len(tenant), len(writer), 0, self.rows.num_rows, self.seq_min)
        return b"".join((head, tenant, writer, self.rows.serialize()))

    @classmethod
    def decode(cls, data: bytes) -> Frame:
        """Read one WAL record. Raises NewerData for a schema this release does not know."""
        version, tenant_bytes, writer_bytes, _, _, seq_min = _HEAD.unpack_from(data)
        if version > SCHEMA_VERSION:
            raise NewerData(
                f"the write-ahead log has schema version {version}, this release knows {SCHEMA_VERSION}",
                hint="start the newer release",
            )
        body = _HEAD.size + tenant_bytes + writer_bytes
        names = data[_HEAD.size : body].decode("ascii")
        batch = pa.ipc.read_record_batch(pa.py_buffer(data[body:]), ROW)
        return cls(names[:tenant_bytes], names[tenant_bytes:], seq_min, batch)

    @staticmethod
    def owner(data: bytes) -> tuple[str, int]:
        """Tenant and number of rows of a WAL record, without decoding them."""
        _, tenant_bytes, _, _, rows, _ = _HEAD.unpack_from(data)
        return data[_HEAD.size : _HEAD.size + tenant_bytes].decode("ascii"), rows

    def view(self) -> pa.Table:
        """The rows as queries see them (schema VIEW)."""
        count = self.rows.num_rows
        numbers = pa.array(range(self.seq_min, self.seq_min + count), pa.int64())
        by_writer = [pa.repeat(self.tenant, count), pa.repeat(self.writer, count), numbers]
        return pa.Table.from_arrays([*by_writer, *self.rows.columns], schema=VIEW)


assert [*VIEW.names[:3], *ROW.names] == VIEW.names  # tenant, writer and seq come first
