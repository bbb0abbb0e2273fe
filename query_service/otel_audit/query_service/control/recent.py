"""Answers remembered for a moment, so that a request does not cost a read of the control database."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# A change made by another process must take effect within one second.
RECENT_S: Final = 0.25
# About 5 MB of keys or tokens; random ids of an attacker push each other out, not the memory up.
ENTRIES_MAX: Final = 10_000


class Recent(Generic[K, V]):
    """A least-recently-asked cache whose answers live `age_s` seconds; errors are never remembered."""

    def __init__(
        self,
        load: Callable[[K], V],
        *,
        age_s: float = RECENT_S,
        entries_max: int = ENTRIES_MAX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._age_s = age_s
        self._entries_max = entries_max
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def get(self, key: K) -> V:
        """The answer for `key`, at most `age_s` old. Raises what loading raises."""
        asked_at = self._clock()
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and asked_at - entry[0] < self._age_s:
                self._entries.move_to_end(key)
                return entry[1]
        value = self._load(key)
        with self._lock:
            # Dated by the moment of asking: what changed while loading is not believed longer than that.
            self._entries[key] = (asked_at, value)
            self._entries.move_to_end(key)
            while len(self._entries) > self._entries_max:
                self._entries.popitem(last=False)
        return value

    def clear(self) -> None:
        """Forget everything; this process's own changes are then seen at once."""
        with self._lock:
            self._entries.clear()
