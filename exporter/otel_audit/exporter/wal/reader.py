"""Reading the log in order: by its writer at start, and by other processes up to the durable offset."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from .durable import await_durable
from .errors import SegmentVanished, WalDamaged
from .files import NEW_SUFFIX, OS, FileSystem
from .format import FIRST, Gap, Header, Position, scan
from .segment import list_segments, load_header, read_segment


class Damage(NamedTuple):
    """Bytes of the log that could not be used. quarantined: where a copy of them is, None without one."""

    segment: int
    offset: int
    bytes: int
    reason: str
    quarantined: Path | None = None


def read_durable(
    directory: Path,
    fs: FileSystem = OS,
    *,
    after: Position | None = None,
    on_damage: Callable[[Damage], None] | None = None,
) -> Iterator[tuple[Position, bytes]]:
    """Every record that was durable when this began, in order, each checked; for any process.

    directory: the folder `wal/`; one that does not exist yet has no records.
    after: only records that end beyond this position.
    on_damage: told of bytes that had to be passed over.
    Holds one segment in memory at a time. Raises SegmentVanished (start again with a new snapshot),
    WalDamaged, NewerWal.
    """
    try:
        # The offset first: a segment it names that is not listed afterwards has been removed.
        if not any(not name.endswith(NEW_SUFFIX) for name in fs.listdir(directory)):
            return
        end = await_durable(fs, directory).position
        numbers = list_segments(fs, directory)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unreadable(error) from error
    if end.segment not in numbers:
        raise SegmentVanished(end.segment)
    numbers = [number for number in numbers if number <= end.segment]
    yield from read_segments(fs, directory, numbers, end, after=after, on_damage=on_damage)


def read_segments(
    fs: FileSystem,
    directory: Path,
    numbers: Sequence[int],
    end: Position,
    *,
    after: Position | None = None,
    on_damage: Callable[[Damage], None] | None = None,
) -> Iterator[tuple[Position, bytes]]:
    """The records of these segments (ascending) up to `end`. Raises as read_durable does."""
    start = after or Position(0, 0)
    for place, number in enumerate(numbers):
        if number < start.segment:
            continue
        try:
            following = numbers[place + 1] if place + 1 < len(numbers) else None
            stop = end.offset if number == end.segment else _end_of(fs, directory, number, following)
            data = read_segment(fs, directory, number, stop)
        except FileNotFoundError as error:
            raise SegmentVanished(number) from error
        except OSError as error:
            raise _unreadable(error) from error
        begin = start.offset if number == start.segment else FIRST
        yield from _records(number, data, max(begin, FIRST), on_damage)
        # Before the next one is read: two segments at once are one too many.
        del data


def _records(
    number: int, data: bytes, begin: int, on_damage: Callable[[Damage], None] | None
) -> Iterator[tuple[Position, bytes]]:
    header = Header.decode(data, number)
    if header is None:
        if on_damage is not None:
            on_damage(Damage(number, 0, len(data), "segment header unreadable"))
        return
    for item in scan(data, header, begin, len(data)):
        if not isinstance(item, Gap):
            yield Position(number, item.end), item.payload
        elif on_damage is not None:
            on_damage(Damage(number, item.start, item.end - item.start, "no valid record"))


def _end_of(fs: FileSystem, directory: Path, number: int, following: int | None) -> int | None:
    """Where a sealed segment ends as the next one states it, None for the end of the file."""
    if following is None:
        return None
    header = load_header(fs, directory, following)
    return header.previous.offset if header is not None and header.previous.segment == number else None


def _unreadable(error: OSError) -> WalDamaged:
    return WalDamaged(
        f"the write-ahead log cannot be read: {os.strerror(error.errno) if error.errno else error}",
        hint="check the disk and the permissions of the data directory",
    )
