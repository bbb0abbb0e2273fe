"""Whose a region root is: it says so itself, so that a disk that is mounted wrongly, or not, is noticed."""

from __future__ import annotations

import contextlib

from ..errors import DataGone, WrongRegion
from ..files.blobs import make_folder, put_new
from ..partition import RegionRoot


def check_region(root: RegionRoot, region: str, *, claimed: bool = False) -> None:
    """Refuse a root that says it is another region's. claimed: it was this region's once, so it must say so.

    Raises WrongRegion, DataGone.
    """
    if not root.region_file.exists():
        if claimed:
            raise DataGone(
                f"{root.path} was the root of region {region}, and its file 'region' is gone",
                hint="is the disk mounted? if it is lost, restore the root from a backup",
            )
        return
    found = root.region_file.read_text().strip()
    if found != region:
        raise WrongRegion(
            f"{root.path} is the root of region {found}, not of {region}",
            hint=f"mount the disk of region {region} there, or correct regions.{region}",
        )


def claim_root(root: RegionRoot, region: str) -> None:
    """Make a root known as this region's, once and for ever. Raises WrongRegion."""
    make_folder(root.path)
    if not root.region_file.exists():
        # Another process may claim it at the same moment; whoever was first is right.
        with contextlib.suppress(FileExistsError):
            put_new(root.region_file, f"{region}\n".encode())
    check_region(root, region)
