"""Hashes that stand for who it was: sessions, and users nobody knows."""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from typing import Final

_SESSION_DOMAIN: Final = b"otel-audit/session/v1\x00"
_SESSION_HASH: Final = re.compile(r"sh_[0-9a-f]{32}")
_UNKNOWN_USER: Final = re.compile(r"\[UNKNOWN_USER:[0-9a-f]{8}\]")
_UNKNOWN_DOMAIN: Final = b"otel-audit/unknown-user/v1\x00"


def session_hash(session_id: str) -> str:
    """`sh_` and 32 hex digits: the first 128 bits of a SHA-256 with a domain of its own.

    The same session gives the same hash everywhere, so that filters can hash what they search for.
    A value that is already such a hash is kept.
    """
    if is_session_hash(session_id):
        return session_id
    digest = hashlib.sha256(_SESSION_DOMAIN + session_id.encode("utf-8", "surrogatepass"))
    return f"sh_{digest.hexdigest()[:32]}"


def is_session_hash(text: str) -> bool:
    """Whether text has the form of a session hash."""
    return _SESSION_HASH.fullmatch(text) is not None


def unknown_user(value: str, key: bytes) -> str:
    """`[UNKNOWN_USER:<8 hex>]`: a keyed hash of what was typed, case and Unicode form aside.

    key: 32 bytes of the tenant. The same typed name gives the same marker within a tenant, so that repeated
    attempts are seen; eight digits are too few to confirm a guess. A marker is kept.
    """
    if _UNKNOWN_USER.fullmatch(value):
        return value
    typed = unicodedata.normalize("NFKC", value).strip().lower().encode("utf-8", "surrogatepass")
    digest = hmac.new(key, _UNKNOWN_DOMAIN + typed, hashlib.sha256)
    return f"[UNKNOWN_USER:{digest.hexdigest()[:8]}]"
