"""A chain's entries as they lie on disk: the newest one a file, older ones packed by the thousand.

A pack holds exactly the bytes of its entries, one a line, so every hash stays what it was. The single
files go once their pack is durable; a crash between the two leaves both, which reads the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from ..errors import ManifestBroken
from ..files.blobs import Blobs

# Small enough to read at once (about 1 MB), large enough that a million entries are a thousand files.
PACK_ENTRIES: Final = 1_000

_SINGLE: Final = re.compile(r"([0-9]{12})\.json")
_PACK: Final = re.compile(r"([0-9]{12})-([0-9]{12})\.ndjson")


def numbered(number: int) -> str:
    """File name of entry `number`."""
    return f"{number:012d}.json"


def history(blobs: Blobs, folder: str, after: int = 0) -> Iterator[bytes]:
    """The entries with numbers above `after`, in order. Raises ManifestBroken when one is missing."""
    number, listed = after, None
    while True:
        before, listed = listed, _listed(blobs, folder)
        if listed == before:
            raise _missing(folder, number + 1)
        try:
            for raw in _read(blobs, folder, listed, number):
                number += 1
                yield raw
        except FileNotFoundError:
            # The writer may have packed it a moment ago: then another listing has it in another file.
            continue
        return


def _read(
    blobs: Blobs, folder: str, listed: tuple[list[tuple[int, int]], list[int]], number: int
) -> Iterator[bytes]:
    """What these files hold. Raises FileNotFoundError for one that is not there, ManifestBroken."""
    packs, singles = listed
    for first, last in packs:
        if last <= number:
            continue
        lines = blobs.get(f"{folder}/{_pack_name(first, last)}").splitlines()
        if len(lines) != last - first + 1 or first > number + 1:
            raise _missing(folder, number + 1)
        yield from lines[number + 1 - first :]
        number = last
    for single in singles:
        if single <= number:
            continue
        if single != number + 1:
            raise FileNotFoundError(f"{folder}/{numbered(number + 1)}")
        yield blobs.get(f"{folder}/{numbered(single)}")
        number = single


def entry_bytes(blobs: Blobs, folder: str, number: int) -> bytes:
    """One entry's bytes. Raises FileNotFoundError."""
    try:
        return blobs.get(f"{folder}/{numbered(number)}")
    except FileNotFoundError:
        first = (number - 1) // PACK_ENTRIES * PACK_ENTRIES + 1
        lines = blobs.get(f"{folder}/{_pack_name(first, first + PACK_ENTRIES - 1)}").splitlines()
        if len(lines) <= number - first:
            raise FileNotFoundError(f"{folder}: entry {number}") from None
        return lines[number - first]


def pack(blobs: Blobs, folder: str, number: int) -> None:
    """Pack every full thousand of single entries up to entry `number`; safe to repeat after a crash."""
    packs, singles = _listed(blobs, folder)
    packed_to = packs[-1][1] if packs else 0
    while packed_to + PACK_ENTRIES <= number:
        first, packed_to = packed_to + 1, packed_to + PACK_ENTRIES
        lines = [blobs.get(f"{folder}/{numbered(each)}") for each in range(first, packed_to + 1)]
        blobs.put_new(f"{folder}/{_pack_name(first, packed_to)}", _lines(lines))
    blobs.delete(*(f"{folder}/{numbered(single)}" for single in singles if single <= packed_to))


def write_history(blobs: Blobs, folder: str, entries: Iterable[bytes]) -> None:
    """Write a chain's entries, from the first on, into an empty folder, packed as far as they go."""
    waiting: list[bytes] = []
    first = 1
    for entry in entries:
        waiting.append(entry)
        if len(waiting) == PACK_ENTRIES:
            blobs.put_new(f"{folder}/{_pack_name(first, first + PACK_ENTRIES - 1)}", _lines(waiting))
            waiting, first = [], first + PACK_ENTRIES
    for number, entry in enumerate(waiting, first):
        blobs.put_new(f"{folder}/{numbered(number)}", entry)


def _lines(entries: list[bytes]) -> bytes:
    return b"".join(entry + b"\n" for entry in entries)


def _listed(blobs: Blobs, folder: str) -> tuple[list[tuple[int, int]], list[int]]:
    names = [key.rpartition("/")[2] for key in blobs.list(folder)]
    packs = [(int(found[1]), int(found[2])) for name in names if (found := _PACK.fullmatch(name))]
    singles = [int(found[1]) for name in names if (found := _SINGLE.fullmatch(name))]
    return packs, singles


def _pack_name(first: int, last: int) -> str:
    return f"{first:012d}-{last:012d}.ndjson"


def _missing(folder: str, number: int) -> ManifestBroken:
    tenant = folder.partition("tenant=")[2].partition("/")[0]
    return ManifestBroken(
        f"manifest entry {number} of {tenant} is missing", tenant=tenant, entry=f"{folder}/{numbered(number)}"
    )
