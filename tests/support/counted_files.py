"""A file system that counts what a step costs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.support.wal_files import FastFiles


class CountedFiles(FastFiles):
    """Remembers the calls that change the disk or wait for it."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def make_folder(self, path: Path) -> None:
        self.calls["make_folder"] += 1
        super().make_folder(path)

    def sync(self, descriptor: int) -> None:
        self.calls["sync"] += 1

    def sync_folder(self, descriptor: int) -> None:
        self.calls["sync_folder"] += 1

    def link(self, source: Path, target: Path) -> None:
        self.calls["link"] += 1
        super().link(source, target)

    def unlink(self, path: Path) -> None:
        self.calls["unlink"] += 1
        super().unlink(path)
