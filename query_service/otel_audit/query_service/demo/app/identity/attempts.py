"""Failed sign-ins per address, to slow down whoever guesses."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

WINDOW_S: Final = 60.0
ADDRESSES_MAX: Final = 1_000
"""The oldest address is forgotten beyond this, so that a flood of addresses costs no memory."""


class Attempts:
    """Counts failures within a minute. limit: from so many on an address has to wait."""

    def __init__(self, limit: int = 5, now: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._now = now
        self._lock = threading.Lock()
        self._failed: OrderedDict[str, list[float]] = OrderedDict()

    def failed(self, address: str) -> int:
        """Count one more; how many there were within the window."""
        with self._lock:
            recent = [*self._recent(address), self._now()]
            self._failed[address] = recent[-2 * self.limit :]
            self._failed.move_to_end(address)
            while len(self._failed) > ADDRESSES_MAX:
                self._failed.popitem(last=False)
            return len(recent)

    def may_try(self, address: str) -> bool:
        """Whether the address is below the limit."""
        with self._lock:
            return len(self._recent(address)) < self.limit

    def forget(self, address: str) -> None:
        """A right password clears the address."""
        with self._lock:
            self._failed.pop(address, None)

    def _recent(self, address: str) -> list[float]:
        since = self._now() - WINDOW_S
        return [at for at in self._failed.get(address, ()) if at > since]
