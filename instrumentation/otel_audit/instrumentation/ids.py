"""Ids of records and requests: time-ordered UUIDs in their canonical text form."""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
import uuid
from typing import Final

_UUID: Final = re.compile(
    r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}|[0-9A-Fa-f]{32}"
)
_NS_PER_MS: Final = 1_000_000
_SUB_MS_STEPS: Final = 4096


class _Clock:
    """The time part of the last id, so that ids of one process never go backwards."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        # Another thread of the parent may have held it at that moment.
        self._lock = threading.Lock()

    def tick(self) -> int:
        ticks = _ticks(time.time_ns())
        with self._lock:
            self._last = ticks if ticks > self._last else self._last + 1
            return self._last


def _ticks(now_ns: int) -> int:
    milliseconds, rest_ns = divmod(now_ns, _NS_PER_MS)
    return milliseconds * _SUB_MS_STEPS + rest_ns * _SUB_MS_STEPS // _NS_PER_MS


_clock = _Clock()


def uuid7(now_ns: int | None = None) -> str:
    """A new UUIDv7, canonical lower case (RFC 9562, method 3: 12 bits of sub-millisecond time).

    now_ns: time of the id, ns since 1970-01-01 UTC. Left out, the clock is read and ids of this process
    ascend even within one tick or when the clock steps back; given, it is taken as it is.
    """
    milliseconds, fraction = divmod(_clock.tick() if now_ns is None else _ticks(now_ns), _SUB_MS_STEPS)
    high = (milliseconds & 0xFFFF_FFFF_FFFF) << 16 | 0x7000 | fraction
    return str(uuid.UUID(int=high << 64 | 0b10 << 62 | secrets.randbits(62)))


def canonical_uuid(text: str | None) -> str | None:
    """The canonical lower-case form of a UUID or of 32 hex digits; None for anything else."""
    if text is None or not _UUID.fullmatch(text):
        return None
    return str(uuid.UUID(text))
