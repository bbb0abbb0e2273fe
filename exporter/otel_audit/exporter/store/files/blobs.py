"""Where sealed bytes are kept: create-only blobs under a key, durable when `put_new` returns.

`Blobs` is all that the store asks of a medium; its contract is tests/exporter/store/test_blobs.py. Keys are
relative POSIX paths below a region root, made by `partition.RegionRoot` only.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from ...wal.files import OS, READ, FileSystem, write_all

_CREATE_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Blobs(Protocol):
    """A medium for blobs. Errors are OSError's own; a missing blob is FileNotFoundError."""

    def put_new(self, key: str, data: bytes | memoryview, *, durable: bool = True) -> None:
        """Write a blob whole or not at all; durable on return. FileExistsError when the key is taken.

        durable: False for what is derived and carries its own checksum: a crash may take or tear it.
        """

    def get(self, key: str) -> bytes:
        """All bytes of a blob."""

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; fewer at the end of the blob."""

    def list(self, prefix: str) -> Iterator[str]:
        """Keys below the folder `prefix` (all when empty), sorted; a write under way is no blob yet."""

    def move_new(self, key: str, target: str) -> None:
        """Give a blob another key, durable on return; FileExistsError when that one is taken."""

    def delete(self, *keys: str, emptied: bool = False) -> None:
        """Remove blobs, all durable on return; one that is gone already is fine.

        emptied: the folders that become empty by it go too, where the medium has folders.
        """


@dataclass(frozen=True, slots=True)
class LocalBlobs:
    """Blobs as files below `root`. fs: the file system, so that tests can fail the N-th call."""

    root: Path
    fs: FileSystem = OS

    def put_new(self, key: str, data: bytes | memoryview, *, durable: bool = True) -> None:
        put_new(self.root / key, data, fs=self.fs, durable=durable)

    def get(self, key: str) -> bytes:
        return (self.root / key).read_bytes()

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        with (self.root / key).open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def list(self, prefix: str) -> Iterator[str]:
        found = (
            Path(folder, name).relative_to(self.root).as_posix()
            for folder, _, names in os.walk(self.root / prefix)
            for name in names
            if not is_temporary(name)
        )
        yield from sorted(found)

    def move_new(self, key: str, target: str) -> None:
        source, path = self.root / key, self.root / target
        make_folder(path.parent, fs=self.fs)
        # Two names for a moment rather than none: a crash between the two steps loses nothing.
        self.fs.link(source, path)
        sync_folder(path.parent, fs=self.fs)
        self.fs.unlink(source)
        sync_folder(source.parent, fs=self.fs)

    def delete(self, *keys: str, emptied: bool = False) -> None:
        paths = [self.root / key for key in keys]
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                self.fs.unlink(path)
        # Each folder once, and even when all was gone already: an earlier try may have ended before this.
        folders = {path.parent for path in paths}
        for folder in {_without_empty(folder) for folder in folders} if emptied else folders:
            with contextlib.suppress(FileNotFoundError):
                sync_folder(folder, fs=self.fs)


def _without_empty(folder: Path) -> Path:
    """The folder itself, or the one it was in when it was empty or is gone."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return folder.parent
    except OSError:
        return folder
    return folder.parent


def is_temporary(name: str) -> bool:
    """Whether a file's name is that of a write under way, or of one that a crash cut short."""
    # It starts with `_`, so no engine ever reads a half-written file.
    return name.startswith("_") and name.endswith(".tmp")


def sync_folder(folder: Path, *, fs: FileSystem = OS) -> None:
    """fsync a folder: after power loss a new name alone can vanish."""
    descriptor = fs.open(folder, READ)
    try:
        fs.sync_folder(descriptor)
    finally:
        fs.close(descriptor)


def make_folder(folder: Path, *, fs: FileSystem = OS) -> None:
    """Create `folder` and its missing parents, each durable, readable by the owner only."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        fs.make_folder(path)
        sync_folder(path.parent, fs=fs)


def put_new(path: Path, data: bytes | memoryview, *, fs: FileSystem = OS, durable: bool = True) -> None:
    """Write `data` under a new name, whole or not at all, durable on return unless told otherwise.

    Raises FileExistsError when the name is taken, OSError as the file system does.
    """
    if not durable:
        _write_new(path, data, fs)
        return
    temporary = path.parent / f"_{uuid.uuid4().hex}.tmp"
    try:
        _write_new(temporary, data, fs, sync=True)
        # link, not rename: it refuses to replace what is already there.
        fs.link(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            fs.unlink(temporary)
    sync_folder(path.parent, fs=fs)


def _write_new(path: Path, data: bytes | memoryview, fs: FileSystem, *, sync: bool = False) -> None:
    """Write a new file, in a folder that is made when it is missing; a failure leaves none behind."""
    try:
        descriptor = fs.open(path, _CREATE_NEW)
    except FileNotFoundError:
        make_folder(path.parent, fs=fs)
        descriptor = fs.open(path, _CREATE_NEW)
    try:
        try:
            write_all(fs, descriptor, data, 0)
            if sync:
                fs.sync(descriptor)
        finally:
            fs.close(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            fs.unlink(path)
        raise
