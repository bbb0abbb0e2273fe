"""Ids for records whose sender gave none: made of what the record says, so a repeat gets the same id."""

from __future__ import annotations

import hashlib
import uuid
from typing import Final

_NS_PER_MS: Final = 1_000_000
_TIME_MASK: Final = (1 << 48) - 1
_RANDOM_MASK: Final = (1 << 62) - 1


def derived_id(time_unix_nano: int, record_digest: bytes, occurrence: int) -> str:
    """A UUIDv8 of event time, content and occurrence number among equals of the request, from 0.

    A record without any time has the received time: identical ones of two requests are two events, because
    taking a second one for a repeat would lose it.
    """
    content = b"%d:%d:%b" % (time_unix_nano, occurrence, record_digest)
    return _uuid8(time_unix_nano, b"record" + content)


def named_id(time_unix_nano: int | None, name: str) -> str:
    """A UUIDv8 for a record id that is no UUID: the same name and event time give the same id.

    time_unix_nano: None when the record has no time of its own, as the name alone must tell a repeat then.
    """
    time_ns = time_unix_nano or 0
    return _uuid8(time_ns, b"name%d:%b" % (time_ns, name.encode("utf-8", "replace")))


def _uuid8(time_ns: int, content: bytes) -> str:
    """48 bits of milliseconds as in UUIDv7, so that ids of one time lie together, then 74 of SHA-256."""
    digest = int.from_bytes(hashlib.sha256(content).digest()[:10], "big")
    high = (time_ns // _NS_PER_MS & _TIME_MASK) << 16 | 0x8000 | digest >> 62 & 0xFFF
    return str(uuid.UUID(int=high << 64 | 0b10 << 62 | digest & _RANDOM_MASK))
