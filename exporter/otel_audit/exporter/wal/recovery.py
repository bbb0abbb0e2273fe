"""What start-up makes of the files it finds, whatever a crash or damage left.

The cases are listed in docs/wal-format.md.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .durable import Durable, Publisher, load
from .files import NEW_SUFFIX, READ, WRITE, FileSystem, put_file, sync_folder_or_fail, sync_or_fail
from .format import FIRST, Position
from .reader import Damage
from .segment import (
    ALLOCATE_BYTES,
    RESERVE_BYTES,
    SMALL_FILE_BYTES,
    SUFFIX,
    ActiveSegment,
    list_segments,
    load_header,
    read_segment,
    segment_path,
)
from .survey import Survey, survey_last, survey_sealed

QUARANTINE: Final = "quarantine"


@dataclass(frozen=True, slots=True)
class Recovery:
    """What start-up found. torn_bytes were never acknowledged; damaged and missing ones may have been.

    missing_records: gaps in the record index within the segments that are there.
    """

    records: int = 0
    rewritten_records: int = 0
    torn_bytes: int = 0
    missing_records: int = 0
    damaged: tuple[Damage, ...] = ()


@dataclass(frozen=True, slots=True)
class Recovered:
    """A log ready to be written: `segments` ascending, the active one last."""

    recovery: Recovery
    segments: list[int]
    active: ActiveSegment
    next_index: int
    publisher: Publisher


def recover(
    fs: FileSystem, folder: Path, folder_descriptor: int, reserve_bytes: int = RESERVE_BYTES
) -> Recovered:
    """Make the log whole: nothing it returns can vanish in a crash. Raises OSError, WalFailed, NewerWal."""
    durable = load(fs, folder)
    surveys = _survey_all(fs, folder, durable)
    next_index = durable.next_index if durable else 1
    for survey in surveys:
        first_index = survey.header.first_index if survey.header else 0
        next_index = max(next_index, survey.last_index + 1, first_index)
    active = _resume_or_create(fs, folder, folder_descriptor, surveys, durable, next_index, reserve_bytes)
    try:
        _clean_up(fs, folder, surveys, active)
        active.take_reserve()
        segments = list_segments(fs, folder)
        publisher = _publish(fs, folder, active, Durable(active.position, next_index))
        # Readers depend on this name; the log itself does not.
        sync_folder_or_fail(fs, folder_descriptor)
    except BaseException:
        active.close()
        raise
    return Recovered(_report(surveys, durable), segments, active, next_index, publisher)


def _publish(fs: FileSystem, folder: Path, active: ActiveSegment, durable: Durable) -> Publisher:
    try:
        return Publisher.create(fs, folder, durable)
    except OSError as error:
        # A restart is no reason to stop: the reserve pays for the one block that is missing.
        if error.errno != errno.ENOSPC or not active.give_back(SMALL_FILE_BYTES):
            raise
    return Publisher.create(fs, folder, durable)


def _survey_all(fs: FileSystem, folder: Path, durable: Durable | None) -> list[Survey]:
    numbers = list_segments(fs, folder)
    headers = [load_header(fs, folder, number) for number in numbers]
    surveys: list[Survey] = []
    for place, number in enumerate(numbers):
        data = read_segment(fs, folder, number)
        if place + 1 < len(numbers):
            survey = survey_sealed(number, headers[place], data, headers[place + 1])
        else:
            survey = survey_last(number, headers[place], data, durable)
        survey.damaged = [_quarantine(fs, folder, damage, data) for damage in survey.damaged]
        surveys.append(survey)
        # Before the next one is read: two segments at once are one too many.
        del data
    return surveys


def _quarantine(fs: FileSystem, folder: Path, damage: Damage, data: bytes) -> Damage:
    """Copy damaged bytes aside, once; the segment keeps them until it is removed."""
    content = data[damage.offset : damage.offset + damage.bytes]
    if not content:
        return damage
    quarantine = folder / QUARANTINE
    fs.make_folder(quarantine)
    name = f"{damage.segment:012d}-{damage.offset:012d}-{len(content)}.bin"
    if name not in fs.listdir(quarantine):
        fs.close(put_file(fs, quarantine / name, content))
        descriptor = fs.open(quarantine, READ)
        try:
            sync_folder_or_fail(fs, descriptor)
        finally:
            fs.close(descriptor)
    return damage._replace(quarantined=quarantine / name)


def _resume_or_create(
    fs: FileSystem,
    folder: Path,
    folder_descriptor: int,
    surveys: Sequence[Survey],
    durable: Durable | None,
    next_index: int,
    reserve_bytes: int,
) -> ActiveSegment:
    last = surveys[-1] if surveys else None
    # A segment that `durable` does not state may come from a process that saw an fsync fail.
    stated = last is not None and durable is not None and durable.position == (last.number, last.end)
    if last is not None and last.header is not None and last.ends_clean and stated:
        return ActiveSegment.resume(fs, folder, last.header, last.end, reserve_bytes=reserve_bytes)
    numbers = [survey.number for survey in surveys] + _numbers_being_made(fs, folder)
    number = 1 + max([*numbers, durable.position.segment if durable else 0])
    tail = last.tail if last else []
    previous = Position(0, 0)
    if last is not None:
        # What is beyond is written again or was never acknowledged.
        previous = Position(last.number, last.synced_to if last.header is not None else last.size)
    create = functools.partial(
        ActiveSegment.create,
        fs,
        folder,
        folder_descriptor,
        number=number,
        first_index=tail[0].record_index if tail else next_index,
        previous=previous,
        carried=tail,
        reserve_bytes=reserve_bytes,
    )
    try:
        return create(ahead_bytes=ALLOCATE_BYTES + reserve_bytes)
    except OSError as error:
        if error.errno != errno.ENOSPC or last is None:
            raise
    # What a killed process had allocated ahead pays for the new segment: a full disk stops no start.
    _give_back(fs, folder, last)
    return create(ahead_bytes=0)


def _give_back(fs: FileSystem, folder: Path, last: Survey) -> None:
    """Free the unused zeros behind everything that was ever written to the last segment."""
    if last.used >= last.size:
        return
    descriptor = fs.open(segment_path(folder, last.number), WRITE)
    try:
        fs.truncate(descriptor, last.used)
    finally:
        fs.close(descriptor)


def _numbers_being_made(fs: FileSystem, folder: Path) -> list[int]:
    suffix = SUFFIX + NEW_SUFFIX
    stems = (name.removesuffix(suffix) for name in fs.listdir(folder) if name.endswith(suffix))
    return [int(stem) for stem in stems if stem.isascii() and stem.isdigit()]


def _clean_up(fs: FileSystem, folder: Path, surveys: Sequence[Survey], active: ActiveSegment) -> None:
    """Cut what is written again elsewhere, then drop what holds nothing. The active segment is durable."""
    for survey in surveys:
        if survey.number == active.number or survey.header is None:
            continue
        end = survey.synced_to
        if FIRST <= end < survey.size:
            descriptor = fs.open(segment_path(folder, survey.number), WRITE)
            try:
                fs.truncate(descriptor, end)
                # Before a name goes: the header that says where this segment ends may be in that file.
                sync_or_fail(fs, descriptor)
            finally:
                fs.close(descriptor)
    for survey in surveys:
        if survey.number != active.number and survey.is_empty:
            fs.unlink(segment_path(folder, survey.number))
    for name in fs.listdir(folder):
        if name.endswith(NEW_SUFFIX):
            fs.unlink(folder / name)


def _report(surveys: Sequence[Survey], durable: Durable | None) -> Recovery:
    damaged = [damage for survey in surveys for damage in survey.damaged]
    newest = surveys[-1].number if surveys else 0
    if durable is not None and durable.position.segment > newest:
        position = durable.position
        damaged.append(Damage(position.segment, 0, position.offset, "segment file is missing"))
    return Recovery(
        records=sum(survey.records for survey in surveys),
        rewritten_records=len(surveys[-1].tail) if surveys else 0,
        torn_bytes=sum(survey.torn_bytes for survey in surveys),
        missing_records=sum(survey.missing for survey in surveys),
        damaged=tuple(damaged),
    )
