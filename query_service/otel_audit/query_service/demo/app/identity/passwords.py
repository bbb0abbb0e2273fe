"""Passwords as scrypt hashes, and random secrets as digests."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

# 16 MiB and a few tens of ms: a guess costs something, a demonstration on a laptop stays quick.
_COST: Final = 1 << 14
_BLOCK: Final = 8
_PARALLEL: Final = 1
_MEMORY_BYTES_MAX: Final = 64 << 20
LENGTH_MIN: Final = 12
LENGTH_MAX: Final = 256
"""Hashing reads all of it, so a longer one would only cost time."""


def hash_password(password: str) -> str:
    """`scrypt$<salt>$<hash>`, both hex."""
    salt = secrets.token_bytes(16)
    return f"scrypt${salt.hex()}${_scrypt(password, salt).hex()}"


def verify_password(password: str, stored: str) -> bool:
    """Whether `stored` was made of `password`; takes the same time either way."""
    _, salt, digest = stored.split("$")
    return hmac.compare_digest(_scrypt(password, bytes.fromhex(salt)), bytes.fromhex(digest))


def sha256(secret: str) -> str:
    """Digest of a random secret, as it is kept in the database."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(
        password[:LENGTH_MAX].encode(), salt=salt, n=_COST, r=_BLOCK, p=_PARALLEL, maxmem=_MEMORY_BYTES_MAX
    )
