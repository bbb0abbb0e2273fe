"""A small file beside each Parquet file: which event ids it holds, and which pieces of free text.

    offset  bytes  field
    0       8      magic `OASC0001`
    8       8      n, number of fingerprints: the rows of the file
    16      8      b, bytes of the gram filter, a power of two or 0
    24      8·n    fingerprints of the event ids, ascending
    …       b      gram filter (grams.py)
    …       4      CRC-32 of all bytes before

Numbers are little-endian. Derived data: one that is missing or damaged is rebuilt from its file.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import struct
import sys
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..partition import RegionRoot
from ..schema import FREE_TEXT
from ..snapshot import FileRef
from .blobs import Blobs
from .grams import GramFilter, may_contain

MAGIC: Final = b"OASC0001"
_HEAD: Final = struct.Struct("<8sQQ")
_CRC: Final = struct.Struct("<I")
# A mapping holds a file descriptor, and a process has 1,024 of them by default.
_MAPPED_MAX: Final = 256
# What is mapped counts as the process's memory, though the kernel may take it back.
_MAPPED_BYTES_MAX: Final = 128 << 20
# Remembered checksums: some 150 bytes each; more sidecars than this are simply checked again.
_CHECKED_MAX: Final = 200_000

if sys.byteorder != "little":  # the memory-mapped numbers are read as they lie
    raise ImportError("otel-audit's store needs a little-endian machine")

Numbers = np.ndarray[tuple[int], np.dtype[np.uint64]]


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A checked sidecar, memory-mapped: its pages are the kernel's to evict."""

    fingerprints: Numbers
    grams: memoryview
    bytes: int


def fingerprints(event_ids: Iterable[str]) -> Numbers:
    """64 bits of BLAKE2b over each id's text, in the order of the ids."""
    digests = (hashlib.blake2b(event_id.encode(), digest_size=8).digest() for event_id in event_ids)
    return np.frombuffer(b"".join(digests), np.uint64)


class SidecarBuilder:
    """Makes a sidecar from a file's rows as they come (columns `event_id` and FREE_TEXT).

    rows: how many there will be.
    """

    def __init__(self, rows: int) -> None:
        self._numbers: list[Numbers] = []
        self._grams = GramFilter(rows)

    def add(self, rows: pa.Table) -> None:
        self._numbers.append(fingerprints(rows["event_id"].to_pylist()))
        self._grams.add(rows)

    def encode(self) -> bytes:
        """The sidecar's bytes."""
        numbers = np.sort(np.concatenate(self._numbers))
        grams = self._grams.encode()
        body = _HEAD.pack(MAGIC, len(numbers), len(grams)) + numbers.tobytes() + grams
        return body + _CRC.pack(zlib.crc32(body))


class Sidecars:
    """The sidecars of a region root. Thread-safe; keeps the most recently used ones mapped."""

    def __init__(self, root: RegionRoot, blobs: Blobs) -> None:
        self._root, self._blobs = root, blobs
        self._lock = threading.Lock()
        self._mapped: OrderedDict[Path, Sidecar] = OrderedDict()
        self._mapped_bytes = 0
        # path → inode, size and ctime under which its CRC was right.
        self._checked: dict[Path, tuple[int, int, int]] = {}

    def get(self, ref: FileRef) -> Sidecar | None:
        """The sidecar of a file, None when it is missing or damaged."""
        with self._lock:
            found = self._mapped.get(ref.index)
            if found is not None:
                self._mapped.move_to_end(ref.index)
                return found
        found = self._map(ref)
        if found is not None:
            with self._lock:
                self._drop(ref.index)
                self._mapped[ref.index] = found
                self._mapped_bytes += found.bytes
                while len(self._mapped) > _MAPPED_MAX or self._mapped_bytes > _MAPPED_BYTES_MAX:
                    self._drop(next(iter(self._mapped)))
        return found

    def _drop(self, index: Path) -> None:
        gone = self._mapped.pop(index, None)
        self._mapped_bytes -= gone.bytes if gone is not None else 0

    def holding(self, text: str | None, refs: list[FileRef]) -> list[FileRef]:
        """The files that may hold `text` in a free-text column; all of them when it is None."""
        if text is None:
            return refs
        found = ((ref, self.get(ref)) for ref in refs)
        return [ref for ref, sidecar in found if sidecar is None or may_contain(sidecar.grams, text)]

    def rebuild(self, ref: FileRef) -> Sidecar:
        """Make the sidecar of a verified file anew from its rows. Raises what reading the file does."""
        rows = pq.read_table(ref.path, columns=["event_id", *FREE_TEXT], partitioning=None)
        builder = SidecarBuilder(rows.num_rows)
        builder.add(rows)
        data = builder.encode()
        key = self._root.key(ref.index)
        self._blobs.delete(key)
        # Two threads that look for repeats may both make it; theirs are the same bytes.
        with contextlib.suppress(FileExistsError):
            self._blobs.put_new(key, data)
        # Of these bytes, not of what can be mapped: it may be that nothing can.
        made = _parsed(memoryview(data), ref.rows)
        assert made is not None
        return made

    def forget(self, refs: Iterable[FileRef]) -> None:
        """Drop the mappings of removed files."""
        with self._lock:
            for ref in refs:
                self._drop(ref.index)
                self._checked.pop(ref.index, None)

    def _map(self, ref: FileRef) -> Sidecar | None:
        try:
            with ref.index.open("rb") as file:
                mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
                status = os.fstat(file.fileno())
        except (OSError, ValueError):
            return None
        found = _parsed(mapped, ref.rows)
        key = (status.st_ino, status.st_size, status.st_ctime_ns)
        if found is None or self._checked.get(ref.index) == key:
            return found
        if _CRC.unpack_from(mapped, len(mapped) - _CRC.size)[0] != zlib.crc32(mapped[: -_CRC.size]):
            return None
        with self._lock:
            if len(self._checked) >= _CHECKED_MAX:
                self._checked.clear()
            self._checked[ref.index] = key
        return found


def _parsed(data: memoryview, rows: int) -> Sidecar | None:
    """A sidecar's bytes, None when they are not those of a file of so many rows; the CRC is not looked at."""
    if len(data) < _HEAD.size + _CRC.size:
        return None
    magic, count, grams = _HEAD.unpack_from(data)
    end = _HEAD.size + 8 * count + grams
    if magic != MAGIC or count != rows or end + _CRC.size != len(data):
        return None
    body = data[_HEAD.size : _HEAD.size + 8 * count]
    return Sidecar(np.frombuffer(body, np.uint64), data[end - grams : end], len(data))
