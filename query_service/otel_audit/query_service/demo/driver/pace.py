"""How quickly the people work together: so many requests a second, fewer after a while."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Pace:
    """Gives turns, first come first served, evenly spaced.

    busy_per_s: requests a second for the first busy_for_s seconds; calm_per_s afterwards.
    """

    busy_per_s: float = 12.0
    busy_for_s: float = 60.0
    calm_per_s: float = 5.0
    turns: int = 0
    _line: asyncio.Lock = field(default_factory=asyncio.Lock)
    _started: float = field(default_factory=time.monotonic)
    _next: float = 0.0

    async def turn(self) -> None:
        """Return when it is the caller's turn."""
        async with self._line:
            now = time.monotonic()
            await asyncio.sleep(max(0.0, self._next - now))
            now = time.monotonic()
            per_s = self.busy_per_s if now - self._started < self.busy_for_s else self.calm_per_s
            self._next = now + 1 / per_s
            self.turns += 1
