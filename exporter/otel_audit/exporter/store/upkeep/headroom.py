"""Room on the disk that senders may not use up: it is for the system's own audit events, and for making room.

Without it a full disk would also refuse every search, as no answer leaves before it is recorded, and
sealing and retention, which give the log's room back. Not to be confused with the log's own reserve and floor
(wal/segment.py), which are for a disk that somebody else fills: docs/operations.md tells them apart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ...wal.files import READ, FileSystem
from ..errors import StoreUnavailable

# A hundred thousand events of our own, or some of the largest files that sealing and compaction write.
HEADROOM_BYTES: Final = 128 << 20


def check_headroom(fs: FileSystem, path: Path) -> None:
    """Raises StoreUnavailable when the disk of `path` has no more than the headroom left."""
    shortage = shortage_of(fs, path)
    if shortage:
        raise StoreUnavailable(
            shortage,
            hint="free space on the data directory's disk; writing resumes by itself",
            retry_after_s=10,
        )


def shortage_of(fs: FileSystem, path: Path) -> str:
    """What is wrong with the room on the disk of `path`, "" when there is more than the headroom."""
    try:
        folder = fs.open(path, READ)
        try:
            free_bytes = fs.free_bytes(folder)
        finally:
            fs.close(folder)
    except OSError:
        return ""  # then the write itself decides
    if free_bytes >= HEADROOM_BYTES:
        return ""
    return f"the disk is full but for {free_bytes >> 20} MiB, kept for the trail's own events"
