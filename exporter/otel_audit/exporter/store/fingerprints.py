"""Sidecars that say which event ids a sealed file holds: sorted 64-bit fingerprints, memory-mapped.

    offset  bytes  field
    0       8      magic `OAFP0001`
    8       8·n    fingerprints, ascending, little-endian

Derived data: a missing or damaged sidecar is rebuilt from its file. A hit is confirmed on the row,
so a collision of two fingerprints costs one read and never an event.
"""

from __future__ import annotations

import hashlib
import mmap
import sys
import threading
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

from .blobs import put_new
from .manifest import ManifestFile
from .partition import RegionRoot

MAGIC: Final = b"OAFP0001"
if sys.byteorder != "little":  # the memory-mapped numbers are read as they lie
    raise ImportError("otel-audit's store needs a little-endian machine")


def fingerprint(event_id: str) -> int:
    """64 bits of BLAKE2b over the id's text."""
    return int.from_bytes(hashlib.blake2b(event_id.encode(), digest_size=8).digest(), "little")


def encode(event_ids: Iterable[str]) -> bytes:
    """A sidecar's bytes."""
    ordered = sorted(fingerprint(event_id) for event_id in event_ids)
    return MAGIC + b"".join(number.to_bytes(8, "little") for number in ordered)


class Fingerprints:
    """Finds the (event id, content digest) pairs that are already in files. Thread-safe."""

    def __init__(self, root: RegionRoot) -> None:
        self._root = root
        # One small mapping a live file, dropped with the file; pages are the kernel's to evict.
        self._maps: dict[Path, memoryview] = {}
        self._lock = threading.Lock()  # a missing sidecar is rebuilt once

    def known(self, tenant: str, files: Iterable[ManifestFile], event_ids: list[str]) -> dict[str, set[str]]:
        """event id → digests stored under it, for those of `event_ids` that `files` hold."""
        low, high = min(event_ids), max(event_ids)
        wanted = {event_id: fingerprint(event_id) for event_id in event_ids}
        found: dict[str, set[str]] = {}
        for file in files:
            if file.id_max < low or file.id_min > high:
                continue
            with self._lock:
                numbers = self._numbers(tenant, file)
            hits = [event_id for event_id, number in wanted.items() if _contains(numbers, number)]
            if hits:
                self._confirm(file, hits, found)
        return found

    def forget(self, paths: Iterable[Path]) -> None:
        """Drop the mappings of removed files."""
        for path in paths:
            self._maps.pop(path, None)

    def _numbers(self, tenant: str, file: ManifestFile) -> memoryview:
        numbers = self._maps.get(file.ref.path)
        if numbers is None:
            path = self._root.index(tenant) / file.index
            numbers = _map(path, file.ref.rows)
            if numbers is None:
                ids = pq.read_table(file.ref.path, columns=["event_id"], partitioning=None)["event_id"]
                path.unlink(missing_ok=True)
                put_new(path, encode(ids.to_pylist()))
                numbers = _map(path, file.ref.rows) or memoryview(b"").cast("Q")
            self._maps[file.ref.path] = numbers
        return numbers

    @staticmethod
    def _confirm(file: ManifestFile, event_ids: list[str], found: dict[str, set[str]]) -> None:
        rows = pq.read_table(
            file.ref.path,
            columns=["event_id", "content_digest"],
            filters=[("event_id", "in", event_ids)],
            partitioning=None,
        )
        for event_id, digest in zip(*(rows.column(i).to_pylist() for i in (0, 1)), strict=True):
            found.setdefault(event_id, set()).add(digest)


def _map(path: Path, rows: int) -> memoryview | None:
    """The sidecar's numbers, or None when it is missing or not what it should be."""
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        return None
    if len(mapped) != len(MAGIC) + 8 * rows or mapped[: len(MAGIC)] != MAGIC:
        return None
    return memoryview(mapped)[len(MAGIC) :].cast("Q")


def _contains(numbers: memoryview, number: int) -> bool:
    at = bisect_left(numbers, number)
    return at < len(numbers) and numbers[at] == number
