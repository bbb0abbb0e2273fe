"""The file `durable`: how far the log is on disk, for readers in other processes.

Format: docs/wal-format.md.
"""

from __future__ import annotations

import struct
import time
import zlib
from pathlib import Path
from typing import Final, NamedTuple

from .errors import NewerWal, WalDamaged
from .files import READ, FileSystem, put_file, read_all, write_all
from .format import Position

DURABLE_NAME: Final = "durable"
_VERSION: Final = 1
_MAGIC: Final = b"oa-dur\r\n"
_BODY: Final = struct.Struct("<8sII QQQ")
_TAIL: Final = struct.Struct("<II")
_BYTES: Final = _BODY.size + _TAIL.size
# The writer overwrites 48 bytes within microseconds; 0.1 s of bad reads is damage, not bad luck.
_TRIES: Final = 100
_PAUSE_S: Final = 0.001


class Durable(NamedTuple):
    """Everything before `position` is on disk; next_index is that of the next record."""

    position: Position
    next_index: int

    def encode(self) -> bytes:
        body = _BODY.pack(_MAGIC, _VERSION, 0, *self.position, self.next_index)
        return body + _TAIL.pack(zlib.crc32(body), 0)

    @classmethod
    def decode(cls, data: bytes) -> Durable | None:
        """None for bytes that are not whole. Raises NewerWal."""
        if len(data) < _BYTES or zlib.crc32(data[: _BODY.size]) != _TAIL.unpack_from(data, _BODY.size)[0]:
            return None
        magic, version, _, segment, offset, next_index = _BODY.unpack_from(data)
        if magic != _MAGIC:
            return None
        if version > _VERSION:
            raise NewerWal(
                f"the write-ahead log's durable offset has format {version}, this release knows {_VERSION}",
                hint="start the newer release",
            )
        return cls(Position(segment, offset), next_index)


def load(fs: FileSystem, folder: Path) -> Durable | None:
    """What the last writer published; None when missing or damaged. Raises OSError, NewerWal."""
    try:
        descriptor = fs.open(folder / DURABLE_NAME, READ)
    except FileNotFoundError:
        return None
    try:
        return Durable.decode(read_all(fs, descriptor, _BYTES))
    finally:
        fs.close(descriptor)


def await_durable(fs: FileSystem, folder: Path) -> Durable:
    """What the running writer published, waiting out a half-written one for at most 0.1 s.

    Raises WalDamaged, OSError, NewerWal.
    """
    for _ in range(_TRIES):
        durable = load(fs, folder)
        if durable is not None:
            return durable
        time.sleep(_PAUSE_S)
    raise WalDamaged(
        "the write-ahead log's file `durable` is missing or damaged",
        hint="start `otel-audit serve` on this data directory once: it is written anew",
    )


class Publisher:
    """Overwrites the file `durable` in place.

    Every opening of the log makes a new file of this name, so the file is the writer's fencing epoch: one
    whose `durable` has lost its name has been superseded, or its folder was replaced.
    """

    def __init__(self, fs: FileSystem, path: Path, descriptor: int) -> None:
        self._fs = fs
        self._path = path
        self._descriptor = descriptor
        self._epoch = fs.identity(descriptor)

    @classmethod
    def create(cls, fs: FileSystem, folder: Path, durable: Durable) -> Publisher:
        """Replace the file by a new, synced one; the caller syncs the folder. Raises OSError, WalFailed."""
        path = folder / DURABLE_NAME
        descriptor = put_file(fs, path, durable.encode())
        try:
            return cls(fs, path, descriptor)
        except OSError:
            fs.close(descriptor)
            raise

    def is_superseded(self) -> bool:
        """Whether another writer, or nobody, has the name `durable` by now. Raises OSError."""
        try:
            return self._fs.identity(self._path) != self._epoch
        except (FileNotFoundError, NotADirectoryError):
            return True

    def publish(self, durable: Durable) -> None:
        write_all(self._fs, self._descriptor, durable.encode(), 0)

    def close(self) -> None:
        self._fs.close(self._descriptor)
