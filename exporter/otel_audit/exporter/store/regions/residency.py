"""Where the bytes of each tenant are, as the disks themselves say; never from what a process remembers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..partition import RegionRoot
from .keyring import Keyring
from .known import known_tenants
from .tenant_removal import tenants_in_log


@dataclass(frozen=True, slots=True)
class Residence:
    """One tenant. files, bytes: of its folder. log_rows: None when the logs were not read.

    elsewhere: every trace of it under the root of another region; a promise is broken unless empty.
    """

    tenant: str
    region: str
    root: str
    files: int
    bytes: int
    log_rows: int | None
    elsewhere: tuple[str, ...]

    @property
    def text(self) -> str:
        """The finding in one line."""
        found = "; ".join(self.elsewhere) or "no other region's root holds anything of it"
        return f"region {self.region} at {self.root}: {self.files:,} files, {self.bytes:,} bytes; {found}"

    @property
    def problems(self) -> list[str]:
        """One line each for what is where it may not be."""
        return [f"{self.tenant} is of region {self.region}, but there is {where}" for where in self.elsewhere]


def survey(
    roots: Mapping[str, RegionRoot], pins: Mapping[str, str], *, read_logs: bool = False
) -> list[Residence]:
    """Look for every pinned tenant under every root. pins: tenant → region.

    read_logs: also read each region's WAL, up to a gigabyte. Costs one stat a file.
    """
    logs = {region: tenants_in_log(root) if read_logs else {} for region, root in roots.items()}
    found_elsewhere = strays(roots, pins)
    found = []
    for tenant, region in sorted(pins.items()):
        elsewhere = found_elsewhere.get(tenant, [])
        for name in roots:
            if name != region and tenant in logs[name]:
                elsewhere.append(f"{logs[name][tenant]} rows in {roots[name].wal}")
        root = roots.get(region)
        files, size = _measure(root.tenant(tenant)) if root else (0, 0)
        found.append(
            Residence(
                tenant,
                region,
                str(root.path) if root else "",
                files,
                size,
                logs[region].get(tenant, 0) if read_logs and root else None,
                tuple(elsewhere),
            )
        )
    return found


def strays(roots: Mapping[str, RegionRoot], pins: Mapping[str, str]) -> dict[str, list[str]]:
    """Tenant → what lies under other regions' roots, for those that have such. Opens no file."""
    found: dict[str, list[str]] = {}
    for region, root in roots.items():
        for tenant, path in _traces(root):
            if pins.get(tenant, region) != region:
                found.setdefault(tenant, []).append(str(path))
    return found


def _traces(root: RegionRoot) -> Iterator[tuple[str, Path]]:
    """Everything under a root that is somebody's."""
    for folder in (root.store, root.removed, RegionRoot(root.arriving).store):
        for path in sorted(folder.glob("tenant=*")):
            yield path.name.removeprefix("tenant="), path
    for path in sorted(Keyring(root.keys).folder.glob("*.key")):
        yield path.stem, path
    for tenant in known_tenants(root):
        yield tenant, root.known / tenant
    for path in sorted(Keyring(root.keys).tokens.folder.glob("*")):
        yield path.name, path
    for path in sorted(root.reads.glob("*.json")):
        yield path.name.partition(".")[0], path


def _measure(folder: Path) -> tuple[int, int]:
    """Parquet files, and bytes of all files."""
    files = size = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                size += Path(path, name).stat().st_size
            except FileNotFoundError:
                continue  # retention took it meanwhile
            files += name.endswith(".parquet") and not Path(path).name.startswith("_")
    return files, size
