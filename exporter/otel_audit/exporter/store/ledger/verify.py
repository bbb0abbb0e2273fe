"""Verification: every live file against the manifest, and the manifest against itself."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

from ..errors import NewerData, StoreError
from ..files.blobs import LocalBlobs
from ..files.verified import VerifiedFiles
from ..partition import RegionRoot
from ..schema import refuse_newer
from .entry import Entry, TenantManifest
from .manifest import Manifest

# A file younger than this may belong to a seal whose manifest entry is being written.
_IN_PROGRESS_S: Final = 300
# A file that is being removed right now is gone a moment later.
_LOOK_AGAIN_S: Final = 0.2


@dataclass(slots=True)
class Verification:
    """The finding for one tenant; whole when `problems` is empty."""

    tenant: str
    entries: int = 0
    files: int = 0
    rows: int = 0
    bytes: int = 0
    heads: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def verify_tenant(root: RegionRoot, tenant: str) -> Verification:
    """Re-read everything of a tenant; never trusts a cached verdict. Works beside a running server.

    Raises NewerData: what a newer release wrote is no problem of the data.
    """
    result = Verification(tenant)
    manifest = Manifest(root, LocalBlobs(root.path))
    on_disk = sorted(root.tenant(tenant).glob("retention=*/date=*/*.parquet"))
    sums = _Sums(result)
    try:
        state = manifest.replay(tenant, sums.see)
        result.entries = sum(chain.number for chain in state.chains.values())
        result.heads = {writer: chain.head for writer, chain in sorted(state.chains.items())}
        _check_files(manifest, state, result)
        # Entries may have been added since the replay: then both readings are of other moments.
        shortcut, again = manifest.load(tenant), manifest.replay(tenant)
    except NewerData:
        raise
    except StoreError as error:
        result.problems.append(error.message)
        return result
    if shortcut.chains == again.chains and shortcut.files != again.files:
        result.problems.append("the manifest's state does not follow from its entries")
    for path in on_disk:
        if path not in state.files and path not in again.files and _settled(path):
            result.problems.append(f"{path.name}: not in the manifest")
    return result


class _Sums:
    """Checks that the entries themselves lose no row: ranges join, and what leaves is what was there."""

    def __init__(self, result: Verification) -> None:
        self._problems = result.problems
        self._sealed_to: dict[str, int] = {}

    def see(self, entry: Entry) -> None:
        added, removed = (sum(item.rows for item in items) for items in (entry.add, entry.remove))
        if entry.kind == "seal":
            start = self._sealed_to.get(entry.writer, 0) + 1
            rows = (entry.seq_to or 0) - start + 1
            fits = entry.seq_from == start and added == rows and not removed
            self._sealed_to[entry.writer] = entry.seq_to or 0
        elif entry.kind == "compact":
            fits = added == removed
        else:
            fits = removed - added == entry.facts.get("rows")
        if not fits:
            self._problems.append(f"manifest entry {entry.number} of {entry.writer}: its rows do not add up")


def _check_files(manifest: Manifest, state: TenantManifest, result: Verification) -> None:
    verified = VerifiedFiles()
    for file in state.files.values():
        try:
            damage = verified.check(file.ref)
        except FileNotFoundError:
            # It may have been removed since: only the manifest of now can tell.
            if file.ref.path not in manifest.load(result.tenant).files:
                continue
            damage = verified.missing(file.ref)
        except OSError as error:
            damage = verified.unusable(file.ref, error)
        if damage is not None:
            result.problems.append(f"{damage.file}: {damage.reason}")
            continue
        with contextlib.suppress(FileNotFoundError):  # removed since
            refuse_newer(pq.read_metadata(file.ref.path).metadata, file.ref.path.name)
        result.files += 1
        result.rows += file.ref.rows
        result.bytes += file.ref.bytes


def _settled(path: Path) -> bool:
    try:
        if time.time() - path.stat().st_mtime <= _IN_PROGRESS_S:
            return False
        time.sleep(_LOOK_AGAIN_S)
        return path.exists()
    except FileNotFoundError:
        return False
