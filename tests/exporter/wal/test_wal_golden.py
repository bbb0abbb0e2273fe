"""Bytes that outlive a release: logs in golden/ were written once and are never written anew."""

from __future__ import annotations

import shutil
from pathlib import Path

from otel_audit.exporter.wal import Position, Wal, read_durable
from otel_audit.exporter.wal.format import FIRST, Header, Record, encode_record, scan
from tests.support.wal_frames import FAST

GOLDEN = Path(__file__).parent / "golden" / "version-1"
FRAMES = [bytes(range(256)), b"x", "Prüfpfad".encode() * 9, b"\0" * 8, b"last"]
INDEXES_FROM = 41


def test_a_log_of_version_1_is_still_read(tmp_path: Path) -> None:
    assert [payload for _, payload in read_durable(GOLDEN)] == FRAMES
    shutil.copytree(GOLDEN, tmp_path / "wal")
    with Wal.open(tmp_path / "wal", fs=FAST) as wal:
        assert [payload for _, payload in wal.replay()] == FRAMES
        assert wal.recovery.damaged == ()
        assert wal.recovery.missing_records == 0
        assert wal.segments() == [7, 8]
        wal.append(b"more")


def test_a_log_of_version_1_is_still_written_byte_for_byte() -> None:
    content = (GOLDEN / "000000000008.wal").read_bytes()
    header = Header.decode(content, 8)
    assert header is not None
    assert header.previous.segment == 7
    records = [item for item in scan(content, header, FIRST, len(content)) if isinstance(item, Record)]
    again = Header(8, header.marker, header.first_index, Position(*header.previous)).encode()
    again += b"".join(encode_record(header.marker, item.record_index, item.payload) for item in records)
    assert again == content
    assert [item.record_index for item in records] == [INDEXES_FROM + 3, INDEXES_FROM + 4]
