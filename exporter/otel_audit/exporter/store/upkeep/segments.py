"""Which WAL segments are still needed: those with a row that is in no file yet."""

from __future__ import annotations

import threading

from ...wal.format import Position
from ...wal.writer import Wal
from ..contents import Contents
from ..intake.frame import Frame


class Segments:
    """Remembers what each segment holds, and drops it when all of that is in files. Thread-safe."""

    def __init__(self, wal: Wal, contents: Contents) -> None:
        self._wal, self._contents = wal, contents
        self._lock = threading.Lock()
        # segment → (tenant, writer) → highest sequence number in it.
        self._held: dict[int, dict[tuple[str, str], int]] = {}

    def note(self, position: Position, frame: Frame) -> None:
        """A frame is in the log at `position`. On the log's thread, so that no segment is sealed before."""
        with self._lock:
            self._held.setdefault(position.segment, {})[frame.tenant, frame.writer] = frame.seq_max

    def holding(self, tenant: str) -> list[int]:
        """Segments with rows of a tenant, sealed to files or not."""
        with self._lock:
            return sorted(n for n, held in self._held.items() if any(name == tenant for name, _ in held))

    def drop_sealed(self) -> None:
        """Remove every segment whose rows are all in files; the active one is rolled first."""
        segments = self._wal.segments()
        with self._lock:
            held = {number: dict(self._held.get(number, {})) for number in segments}
        done = [number for number in segments if self._sealed(held[number])]
        active = segments[-1] if segments else 0
        if active in done and held[active]:
            self._wal.roll()  # so that the next round may remove it
        for number in done:
            if number != active:
                self._wal.remove(number)
                with self._lock:
                    self._held.pop(number, None)

    def _sealed(self, held: dict[tuple[str, str], int]) -> bool:
        return all(self._contents.sealed_to(tenant, writer) >= seq for (tenant, writer), seq in held.items())
