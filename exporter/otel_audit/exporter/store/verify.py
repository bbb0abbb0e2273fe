"""Verification: every live file against the manifest, and the manifest against itself."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .errors import StoreError
from .manifest import Manifest, TenantManifest
from .partition import RegionRoot
from .verified import VerifiedFiles

# A file younger than this may belong to a seal whose manifest entry is being written.
_IN_PROGRESS_S: Final = 300


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
    """Re-read everything of a tenant; never trusts a cached verdict. Works beside a running server."""
    result = Verification(tenant)
    on_disk = sorted(root.tenant(tenant).glob("retention=*/date=*/*.parquet"))
    try:
        manifest = Manifest(root).load(tenant)
    except StoreError as error:
        result.problems.append(error.message)
        return result
    result.entries = sum(chain.number for chain in manifest.chains.values())
    result.heads = {writer: chain.head for writer, chain in sorted(manifest.chains.items())}
    _check_files(manifest, result, root, tenant)
    for path in on_disk:
        if path not in manifest.files and path not in manifest.removed and _settled(path):
            result.problems.append(f"{path.name}: not in the manifest")
    return result


def _check_files(manifest: TenantManifest, result: Verification, root: RegionRoot, tenant: str) -> None:
    verified = VerifiedFiles()
    for file in manifest.files.values():
        try:
            damage = verified.check(file.ref)
        except FileNotFoundError:
            # Retention may have removed it since: only the manifest of now can tell.
            if file.ref.path in Manifest(root).load(tenant).removed:
                continue
            damage = verified.missing(file.ref)
        if damage is not None:
            result.problems.append(f"{damage.file}: {damage.reason}")
            continue
        result.files += 1
        result.rows += file.ref.rows
        result.bytes += file.ref.bytes


def _settled(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > _IN_PROGRESS_S
    except FileNotFoundError:
        return False
