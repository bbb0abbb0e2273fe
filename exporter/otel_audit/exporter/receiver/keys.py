"""Ingest keys as the receiver sees them; where they are kept is the control database's affair."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final, Protocol

KEY_PATTERN: Final = re.compile(r"oak_([0-9a-z]{12})_([0-9A-Za-z]{43})")
"""`oak_<key id>_<secret>`: the id finds the key, the secret proves it."""


@dataclass(frozen=True, slots=True)
class IngestKey:
    """One key. tenants: whom it may write for; None is every tenant (a forwarder key of an operator).

    Times are seconds since 1970-01-01 UTC.
    """

    key_id: str
    secret_sha256: bytes
    tenants: frozenset[str] | None
    create_tenants: bool = False
    expires_at: float | None = None
    revoked_at: float | None = None
    compromised: bool = False

    @property
    def forwards(self) -> bool:
        """A key of more than one tenant takes the tenant from the payload."""
        return self.tenants is None or len(self.tenants) > 1

    def matches(self, secret: str) -> bool:
        """Whether `secret` is this key's, compared in constant time."""
        return hmac.compare_digest(hashlib.sha256(secret.encode()).digest(), self.secret_sha256)


class KeyDirectory(Protocol):
    """What the receiver asks of the control database. Any exception means "not now": 503, never 401."""

    def find_key(self, key_id: str) -> IngestKey | None:
        """The key of that id, revoked and expired ones included; None when there never was one."""
        ...

    def resolve_tenant(self, claimed: str) -> str | None:
        """Tenant id of an id or an alias, None when there is none."""
        ...

    def create_tenant(self, claimed: str) -> str | None:
        """Add a tenant of that id for a `--create-tenants` key; None when the id is not valid."""
        ...
