"""The write-ahead log: opaque frames, durable before they are acknowledged. Standard library only."""

from __future__ import annotations

from .errors import SegmentVanished, WalClosed, WalFailed, WalFull
from .format import Position
from .reader import read_durable
from .recovery import Recovery
from .writer import Wal

__all__ = [
    "Position",
    "Recovery",
    "SegmentVanished",
    "Wal",
    "WalClosed",
    "WalFailed",
    "WalFull",
    "read_durable",
]
