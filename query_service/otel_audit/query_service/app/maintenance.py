"""The background duties of a running server: seal, merge, scrub, delete what expired."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from .core import Core

log = logging.getLogger(__name__)

_TICK_S: Final = 1.0
# One stat a live file: 10,000 of them take about 20 ms.
_LOOK_EVERY_S: Final = 10.0
_RETENTION_EVERY_S: Final = 3600.0
# A round plans over all live files, and merges only what is due: closed days once, open days by sixteens.
_COMPACT_EVERY_S: Final = 30.0
# So that the other duties wait for a few merges at most.
_MERGES_A_ROUND: Final = 8
_SCRUB_EVERY_S: Final = 10.0
# Every file is read again twice a day, evenly spread.
_SCRUB_ROUNDS: Final = 43_200 / _SCRUB_EVERY_S


Duty = Callable[[], object]


class Maintenance:
    """Two threads: sealing bounds memory, so it waits for one step of the others at most.

    A duty that fails is logged and tried again at its next turn.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._stop = threading.Event()
        duties: dict[str, tuple[float, Duty]] = {
            "looking at files": (_LOOK_EVERY_S, core.store.look_at_files),
            "looking for misplaced data": (_LOOK_EVERY_S, core.residence.glance),
            "compaction": (_COMPACT_EVERY_S, self._compact),
            "scrubbing": (_SCRUB_EVERY_S, self._scrub),
            "retention": (_RETENTION_EVERY_S, self._retention),
        }
        rooms = {"sealing": {"sealing": (_TICK_S, self._seal)}, "maintenance": duties}
        self._threads = [
            threading.Thread(target=self._run, args=(room,), name=f"otel-audit-{name}", daemon=True)
            for name, room in rooms.items()
        ]

    def start(self) -> None:
        # Before anybody asks: a probe that finds nothing wrong must not mean that nobody looked yet.
        self._try("looking for misplaced data", self._core.residence.glance)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Returns when the duties under way are done."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, duties: Mapping[str, tuple[float, Duty]]) -> None:
        due_at = dict.fromkeys(duties, time.monotonic())
        while not self._stop.wait(_TICK_S):
            for what, (every_s, duty) in duties.items():
                if time.monotonic() >= due_at[what] and not self._stop.is_set():
                    self._try(what, duty)
                    due_at[what] = time.monotonic() + every_s

    @staticmethod
    def _try(what: str, duty: Duty) -> None:
        try:
            duty()
        except Exception:
            log.exception("%s failed; it is tried again", what)

    def _seal(self) -> None:
        settings = self._core.settings
        self._core.store.seal(
            due=lambda rows, size, age_s: (
                rows >= settings.seal_rows or size >= settings.seal_bytes or age_s >= settings.seal_interval_s
            )
        )

    def _compact(self) -> None:
        self._core.store.compact(merges_max=_MERGES_A_ROUND)
        self._core.store.tidy()

    def _scrub(self) -> None:
        store = self._core.store
        store.scrub(files_max=math.ceil(store.live_files / _SCRUB_ROUNDS))

    def _retention(self) -> None:
        self._core.run_retention(datetime.now(UTC), dry_run=False, actor="system:retention")
