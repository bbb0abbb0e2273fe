"""Deleting everything of one tenant, so that a crash at any point leaves a whole store and a repeat ends it.

The order carries the promise. First nothing more is taken. Then the tenant's rows leave the log, into
files: a segment left behind would bring them back at the next start. Then the folder leaves the store in one
rename: half of a ledger would keep the next start from opening. Only then files are deleted.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from ...wal.errors import SegmentVanished
from ...wal.reader import read_durable
from ...wal.recovery import QUARANTINE
from ...wal.writer import Wal
from ..errors import StoreUnavailable
from ..files.blobs import make_folder, put_new, sync_folder
from ..intake.frame import Frame
from ..ledger.entry import ManifestFile
from ..partition import RegionRoot
from .keyring import Keyring
from .known import forget_tenant

# One round is enough; another organization's rows that cannot be sealed make it more.
_ROUNDS_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Removed:
    """What was deleted. damaged_log_pieces: damaged bytes of the log, kept aside, that may be anybody's."""

    files: int
    rows: int
    bytes: int
    damaged_log_pieces: int


def remove_tenant(
    root: RegionRoot,
    tenant: str,
    wal: Wal,
    seal: Callable[[], int],
    files: Callable[[str], Sequence[ManifestFile]],
    forget: Callable[[str], object],
) -> Removed:
    """Delete the tenant's folder and key once no WAL segment holds its rows. Safe to repeat.

    The caller already refuses its rows. seal: writes every tenant's hot rows to files and drops finished
    segments. files: the tenant's live files. forget: makes the store unaware of the tenant.
    Returns the counts of the first try, kept as `removed/<tenant>.json`: proof without content.
    Raises StoreUnavailable when the log still holds rows: repeat it.
    """
    empty_log(root, tenant, wal, seal)
    receipt = root.removed / f"{tenant}.json"
    if not receipt.exists():
        refs = [file.ref for file in files(tenant)]
        facts = Removed(
            len(refs), sum(ref.rows for ref in refs), sum(ref.bytes for ref in refs), _damaged_pieces(root)
        )
        put_new(receipt, json.dumps(asdict(facts)).encode())
    forget(tenant)
    take_away(root, tenant)
    Keyring(root.keys).forget(tenant)
    return Removed(**json.loads(receipt.read_bytes()))


def take_away(root: RegionRoot, tenant: str) -> None:
    """Move a tenant's folder out of the store in one step, then delete it. Safe to repeat."""
    forget_tenant(root, tenant)
    folder = root.tenant(tenant)
    leaving = root.removed / folder.name
    if folder.is_dir():
        make_folder(root.removed)
        shutil.rmtree(leaving, ignore_errors=True)
        folder.rename(leaving)
        sync_folder(root.store)
        sync_folder(root.removed)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(leaving)
        sync_folder(root.removed)


def tenants_in_log(root: RegionRoot) -> dict[str, int]:
    """Rows a tenant that the WAL still holds, sealed or not; beside a running writer too."""
    while True:
        rows: dict[str, int] = {}
        try:
            for _, data in read_durable(root.wal):
                tenant, count = Frame.owner(data)
                rows[tenant] = rows.get(tenant, 0) + count
            return rows
        except SegmentVanished:
            continue  # dropped while being read: the log is shorter now, so this ends


def empty_log(root: RegionRoot, tenant: str, wal: Wal, seal: Callable[[], int]) -> None:
    """Seal until no WAL segment holds rows of the tenant, who must not be sending.

    Raises StoreUnavailable.
    """
    for _ in range(_ROUNDS_MAX):
        if tenant not in tenants_in_log(root):
            return
        wal.roll()  # the active segment cannot be dropped, so its rows must be in a sealed one
        seal()
    if tenant in tenants_in_log(root):
        raise StoreUnavailable(
            f"the write-ahead log still holds rows of {tenant}",
            hint="see the server's log for why another organization's rows cannot be sealed; then repeat",
        )


def _damaged_pieces(root: RegionRoot) -> int:
    folder = root.wal / QUARANTINE
    return len(list(folder.iterdir())) if folder.is_dir() else 0
