"""A process that runs retention and is killed, as by kill -9, at one named point of it.

python -m tests.support.retention_victim <data dir> <now, RFC 3339> <point>
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from otel_audit.exporter.wal.files import OsFiles
from otel_audit.query_service.app.core import Core
from otel_audit.query_service.settings import Settings


def is_note(path: Path) -> bool:
    return path.parent.name == "_untold" and path.suffix == ".json"


def is_live_file(path: Path) -> bool:
    return path.suffix == ".parquet" and path.parent.name.startswith("date=")


POINTS: Final[dict[str, tuple[str, Callable[[Path], bool]]]] = {
    "before the note": ("link", is_note),
    "before the entry": ("link", lambda path: path.parent.parent.name == "_ledger" and not is_note(path)),
    "before the file goes": ("unlink", is_live_file),
    "before the event": ("pwrite", lambda path: path.suffix == ".wal"),
    "before the note goes": ("unlink", is_note),
}
"""Point → the call before which the process ends, and of which path."""


class Dying(OsFiles):
    """Real files until the point is reached."""

    def __init__(self, point: str) -> None:
        super().__init__()
        self._call, self._meant = POINTS[point]
        self.armed = False
        self._paths: dict[int, Path] = {}

    def _reach(self, call: str, path: Path) -> None:
        if self.armed and call == self._call and self._meant(path):
            os.kill(os.getpid(), signal.SIGKILL)

    def link(self, source: Path, target: Path) -> None:
        self._reach("link", target)
        super().link(source, target)

    def unlink(self, path: Path) -> None:
        self._reach("unlink", path)
        super().unlink(path)

    def open(self, path: Path, flags: int) -> int:
        descriptor = super().open(path, flags)
        self._paths[descriptor] = path
        return descriptor

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        self._paths = {fd: target if path == source else path for fd, path in self._paths.items()}

    def pwrite(self, descriptor: int, data: memoryview, offset: int) -> int:
        self._reach("pwrite", self._paths[descriptor])
        return super().pwrite(descriptor, data, offset)


def main(data_dir: Path, now: datetime, point: str) -> None:
    fs = Dying(point)
    core = Core(Settings(data_dir=data_dir), fs=fs)
    core.store.seal()
    fs.armed = True
    core.run_retention(now, dry_run=False, actor="system:retention")
    core.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), datetime.fromisoformat(sys.argv[2]), sys.argv[3])
