"""One writer a region root: an advisory lock that the kernel releases when the process dies."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from .errors import StoreLocked
from .files.blobs import make_folder


class RootLock:
    """Holds `<root>/run/lock`. timeout_s: how long to wait for a writer that is going away."""

    def __init__(self, folder: Path, *, timeout_s: float = 0.0) -> None:
        make_folder(folder)
        self._descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() >= deadline:
                    owner = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
                    os.close(self._descriptor)
                    raise StoreLocked(
                        f"another process (pid {owner}) writes to {folder.parent}",
                        hint="stop it, or use another --data-dir",
                    ) from error
                time.sleep(0.05)
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Let the next writer in. Safe to call again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
