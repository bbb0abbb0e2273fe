"""A tenant's keys for tokens: numbered, rotated, and kept for as long as anything made with them may exist.

    <region root>/keys/tokens/<tenant>/<number>.json      mode 0600, {"created": "…Z", "key": "<64 hex>"}

The highest number makes new tokens; all of them find old ones. Files are only ever created and deleted, so a
command and a running server see each other's changes without a lock.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from otel_audit.exporter.redaction.actions import token

from ..errors import StoreError
from ..files.blobs import make_folder, put_new, sync_folder
from ..partition import check_tenant

KEY_BYTES: Final = 32
KEYS_MAX: Final = 32
"""Every search for a user compares one token a key; rotating monthly for two years fits."""
# A rotation by another process must take effect within one second.
_RECENT_S: Final = 0.25
_FILE: Final = re.compile(r"([1-9][0-9]{0,5})\.json")


class TokenKey(NamedTuple):
    """number: from 1, part of every token made with it. created: aware."""

    number: int
    key: bytes
    created: datetime


class TokenKeys:
    """The keys of a region root's tenants. Safe for any number of threads and processes."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = folder
        self._clock = clock
        # Bounded by the tenants of this root.
        self._recent: dict[str, tuple[float, tuple[TokenKey, ...]]] = {}

    def path(self, tenant: str) -> Path:
        """Where the tenant's keys lie."""
        return self.folder / check_tenant(tenant)

    def all(self, tenant: str) -> tuple[TokenKey, ...]:
        """Every key, oldest first; none when none was ever needed. At most 0.25 s old. Raises StoreError."""
        asked_at = self._clock()
        known = self._recent.get(tenant)
        if known is None or asked_at - known[0] >= _RECENT_S:
            known = self._recent[tenant] = (asked_at, self._read(tenant))
        return known[1]

    def tokens(self, tenant: str, value: str) -> tuple[str, ...]:
        """What a value may be stored as, one token a key, oldest first. Raises StoreError."""
        return tuple(token(value, key.number, key.key) for key in self.all(tenant))

    def current(self, tenant: str) -> TokenKey:
        """The key for new tokens, made on first need. Raises InvalidTenant, StoreError."""
        keys = self.all(tenant)
        if not keys:
            self._make(tenant, 1)
            keys = self.all(tenant)
        return keys[-1]

    def rotate(self, tenant: str) -> TokenKey:
        """Make the next key; new tokens get its number. Raises InvalidTenant, StoreError."""
        self._recent.pop(tenant, None)
        keys = self.all(tenant)
        if len(keys) >= KEYS_MAX:
            raise StoreError(
                f"{tenant} has {len(keys)} token keys, which is the most there may be",
                hint="the oldest goes once every event made with it is past its retention; rotate less often",
            )
        self._make(tenant, keys[-1].number + 1 if keys else 1)
        return self.all(tenant)[-1]

    def replaced_before(self, tenant: str, moment: datetime) -> tuple[TokenKey, ...]:
        """Keys that were replaced by a later one before `moment` (aware), oldest first."""
        keys = self.all(tenant)
        return tuple(key for key, after in pairwise(keys) if after.created < moment)

    def remove(self, tenant: str, keys: tuple[TokenKey, ...]) -> None:
        """Delete old keys: what was made with them is found by its token only, never again by its value."""
        for key in keys:
            (self.path(tenant) / f"{key.number}.json").unlink(missing_ok=True)
        if keys:
            sync_folder(self.path(tenant))
        self._recent.pop(tenant, None)

    def forget(self, tenant: str) -> None:
        """Delete all of a tenant's keys. Safe to repeat."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.path(tenant))
            sync_folder(self.folder)
        self._recent.pop(tenant, None)

    def copy_to(self, other: TokenKeys, tenant: str) -> None:
        """Give another root the tenant's keys, instead of what it may have. Safe to repeat."""
        other.forget(tenant)
        for path in self._files(tenant):
            put_new(other.path(tenant) / path.name, path.read_bytes())

    def _make(self, tenant: str, number: int) -> None:
        path = self.path(tenant) / f"{number}.json"
        made = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        data = json.dumps({"created": made, "key": os.urandom(KEY_BYTES).hex()}).encode()
        try:
            make_folder(path.parent)
            # Another process may have made it a moment ago: then that one is used.
            with contextlib.suppress(FileExistsError):
                put_new(path, data)
        except OSError as error:
            raise _unusable(tenant, path, error) from error
        self._recent.pop(tenant, None)

    def _files(self, tenant: str) -> list[Path]:
        folder = self.path(tenant)
        return (
            sorted(path for path in folder.iterdir() if _FILE.fullmatch(path.name)) if folder.is_dir() else []
        )

    def _read(self, tenant: str) -> tuple[TokenKey, ...]:
        keys = []
        for path in self._files(tenant):
            try:
                data = json.loads(path.read_bytes())
                key, created = bytes.fromhex(data["key"]), datetime.fromisoformat(data["created"])
                if len(key) != KEY_BYTES or created.tzinfo is None:
                    raise ValueError
            except FileNotFoundError:
                continue  # removed meanwhile
            except OSError as error:
                raise _unusable(tenant, path, error) from error
            except (ValueError, KeyError, TypeError):
                raise StoreError(
                    f"a token key of tenant {tenant} is damaged", hint=f"restore {path} from the last backup"
                ) from None
            keys.append(TokenKey(int(path.stem), key, created))
        return tuple(sorted(keys))


def _unusable(tenant: str, path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"cannot use the token keys of tenant {tenant}: {error.strerror}",
        hint=f"make {path} readable and its folder writable",
    )
