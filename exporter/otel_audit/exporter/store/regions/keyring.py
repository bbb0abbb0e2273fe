"""Per-tenant secret keys of a region root: 32 random bytes a tenant, one derived key a purpose."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
from pathlib import Path

from ..errors import StoreError
from ..files.blobs import make_folder, put_new, sync_folder
from ..partition import check_tenant
from .token_keys import TokenKey, TokenKeys

KEY_BYTES = 32


class Keyring:
    """Keys under `<region root>/keys/tenants/`, made on first need, mode 0600, never handed over."""

    def __init__(self, directory: Path) -> None:
        self.folder = directory / "tenants"
        self.tokens = TokenKeys(directory / "tokens")
        # One entry a tenant and purpose: bounded by the tenants of this root.
        self._derived: dict[tuple[str, str], bytes] = {}

    def key(self, tenant: str, purpose: str) -> bytes:
        """The tenant's key for `purpose`, 32 bytes, the same for as long as the root lives.

        Raises InvalidTenant, StoreError when the key file is damaged or cannot be written.
        """
        found = self._derived.get((tenant, purpose))
        if found is None:
            found = hmac.digest(self._master(tenant), f"otel-audit/{purpose}".encode(), hashlib.sha256)
            self._derived[tenant, purpose] = found
        return found

    def token_key(self, tenant: str) -> TokenKey:
        """See TokenKeys.current."""
        return self.tokens.current(tenant)

    def token_keys(self, tenant: str) -> tuple[TokenKey, ...]:
        """See TokenKeys.all."""
        return self.tokens.all(tenant)

    def path(self, tenant: str) -> Path:
        """Where the tenant's key lies."""
        return self.folder / f"{check_tenant(tenant)}.key"

    def forget(self, tenant: str) -> None:
        """Delete the tenant's keys: what was hashed with them can never be matched again."""
        self.tokens.forget(tenant)
        self.path(tenant).unlink(missing_ok=True)
        if self.folder.is_dir():
            sync_folder(self.folder)
        for known in [known for known in self._derived if known[0] == tenant]:
            del self._derived[known]

    def _master(self, tenant: str) -> bytes:
        path = self.path(tenant)
        try:
            if not path.exists():
                make_folder(self.folder)
                # Another process may have made it a moment ago: then that one is used.
                with contextlib.suppress(FileExistsError):
                    put_new(path, os.urandom(KEY_BYTES))
            master = path.read_bytes()
        except OSError as error:
            raise StoreError(
                f"cannot use the key of tenant {tenant}: {error.strerror}",
                hint=f"make {path} readable and its folder writable",
            ) from error
        if len(master) != KEY_BYTES:
            raise StoreError(
                f"the key of tenant {tenant} is damaged", hint=f"restore {path} from the last backup"
            )
        return master
