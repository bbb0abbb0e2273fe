"""Create-only files: what is written once under a name is complete, durable and never replaced."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """fsync a folder: after power loss a new name alone can vanish."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create `folder` and its missing parents, each durable, readable by the owner only."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
        sync_folder(path.parent)


def put_new(path: Path, data: bytes | memoryview, *, mode: int = 0o600) -> None:
    """Write `data` under a new name, whole or not at all, durable on return.

    Raises FileExistsError when the name is taken, OSError as the file system does.
    The temporary name starts with `_`, so no engine ever reads a half-written file.
    """
    make_folder(path.parent)
    temporary = path.parent / f"_{uuid.uuid4().hex}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        # link, not rename: it refuses to replace what is already there.
        os.link(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
    sync_folder(path.parent)
