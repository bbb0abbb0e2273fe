"""The background duties of a running server: seal what is due, delete what expired."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from .core import Core

log = logging.getLogger(__name__)

_TICK_S: Final = 1.0
# One stat a live file: 10,000 of them take about 20 ms.
_LOOK_EVERY_S: Final = 10.0
_RETENTION_EVERY_S: Final = 3600.0


class Maintenance:
    """One thread. A duty that fails is logged and tried again at its next turn."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="otel-audit-maintenance", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when the duty under way is done."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        retention_at = look_at = time.monotonic()
        while not self._stop.wait(_TICK_S):
            self._try("sealing", self._seal)
            if time.monotonic() >= look_at:
                look_at = time.monotonic() + _LOOK_EVERY_S
                self._try("looking at files", self._core.store.look_at_files)
                self._try("looking for misplaced data", self._core.residence.glance)
            if time.monotonic() >= retention_at:
                retention_at = time.monotonic() + _RETENTION_EVERY_S
                self._try("retention", self._retention)

    @staticmethod
    def _try(what: str, duty: Callable[[], object]) -> None:
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

    def _retention(self) -> None:
        self._core.run_retention(datetime.now(UTC), dry_run=False, actor="system:retention")
