from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from otel_audit.exporter.wal import Position, Recovery, Wal, read_durable
from otel_audit.exporter.wal.durable import Durable
from otel_audit.exporter.wal.format import FIRST, Gap, Header, scan
from otel_audit.exporter.wal.survey import survey_last
from tests.faults.conftest import Count
from tests.support.wal_frames import FAST, LONG, TIMEOUT_S, filled, frame, recovered

pytestmark = pytest.mark.timeout(TIMEOUT_S)

RECORD_BYTES = 65_536 if LONG else 4_096
# Every byte goes through the reading of a restart; the short run starts a whole log for some of them only.
RESTART_EVERY = 1 if LONG else 41
NAME = "000000000001.wal"


def small_log(directory: Path, record_bytes: int = RECORD_BYTES) -> list[tuple[Position, bytes]]:
    """A log of one segment with frames of many sizes, and where each ends."""
    rng = random.Random(7)
    with Wal.open(directory, fs=FAST) as wal:
        written: list[tuple[Position, bytes]] = []
        number = 0
        while not written or written[-1][0].offset < FIRST + record_bytes:
            item = frame(number, size=rng.choice((12, 40, 100, 333)))
            written.append((wal.append(item), item))
            number += 1
    return written


def opened(directory: Path) -> tuple[Recovery, list[bytes]]:
    with Wal.open(directory, fs=FAST) as wal:
        return wal.recovery, [payload for _, payload in wal.replay()]


def place(template: Path, directory: Path, content: bytes) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    shutil.copy(template / "durable", directory / "durable")
    (directory / NAME).write_bytes(content)


def test_a_log_cut_at_every_byte_keeps_every_record_before_the_cut(ram_path: Path, count: Count) -> None:
    written = small_log(ram_path / "wal")
    content = (ram_path / "wal" / NAME).read_bytes()
    durable = Durable.decode((ram_path / "wal" / "durable").read_bytes())
    for size in range(len(content) + 1):
        count("bytes at which the log was cut", 1)
        whole = [item for position, item in written if _payload_end(position, item) <= size]
        # Without a header nothing of the segment can be trusted.
        expected = whole if size >= 64 else []
        cut = content[:size]
        survey = survey_last(1, Header.decode(cut, 1), cut, durable)
        assert survey.records == len(expected), size
        assert bool(survey.damaged) == (len(whole) < len(written)), size
        assert survey.torn_bytes == 0
        if size % RESTART_EVERY == 0:
            count("cuts followed by a restart", 1)
            place(ram_path / "wal", ram_path / "cut", cut)
            recovery, found = opened(ram_path / "cut")
            assert found == expected, size
            assert bool(recovery.damaged) == bool(survey.damaged), size
            # Whatever was cut, the next start finds the same and the log takes frames.
            filled(ram_path / "cut", [frame(1000)])
            assert recovered(ram_path / "cut") == [*expected, frame(1000)], size


def _payload_end(position: Position, item: bytes) -> int:
    """Where the last byte that counts of a record is; only padding follows."""
    return position.offset - (-len(item)) % 8


def test_a_torn_tail_beyond_the_durable_offset_is_cut_and_counted(ram_path: Path, count: Count) -> None:
    written = small_log(ram_path / "wal", record_bytes=600)
    content = (ram_path / "wal" / NAME).read_bytes()
    kept = [item for _, item in written]
    # A write of two more frames that never got its sync.
    shutil.copytree(ram_path / "wal", ram_path / "more")
    filled(ram_path / "more", [frame(500), frame(501)])
    longer = (ram_path / "more" / NAME).read_bytes()
    first_end = len(content) + (24 + len(frame(500)) + 7) // 8 * 8
    step = 1 if LONG else 3
    for size in range(len(content), len(longer) + 1, step):
        count("torn tails followed by a restart", 1)
        place(ram_path / "wal", ram_path / "cut", longer[:size].ljust(len(longer) + 4096, b"\0"))
        recovery, found = opened(ram_path / "cut")
        assert found[: len(kept)] == kept, size
        assert found[len(kept) :] in ([], [frame(500)], [frame(500), frame(501)]), size
        assert recovery.rewritten_records == len(found) - len(kept)
        assert not recovery.damaged, size
        torn_from = first_end if len(found) > len(kept) else len(content)
        if len(found) < len(kept) + 2:
            assert recovery.torn_bytes == len(longer[torn_from:size].rstrip(b"\0")), size
        assert recovered(ram_path / "cut") == found, size


def test_every_bit_flip_loses_no_other_record_and_returns_no_wrong_payload(
    ram_path: Path, count: Count
) -> None:
    written = small_log(ram_path / "wal")
    content = (ram_path / "wal" / NAME).read_bytes()
    header = Header.decode(content, 1)
    assert header is not None
    for start, (position, item) in zip(_starts(written), written, strict=True):
        others = [payload for other, payload in written if other != position]
        every = [payload for _, payload in written]
        for place_of_bit in range(start * 8, position.offset * 8):
            count("bits flipped in records", 1)
            flipped = bytearray(content)
            flipped[place_of_bit // 8] ^= 1 << place_of_bit % 8
            found, gaps = [], 0
            for part in scan(bytes(flipped), header, FIRST, len(flipped)):
                if isinstance(part, Gap):
                    gaps += 1
                else:
                    found.append(part.payload)
            in_padding = place_of_bit // 8 >= _payload_end(position, item)
            assert gaps == (0 if in_padding else 1), place_of_bit
            assert found == (every if in_padding else others), place_of_bit


def test_every_bit_flip_in_one_copy_of_the_segment_header_is_survived(ram_path: Path, count: Count) -> None:
    small_log(ram_path / "wal", record_bytes=600)
    content = (ram_path / "wal" / NAME).read_bytes()
    header = Header.decode(content, 1)
    assert header is not None
    for place_of_bit in range(FIRST * 8):
        count("bits flipped in headers", 1)
        flipped = bytearray(content)
        flipped[place_of_bit // 8] ^= 1 << place_of_bit % 8
        assert Header.decode(bytes(flipped), 1) == header, place_of_bit


def _starts(written: list[tuple[Position, bytes]]) -> list[int]:
    return [FIRST, *(position.offset for position, _ in written[:-1])]


def test_flipped_bytes_are_survived_reported_and_quarantined_by_a_restart(
    ram_path: Path, count: Count
) -> None:
    written = small_log(ram_path / "wal")
    content = (ram_path / "wal" / NAME).read_bytes()
    rng = random.Random(11)
    starts = _starts(written)
    for offset in range(rng.randrange(RESTART_EVERY), len(content), RESTART_EVERY):
        count("flips followed by a restart", 1)
        flipped = bytearray(content)
        flipped[offset] ^= 1 << rng.randrange(8)
        place(ram_path / "wal", ram_path / "flip", bytes(flipped))
        recovery, found = opened(ram_path / "flip")
        lost = [
            item
            for start, (position, item) in zip(starts, written, strict=True)
            if start <= offset < _payload_end(position, item)
        ]
        assert found == [item for _, item in written if item not in lost], offset
        assert recovery.missing_records == len(lost), offset
        assert len(recovery.damaged) == len(lost), offset
        for damage in recovery.damaged:
            assert damage.quarantined is not None
            assert damage.offset <= offset < damage.offset + damage.bytes
            expected = bytes(flipped[damage.offset : damage.offset + damage.bytes])
            assert damage.quarantined.read_bytes() == expected


def test_one_lost_page_at_the_start_of_a_segment_costs_no_record(tmp_path: Path) -> None:
    written = small_log(tmp_path / "wal")
    content = (tmp_path / "wal" / NAME).read_bytes()
    place(tmp_path / "wal", tmp_path / "page", bytes(4096) + content[4096:])
    _, found = opened(tmp_path / "page")
    assert found == [item for _, item in written]


@pytest.mark.parametrize("page", range(1, 4))
def test_a_lost_page_costs_only_the_records_it_touches(tmp_path: Path, page: int) -> None:
    written = small_log(tmp_path / "wal", record_bytes=16_000)
    content = (tmp_path / "wal" / NAME).read_bytes()
    start, stop = page * 4096, (page + 1) * 4096
    place(tmp_path / "wal", tmp_path / "page", content[:start] + bytes(4096) + content[stop:])
    told: list[int] = []
    expected = [
        item
        for begin, (position, item) in zip(_starts(written), written, strict=True)
        if _payload_end(position, item) <= start or begin >= stop
    ]
    if page == 1:
        # The second copy of the header is in this page: the first one is used.
        assert written[0][1] not in expected
    reading = read_durable(tmp_path / "page", on_damage=lambda damage: told.append(damage.bytes))
    assert [item for _, item in reading] == expected
    assert sum(told) > 4000
    recovery, found = opened(tmp_path / "page")
    assert found == expected
    assert recovery.missing_records == len(written) - len(expected)


def test_a_segment_without_a_readable_header_is_set_aside_and_the_others_are_kept(tmp_path: Path) -> None:
    filled(tmp_path / "wal", [frame(number, size=1500) for number in range(9)], segment_bytes_max=9000)
    segments = sorted((tmp_path / "wal").glob("*.wal"))
    assert len(segments) == 3
    content = segments[1].read_bytes()
    segments[1].write_bytes(b"\xff" * FIRST + content[FIRST:])
    recovery, found = opened(tmp_path / "wal")
    assert found == [frame(number, size=1500) for number in (0, 1, 2, 6, 7, 8)]
    (damage,) = recovery.damaged
    assert damage.segment == 2
    assert damage.quarantined is not None
    assert damage.quarantined.read_bytes() == segments[1].read_bytes()


@pytest.mark.parametrize("left", ["missing", "flipped", "cut"])
def test_without_a_readable_durable_offset_nothing_is_lost(tmp_path: Path, left: str) -> None:
    written = [frame(number) for number in range(20)]
    filled(tmp_path / "wal", written)
    durable = tmp_path / "wal" / "durable"
    content = durable.read_bytes()
    if left == "missing":
        durable.unlink()
    else:
        durable.write_bytes(content[:20] if left == "cut" else bytes([content[0] ^ 1]) + content[1:])
    recovery, found = opened(tmp_path / "wal")
    assert found == written
    assert recovery.rewritten_records == 20
    assert not recovery.damaged
    assert [item for _, item in read_durable(tmp_path / "wal")] == written
    assert recovered(tmp_path / "wal") == written


def test_a_payload_cannot_smuggle_in_a_record(tmp_path: Path) -> None:
    filled(tmp_path / "donor", [b"forged"])
    donor = (tmp_path / "donor" / NAME).read_bytes()[FIRST:].rstrip(b"\0").ljust(32, b"\0")
    filled(tmp_path / "wal", [frame(0), bytes(8) + donor + bytes(8), frame(1)])
    content = bytearray((tmp_path / "wal" / NAME).read_bytes())
    # Damage the header of the record around it: a reader now searches within its payload.
    content[content.index(donor) - 20] ^= 1
    (tmp_path / "wal" / NAME).write_bytes(content)
    assert recovered(tmp_path / "wal") == [frame(0), frame(1)]
