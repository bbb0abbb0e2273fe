"""Copies of whole files, hashed on the way, and made durable all together at the end."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..files.blobs import sync_folder
from .backup_list import CopiedFile

_CHUNK_BYTES: Final = 1 << 20
_CREATE_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC

Advance = Callable[[int], None]
"""Told of bytes as they are done."""
Progress = Callable[[int, int], None]
"""Told (bytes done, bytes in all)."""


def copy_file(source: Path, target: Path, name: str) -> CopiedFile:
    """Copy one file, mode 0600; durable after `sync_tree`. name: as the backup lists it.

    Raises FileNotFoundError, with nothing made, when the source is gone; FileExistsError, OSError.
    """
    digest = hashlib.sha256()
    size = 0
    with source.open("rb") as reading:
        make_path(target.parent)
        with os.fdopen(os.open(target, _CREATE_NEW, 0o600), "wb") as writing:
            while chunk := reading.read(_CHUNK_BYTES):
                digest.update(chunk)
                writing.write(chunk)
                size += len(chunk)
    return CopiedFile(name, size, digest.hexdigest())


def make_path(folder: Path) -> None:
    """Make a folder and its missing parents, mode 0700; durable after `sync_tree`."""
    if not folder.is_dir():
        make_path(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def digest_file(path: Path, name: str) -> CopiedFile:
    """What a file that is there already is. Raises OSError."""
    with path.open("rb") as reading:
        digest = hashlib.file_digest(reading, "sha256")
        return CopiedFile(name, reading.tell(), digest.hexdigest())


def sync_tree(folder: Path) -> None:
    """Make everything below `folder` durable, its own name too."""
    # After all the writing, not file by file: most is on the disk by then, and a sync finds little to do.
    for path, _, names in os.walk(folder, topdown=False):
        for name in names:
            descriptor = os.open(Path(path, name), os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(Path(path))
    sync_folder(folder.parent)
