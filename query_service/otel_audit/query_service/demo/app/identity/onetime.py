"""Time-based one-time codes of RFC 6238: SHA-1, 30 seconds, six digits, as authenticator apps expect."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Final

STEP_S: Final = 30
_DIGITS: Final = 6
# A clock may be one step off; more would only help whoever guesses.
_DRIFT: Final = (0, -1, 1)


def new_secret() -> str:
    """160 random bits in base32, as authenticator apps take them."""
    return base64.b32encode(secrets.token_bytes(20)).decode()


def code_at(secret: str, time_s: float) -> str:
    """The six digits at `time_s`, seconds since 1970."""
    return _code(secret, int(time_s) // STEP_S)


def verify_code(secret: str, code: str, time_s: float) -> bool:
    """Whether `code` is right now, or one step ago or ahead."""
    step = int(time_s) // STEP_S
    return any(hmac.compare_digest(_code(secret, step + drift), code) for drift in _DRIFT)


def _code(secret: str, step: int) -> str:
    digest = hmac.new(base64.b32decode(secret), step.to_bytes(8, "big"), hashlib.sha1).digest()
    at = digest[-1] & 0x0F
    number = int.from_bytes(digest[at : at + 4], "big") & 0x7FFF_FFFF
    return str(number % 10**_DIGITS).zfill(_DIGITS)
