from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from otel_audit.exporter.wal import Position, Wal, read_durable
from otel_audit.exporter.wal.durable import Durable
from otel_audit.exporter.wal.errors import NewerWal, WalDamaged
from otel_audit.exporter.wal.files import OsFiles
from otel_audit.exporter.wal.format import Header, new_marker
from tests.support.wal_frames import FAST, filled, frame


def frames_in(directory: Path, after: Position | None = None) -> list[bytes]:
    return [payload for _, payload in read_durable(directory, after=after)]


def test_a_folder_without_a_log_has_no_records(tmp_path: Path) -> None:
    assert frames_in(tmp_path / "wal") == []
    (tmp_path / "wal").mkdir()
    assert frames_in(tmp_path / "wal") == []
    Wal.open(tmp_path / "wal", fs=FAST).close()
    assert frames_in(tmp_path / "wal") == []


def test_readers_see_nothing_beyond_the_published_offset(tmp_path: Path) -> None:
    with Wal.open(tmp_path / "wal", fs=FAST) as wal:
        wal.append(frame(0))
        published = (tmp_path / "wal" / "durable").read_bytes()
        wal.append(frame(1))
        assert frames_in(tmp_path / "wal") == [frame(0), frame(1)]
        (tmp_path / "wal" / "durable").write_bytes(published)
        assert frames_in(tmp_path / "wal") == [frame(0)]


def test_reading_goes_on_after_a_position(tmp_path: Path) -> None:
    with Wal.open(tmp_path / "wal", fs=FAST, segment_bytes_max=5000) as wal:
        positions = [wal.append(frame(number, size=300)) for number in range(12)]
        assert len(wal.segments()) > 2
        for number, position in enumerate(positions):
            expected = [frame(later, size=300) for later in range(number + 1, 12)]
            assert frames_in(tmp_path / "wal", after=position) == expected


def test_reading_beside_a_writer_always_sees_whole_acknowledged_frames(tmp_path: Path) -> None:
    stop = threading.Event()
    acknowledged = 0

    def write(wal: Wal) -> None:
        nonlocal acknowledged
        number = 0
        while not stop.is_set():
            wal.append(frame(number))
            number += 1
            acknowledged = number

    with Wal.open(tmp_path / "wal", fs=FAST, segment_bytes_max=20_000) as wal:
        writer = threading.Thread(target=write, args=(wal,))
        writer.start()
        try:
            for _ in range(60):
                at_least = acknowledged
                found = frames_in(tmp_path / "wal")
                assert len(found) >= at_least
                assert found == [frame(number) for number in range(len(found))]
        finally:
            stop.set()
            writer.join(20)


def test_a_half_written_offset_is_read_again(tmp_path: Path) -> None:
    filled(tmp_path / "wal", [frame(0)])
    whole = (tmp_path / "wal" / "durable").read_bytes()

    class HalfWritten(OsFiles):
        reads = 0

        def pread(self, descriptor: int, size: int, offset: int) -> bytes:
            data = super().pread(descriptor, size, offset)
            if data == whole:
                self.reads += 1
                if self.reads < 4:
                    return data[:30] + bytes(len(data) - 30)
            return data

    fs = HalfWritten()
    assert [payload for _, payload in read_durable(tmp_path / "wal", fs)] == [frame(0)]
    assert fs.reads == 4


@pytest.mark.parametrize("content", [None, b"", b"\xff" * 48])
def test_a_log_without_a_readable_offset_says_what_to_do(tmp_path: Path, content: bytes | None) -> None:
    filled(tmp_path / "wal", [frame(0)])
    durable = tmp_path / "wal" / "durable"
    if content is None:
        durable.unlink()
    else:
        durable.write_bytes(content)
    with pytest.raises(WalDamaged) as refusal:
        frames_in(tmp_path / "wal")
    assert "serve" in refusal.value.hint


def test_damage_is_passed_over_and_told(tmp_path: Path) -> None:
    filled(tmp_path / "wal", [frame(number) for number in range(5)])
    path = tmp_path / "wal" / "000000000001.wal"
    content = bytearray(path.read_bytes())
    content[content.index(frame(2))] ^= 1
    path.write_bytes(content)
    told: list[tuple[int, int]] = []
    reading = read_durable(
        tmp_path / "wal", on_damage=lambda damage: told.append((damage.segment, damage.bytes))
    )
    assert [payload for _, payload in reading] == [frame(number) for number in (0, 1, 3, 4)]
    assert told == [(1, 128)]


def test_a_newer_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    filled(tmp_path / "wal", [frame(0)])
    path = tmp_path / "wal" / "000000000001.wal"
    newer = Header(1, new_marker(), 1, Position(0, 0)).encode().replace(b"\r\n\x01\0", b"\r\n\x02\0")
    import struct
    import zlib

    copy = newer[:60] + struct.pack("<I", zlib.crc32(newer[:60]))
    content = copy + path.read_bytes()[64:]
    path.write_bytes(content)
    with pytest.raises(NewerWal):
        Wal.open(tmp_path / "wal")
    with pytest.raises(NewerWal):
        frames_in(tmp_path / "wal")
    assert path.read_bytes() == content


def test_files_and_folders_are_for_the_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        filled(tmp_path / "wal", [frame(0)])
    finally:
        os.umask(before)
    assert (tmp_path / "wal").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "wal").iterdir()} == {0o600}


def test_the_published_offset_survives_its_own_encoding() -> None:
    durable = Durable(Position(7, 2**40), 2**50)
    assert Durable.decode(durable.encode()) == durable
    for bit in range(44 * 8):
        flipped = bytearray(durable.encode())
        flipped[bit // 8] ^= 1 << bit % 8
        assert Durable.decode(bytes(flipped)) is None
