"""Where a server's Unix sockets are: in `run/` of its data directory, where only its user gets."""

from __future__ import annotations

import contextlib
import os
import socketserver
import tempfile
from pathlib import Path
from typing import Final

from ..files.blobs import make_folder

# The kernel takes 107 bytes on Linux and 103 on macOS.
PATH_BYTES_MAX: Final = 100


def bind_local(server: socketserver.UnixStreamServer, run: Path, name: str) -> Path:
    """Let a server that is not yet bound listen at `run`/`name`; the absolute path of its socket.

    Where that would be too long for a socket's name: in a private folder for temporary files. Whoever calls
    this holds the lock in `run`, so a socket that is there already is left from a server that was killed.
    """
    path = run.absolute() / name
    if len(os.fsencode(path)) > PATH_BYTES_MAX:
        path = Path(tempfile.mkdtemp(prefix="otel-audit-")) / name
    make_folder(path.parent)
    path.unlink(missing_ok=True)
    server.server_address = str(path)
    server.server_bind()
    # Nobody connects before it listens.
    path.chmod(0o600)
    server.server_activate()
    return path


def remove_local(path: Path, run: Path) -> None:
    """Take the socket away again, and the folder that was made for it."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        if path.parent != run.absolute():
            path.parent.rmdir()
