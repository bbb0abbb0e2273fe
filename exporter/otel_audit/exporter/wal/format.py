"""The bytes of a segment: its header, its records, and how to find them again. No I/O.

Format: docs/wal-format.md.
"""

from __future__ import annotations

import secrets
import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from .errors import NewerWal

FORMAT_VERSION: Final = 1
# One disk page apart, so that one lost page cannot take both copies of the header.
_SECOND_COPY: Final = 4096
_HEADER: Final = struct.Struct("<8sII Q8sQQQ I")
_HEADER_BYTES: Final = _HEADER.size + 4
_HEADER_MAGIC: Final = b"oa-wal\r\n"
FIRST: Final = _SECOND_COPY + _HEADER_BYTES

_RECORD: Final = struct.Struct("<8sQI")
_CRC: Final = struct.Struct("<I")
_RECORD_HEAD_BYTES: Final = _RECORD.size + _CRC.size
# Half of a full segment, so that a segment always has room for a record of any size.
FRAME_BYTES_MAX: Final = 32 << 20


class Position(NamedTuple):
    """The end of a record: everything up to here, in this and all earlier segments."""

    segment: int
    offset: int


class Header(NamedTuple):
    """What a segment says about itself. previous: where the log before it ends, (0, 0) for none."""

    segment: int
    marker: bytes
    first_index: int
    previous: Position

    def encode(self) -> bytes:
        """The segment's bytes before its first record."""
        fields = (self.segment, self.marker, self.first_index, *self.previous, 0)
        body = _HEADER.pack(_HEADER_MAGIC, FORMAT_VERSION, 0, *fields)
        copy = body + _CRC.pack(zlib.crc32(body))
        return copy.ljust(_SECOND_COPY, b"\0") + copy

    @classmethod
    def decode(cls, data: bytes, segment: int) -> Header | None:
        """Read either copy; None when both are damaged. Raises NewerWal."""
        for start in (0, _SECOND_COPY):
            copy = data[start : start + _HEADER_BYTES]
            if len(copy) < _HEADER_BYTES or zlib.crc32(copy[:-4]) != _CRC.unpack(copy[-4:])[0]:
                continue
            magic, version, _, number, marker, first_index, *previous, _ = _HEADER.unpack(copy[:-4])
            if magic != _HEADER_MAGIC or number != segment:
                continue
            if version > FORMAT_VERSION:
                raise NewerWal(
                    f"the write-ahead log has format {version}, this release knows {FORMAT_VERSION}",
                    hint="start the newer release",
                )
            return cls(number, marker, first_index, Position(*previous))
        return None


class Record(NamedTuple):
    """One valid record and where it lies. end: where the next one starts."""

    record_index: int
    start: int
    end: int
    payload: bytes


class Gap(NamedTuple):
    """Bytes [start, end) that are no valid record."""

    start: int
    end: int


def new_marker() -> bytes:
    """A marker no payload can know; its first byte is not zero, so unused space never looks like one."""
    return b"\xa7" + secrets.token_bytes(7)


def record_bytes(payload_bytes: int) -> int:
    """Bytes on disk of a record with a payload of this size."""
    return (_RECORD_HEAD_BYTES + payload_bytes + 7) & ~7


def encode_record(marker: bytes, index: int, payload: bytes) -> bytes:
    """One record, padded to a multiple of 8 bytes."""
    head = _RECORD.pack(marker, index, len(payload))
    crc = _CRC.pack(zlib.crc32(payload, zlib.crc32(head)))
    padding = bytes(record_bytes(len(payload)) - _RECORD_HEAD_BYTES - len(payload))
    return b"".join((head, crc, payload, padding))


def scan(data: bytes, header: Header, start: int, end: int) -> Iterator[Record | Gap]:
    """Yield every valid record in data[start:end), and the bytes between that are none.

    data: a segment from its first byte. Zeros behind the last record are unused space, not a gap.
    A record's index must be higher than those before it: anything else is left over from a write
    that was taken back.
    """
    end = min(end, len(data))
    position, index_min = start, header.first_index
    while position < end:
        record = _record_at(data, header.marker, position, end, index_min)
        if record is None:
            damaged_from = position
            position, record = _next_record(data, header.marker, position + 8, end, index_min)
            if record is None:
                stop = damaged_from + len(data[damaged_from:end].rstrip(b"\0"))
                if stop > damaged_from:
                    yield Gap(damaged_from, stop)
                return
            yield Gap(damaged_from, position)
        yield record
        position, index_min = record.end, record.record_index + 1


def _record_at(data: bytes, marker: bytes, start: int, end: int, index_min: int) -> Record | None:
    body = start + _RECORD_HEAD_BYTES
    if body > end or data[start : start + 8] != marker:
        return None
    _, index, size = _RECORD.unpack_from(data, start)
    if not 0 < size <= FRAME_BYTES_MAX or body + size > end or index < index_min:
        return None
    payload = data[body : body + size]
    if (
        zlib.crc32(payload, zlib.crc32(data[start : start + _RECORD.size]))
        != _CRC.unpack_from(data, body - 4)[0]
    ):
        return None
    return Record(index, start, start + record_bytes(size), payload)


def _next_record(
    data: bytes, marker: bytes, start: int, end: int, index_min: int
) -> tuple[int, Record | None]:
    while (found := data.find(marker, start, end)) >= 0:
        record = _record_at(data, marker, found, end, index_min)
        if record is not None:
            return found, record
        start = found + 1
    return end, None
