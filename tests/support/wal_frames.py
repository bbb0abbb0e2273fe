"""Frames that can be told apart, and what a log gives back."""

from __future__ import annotations

import os
import random
from pathlib import Path

from otel_audit.exporter.wal.files import FileSystem
from otel_audit.exporter.wal.writer import Wal
from tests.support.wal_files import FastFiles

LONG = os.environ.get("FAULTS") == "long"
# The long run takes minutes for one test.
TIMEOUT_S = 7200 if LONG else 120
FAST: FileSystem = FastFiles()


def frame(number: int, size: int = 100) -> bytes:
    """A frame of `size` bytes that says its number; other bytes for every number."""
    name = f"frame {number};".encode()
    return name + random.Random(number).randbytes(max(0, size - len(name)))


def recovered(directory: Path, fs: FileSystem = FAST) -> list[bytes]:
    """Open the log, return every frame in it in order, close it."""
    with Wal.open(directory, fs=fs) as wal:
        return [payload for _, payload in wal.replay()]


def damaged_log(directory: Path) -> list[bytes]:
    """A log that start-up has work with: a damaged middle, a tail beyond `durable`, torn bytes.

    Returns the frames that are still in it.
    """
    before = [frame(number, size=900) for number in range(100, 104)]
    with Wal.open(directory, fs=FAST, segment_bytes_max=7000) as wal:
        for item in before[:3]:
            wal.append(item)
        durable = (directory / "durable").read_bytes()
        wal.append(before[3])
    first, last = sorted(directory.glob("*.wal"))
    content = bytearray(first.read_bytes())
    content[content.index(before[1]) + 30] ^= 1
    first.write_bytes(content)
    # As after a power loss: `durable` is older than the log, and bytes behind its end.
    (directory / "durable").write_bytes(durable)
    with last.open("ab") as file:
        file.write(b"\xee" * 100)
    return [before[0], *before[2:]]


def filled(directory: Path, frames: list[bytes], *, segment_bytes_max: int = 64 << 20) -> None:
    """Write a log and close it."""
    with Wal.open(directory, fs=FAST, segment_bytes_max=segment_bytes_max) as wal:
        for item in frames:
            wal.append(item)
