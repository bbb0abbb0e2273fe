"""The secret that signs bearer tokens, one file of 32 random bytes."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from otel_audit.instrumentation.errors import AuditError

KEY_BYTES: Final = 32


class SigningKeyUnusable(AuditError):
    """The signing key cannot be read, made or trusted."""


def load_signing_key(path: Path) -> bytes:
    """The key in `path` (mode 0600); made on first use, by one process when several try at once.

    Raises SigningKeyUnusable.
    """
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _unusable(path, str(error.strerror)) from error
    try:
        _make(path)
        return _read(path)
    except OSError as error:
        raise _unusable(path, str(error.strerror)) from error


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode) or mode & 0o077:
            raise _unusable(path, "others than its owner may read it")
        key = os.read(descriptor, KEY_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(key) != KEY_BYTES:
        raise _unusable(path, f"it does not have {KEY_BYTES} bytes")
    return key


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Linked into place when complete: nobody ever reads half a key, and the first process wins.
    draft = path.parent / f".{path.name}.{secrets.token_hex(8)}"
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        try:
            os.write(descriptor, secrets.token_bytes(KEY_BYTES))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            os.link(draft, path)
        except FileExistsError:
            return
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        draft.unlink()


def _unusable(path: Path, why: str) -> SigningKeyUnusable:
    return SigningKeyUnusable(
        f"signing key {path}: {why}",
        hint="give it to the server's user with mode 0600, or remove it and issue every token anew",
    )
