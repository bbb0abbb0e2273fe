"""Where things lie: the only code that turns a tenant id into a path.

    <root>/store/tenant=<id>/retention=<class>/date=<YYYY-MM-DD>/<file>.parquet

Everything of one tenant is under its one folder; names that start with `_` are skipped by every engine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .errors import InvalidTenant

# Match with fullmatch. Starts with a letter: engines read `tenant=001` as the number 1 and would mix it with
# `tenant=1`.
TENANT_PATTERN: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
REGION_PATTERN: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")
DEFAULT_REGION: Final = "default"
"""The region whose root is the data directory itself; it always exists."""
RETENTION_CLASSES: Final = ("standard", "rag")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
OPERATOR: Final = "operator"
"""The reserved tenant of what belongs to nobody else; it always exists."""


def check_tenant(tenant: str) -> str:
    """Return `tenant` if it is a valid id, else raise InvalidTenant."""
    if not TENANT_PATTERN.fullmatch(tenant):
        raise InvalidTenant(
            "not a tenant id", hint="1 to 63 characters: a lower-case letter, then a-z 0-9 _ or -"
        )
    return tenant


@dataclass(frozen=True, slots=True)
class RegionRoot:
    """The folders of one region root."""

    path: Path

    @property
    def wal(self) -> Path:
        return self.path / "wal"

    @property
    def store(self) -> Path:
        return self.path / "store"

    @property
    def keys(self) -> Path:
        return self.path / "keys"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def removed(self) -> Path:
        """Where a tenant's folder goes to be deleted, and the receipts of those that are."""
        return self.path / "removed"

    @property
    def arriving(self) -> Path:
        """Where the copy of a tenant who moves here is made, before it is moved into the store."""
        return self.path / "arriving"

    @property
    def region_file(self) -> Path:
        """Holds the name of the region this root belongs to."""
        return self.path / "region"

    @property
    def writer_file(self) -> Path:
        """Holds the id of the root's writer."""
        return self.path / "writer-id"

    @property
    def known(self) -> Path:
        """One empty file for each tenant that must have a ledger in `store`."""
        return self.path / "known"

    @property
    def reads(self) -> Path:
        """Events of commands that read here, until a server stores them."""
        return self.path / "reads"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Every folder of the root's own; nothing else may put anything there."""
        logs = (self.wal, self.store, self.reads)
        return (*logs, self.keys, self.known, self.run, self.removed, self.arriving)

    def tenants(self) -> list[str]:
        """Ids of the tenants that have a folder, sorted."""
        if not self.store.is_dir():
            return []
        names = (entry.name.removeprefix("tenant=") for entry in self.store.glob("tenant=*"))
        return sorted(name for name in names if TENANT_PATTERN.fullmatch(name))

    def tenant(self, tenant: str) -> Path:
        return self.store / f"tenant={check_tenant(tenant)}"

    def key(self, path: Path) -> str:
        """`path` below this root as a blob key."""
        return path.relative_to(self.path).as_posix()

    def ledger(self, tenant: str) -> Path:
        return self.tenant(tenant) / "_ledger"

    def ledger_key(self, tenant: str, writer: str) -> str:
        """Folder key of one writer's manifest entries."""
        return self.key(self.ledger(tenant) / writer)

    def state_key(self, tenant: str) -> str:
        """Folder key of the manifest's states."""
        return self.key(self.ledger(tenant) / "_state")

    def untold_key(self, tenant: str) -> str:
        """Folder key of notes of deletions that the trail may not tell of yet."""
        return self.key(self.ledger(tenant) / "_untold")

    def retired(self, tenant: str) -> Path:
        """Where files go that newer ones replaced, until nobody reads them any more."""
        return self.tenant(tenant) / "_retired"

    def index(self, tenant: str) -> Path:
        return self.tenant(tenant) / "_index"

    def quarantine(self, tenant: str) -> Path:
        return self.tenant(tenant) / "_quarantine"

    def partition(self, tenant: str, retention: str, date: str) -> Path:
        """Folder of one partition. Raises InvalidTenant for any part that may not be in a path."""
        if retention not in RETENTION_CLASSES or not _DATE.fullmatch(date):
            raise InvalidTenant(f"not a partition: retention={retention!r} date={date!r}")
        return self.tenant(tenant) / f"retention={retention}" / f"date={date}"
