from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from otel_audit.exporter.wal.format import (
    FIRST,
    Gap,
    Header,
    Position,
    Record,
    encode_record,
    new_marker,
    record_bytes,
    scan,
)

HEADER = Header(3, new_marker(), 10, Position(2, 9000))


def segment(*records: tuple[int, bytes]) -> bytes:
    return HEADER.encode() + b"".join(encode_record(HEADER.marker, index, item) for index, item in records)


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=300), max_size=20))
def test_records_come_back_as_they_were_written(payloads: list[bytes]) -> None:
    data = segment(*enumerate(payloads, 10))
    found = list(scan(data + bytes(500), HEADER, FIRST, len(data) + 500))
    assert [item.payload for item in found if isinstance(item, Record)] == payloads
    assert len(found) == len(payloads)
    assert len(data) == FIRST + sum(record_bytes(len(payload)) for payload in payloads)


@settings(deadline=None)
@given(st.binary(max_size=400), st.binary(min_size=1, max_size=60))
def test_whatever_stands_between_two_records_both_are_found(junk: bytes, payload: bytes) -> None:
    first = encode_record(HEADER.marker, 10, b"first")
    padded = junk + bytes(-len(junk) % 8)
    data = HEADER.encode() + first + padded + encode_record(HEADER.marker, 11, payload)
    found = list(scan(data, HEADER, FIRST, len(data)))
    assert [item.payload for item in found if isinstance(item, Record)] == [b"first", payload]
    gaps = [item for item in found if isinstance(item, Gap)]
    start = FIRST + len(first)
    assert gaps == ([Gap(start, start + len(padded))] if padded else [])


def test_a_record_left_over_from_a_write_that_was_taken_back_is_not_a_record() -> None:
    data = segment((10, b"a"), (11, b"b"), (11, b"stale"), (10, b"stale"))
    found = list(scan(data, HEADER, FIRST, len(data)))
    assert [item.payload for item in found if isinstance(item, Record)] == [b"a", b"b"]
    assert isinstance(found[-1], Gap)


def test_records_of_another_segment_are_not_records() -> None:
    data = segment((10, b"a")) + encode_record(new_marker(), 11, b"misplaced")
    found = list(scan(data, HEADER, FIRST, len(data)))
    assert [item.payload for item in found if isinstance(item, Record)] == [b"a"]


def test_either_copy_of_the_header_is_enough() -> None:
    data = HEADER.encode()
    assert len(data) == FIRST
    assert Header.decode(data, 3) == HEADER
    assert Header.decode(bytes(4096) + data[4096:], 3) == HEADER
    assert Header.decode(data[:4096] + bytes(64), 3) == HEADER
    assert Header.decode(bytes(FIRST), 3) is None
    assert Header.decode(data, 4) is None
