"""Which tenants have a ledger under a root, noted outside of `store/`: a folder that vanished is missed.

One empty file a tenant, `<root>/known/<id>`, made after its first manifest entry and deleted before its
folder goes for good. A crash between the two leaves a folder that is not noted; the next start notes it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from ...wal.files import OS, FileSystem
from ..errors import DataGone
from ..files.blobs import make_folder, put_new, sync_folder
from ..partition import TENANT_PATTERN, RegionRoot, check_tenant


def note_tenants(root: RegionRoot, tenants: Iterable[str], *, fs: FileSystem = OS) -> None:
    """Note that these have a ledger; durable on return. Raises OSError."""
    make_folder(root.known, fs=fs)
    for tenant in tenants:
        with contextlib.suppress(FileExistsError):
            put_new(root.known / check_tenant(tenant), b"", fs=fs, durable=False)
    sync_folder(root.known, fs=fs)


def forget_tenant(root: RegionRoot, tenant: str) -> None:
    """The tenant's folder is about to go on purpose; durable on return."""
    if root.known.is_dir():
        (root.known / check_tenant(tenant)).unlink(missing_ok=True)
        sync_folder(root.known)


def known_tenants(root: RegionRoot) -> list[str]:
    """Ids of the tenants that have, or had, a ledger here, sorted."""
    if not root.known.is_dir():
        return []
    return sorted(path.name for path in root.known.iterdir() if TENANT_PATTERN.fullmatch(path.name))


def gone(root: RegionRoot, tenant: str | None = None) -> list[Path]:
    """Folders that held rows and are not there. tenant: only what matters to that one."""
    # A writer id is made after the log, so a root that has the one had the other.
    lost = [root.wal] if root.writer_file.exists() and not root.wal.is_dir() else []
    tenants = [name for name in known_tenants(root) if _is_gone(root, name)]
    if tenant is not None:
        tenants = [name for name in tenants if name == tenant]
    if tenants and not root.store.is_dir():
        return [*lost, root.store]
    return lost + [root.tenant(name) for name in tenants]


def refuse_gone(root: RegionRoot, tenant: str | None = None, *, giving_up: str | None = None) -> None:
    """Raises DataGone when a folder that held rows is not there, but for the one of `giving_up`."""
    lost = [path for path in gone(root, tenant) if giving_up is None or path != root.tenant(giving_up)]
    if lost:
        more = f", and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise DataGone(
            f"{lost[0]} held rows and is gone{more}",
            hint="is the disk mounted? if it is lost, restore the folder from a backup",
        )


def _is_gone(root: RegionRoot, tenant: str) -> bool:
    if root.ledger(tenant).is_dir() or (root.removed / f"{tenant}.json").exists():
        return False
    # Looked for again: who moves a tenant away forgets it before the folder goes.
    return (root.known / tenant).exists()
