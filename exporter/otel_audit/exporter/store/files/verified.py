"""No file is believed before its SHA-256 matched the manifest.

DuckDB reads damaged Parquet without an error, so the bytes are checked first. A verdict holds for
as long as inode, size and ctime of the file stay.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Final

from ..snapshot import Damage, FileRef

log = logging.getLogger(__name__)

# Verdicts kept: about 200 bytes each; more files than this are simply read again.
_VERDICTS_MAX: Final = 200_000


class VerifiedFiles:
    """Checks files against their manifest entry, each once while it does not change."""

    def __init__(self) -> None:
        self._verdicts: dict[Path, tuple[int, int, int, str]] = {}
        self._lock = threading.Lock()

    def check(self, ref: FileRef) -> Damage | None:
        """None when the file's bytes are those of the manifest.

        Raises FileNotFoundError when it is gone: take a new snapshot.
        """
        status = ref.path.stat()
        key = (status.st_ino, status.st_size, status.st_ctime_ns)
        with self._lock:
            found = self._verdicts.get(ref.path)
        if found is None or found[:3] != key:
            found = (*key, _sha256(ref.path))
            with self._lock:
                if len(self._verdicts) >= _VERDICTS_MAX:
                    self._verdicts.clear()
                self._verdicts[ref.path] = found
        if found[3] == ref.sha256:
            return None
        return _differs(ref)

    def glance(self, ref: FileRef) -> Damage | None:
        """What is known of a file without reading it; None when nothing speaks against it.

        A file that once differed is read again when it changed: a touch alone does not heal it.
        """
        try:
            status = ref.path.stat()
            if status.st_size != ref.bytes:
                return _differs(ref)
            with self._lock:
                found = self._verdicts.get(ref.path)
            return None if found is None or found[3] == ref.sha256 else self.check(ref)
        except OSError as error:
            return self.unusable(ref, error)

    def read_again(self, ref: FileRef) -> Damage | None:
        """Like `check`, but whatever was found before: silent rot changes no ctime."""
        with self._lock:
            self._verdicts.pop(ref.path, None)
        return self.check(ref)

    def unusable(self, ref: FileRef, error: OSError) -> Damage:
        """The verdict on a live file that is not there, or whose bytes the disk does not give."""
        if isinstance(error, FileNotFoundError):
            return self.missing(ref)
        reason = f"it cannot be read: {os.strerror(error.errno or 0)}"
        return Damage(ref.path.name, reason, ref.time_min, ref.time_max)

    def missing(self, ref: FileRef) -> Damage:
        """The verdict on a live file that is not there."""
        if (ref.path.parents[2] / "_quarantine" / ref.path.name).exists():
            reason = "it is in quarantine: its SHA-256 differs from the manifest's"
        else:
            reason = "the file is missing"
        return Damage(ref.path.name, reason, ref.time_min, ref.time_max)


def overlapping(
    refs: Iterable[FileRef], time_from: datetime | None, time_to: datetime | None
) -> list[FileRef]:
    """Files that may hold an event in [time_from, time_to), ascending by (date, path)."""
    kept = [
        ref
        for ref in refs
        if (time_from is None or ref.time_max >= time_from) and (time_to is None or ref.time_min < time_to)
    ]
    return sorted(kept, key=lambda ref: (ref.date, ref.path))


def check_files(
    verified: VerifiedFiles, refs: Iterable[FileRef]
) -> tuple[tuple[FileRef, ...], tuple[Damage, ...], list[FileRef]]:
    """Split files into those whose bytes match the manifest and the damage of the others.

    Third: the damaged ones whose bytes were read and differ, as opposed to those that could not be read.
    """
    good: list[FileRef] = []
    damaged: list[Damage] = []
    differing: list[FileRef] = []
    for ref in refs:
        try:
            damage = verified.check(ref)
        except OSError as error:
            damage = verified.unusable(ref, error)
        if damage is None:
            good.append(ref)
        else:
            log.error("file %s is left out of an answer: %s", damage.file, damage.reason)
            damaged.append(damage)
            if damage.differs:
                differing.append(ref)
    return tuple(good), tuple(damaged), differing


def _differs(ref: FileRef) -> Damage:
    reason = "its SHA-256 differs from the manifest's"
    return Damage(ref.path.name, reason, ref.time_min, ref.time_max, differs=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
