"""Regions that were opened once, remembered apart from their roots: an empty folder is then no new region."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import insert, select

from otel_audit.exporter.store.errors import DataGone
from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.regions.claim import check_region

from ..settings import ConfigError, Settings
from .database import FILE_NAME, ControlDatabase
from .tables import REGION_CLAIMS
from .tenants import Tenants


class RegionClaims:
    """Which regions have a root. `record` once the root itself says so, never before."""

    def __init__(self, database: ControlDatabase) -> None:
        self._database = database

    def known(self) -> frozenset[str]:
        """Regions whose root must be there. Raises ControlUnavailable."""
        with self._database.read() as connection:
            return frozenset(connection.execute(select(REGION_CLAIMS.c.region)).scalars())

    def record(self, regions: Iterable[str]) -> None:
        """Remember these for ever; durable on return. Raises ControlUnavailable."""
        if set(regions) <= self.known():
            return
        with self._database.write() as connection:
            known = set(connection.execute(select(REGION_CLAIMS.c.region)).scalars())
            for region in set(regions) - known:
                connection.execute(insert(REGION_CLAIMS).values(region=region))


def refuse_orphans(settings: Settings) -> None:
    """Refuse to make a control database beside a root that some other one knows. Raises DataGone."""
    if (settings.data_dir / FILE_NAME).exists():
        return
    for path in settings.region_roots.values():
        if RegionRoot(path).region_file.exists():
            raise DataGone(
                f"{settings.data_dir} has no control database, and {path} is already a region's root",
                hint="is the disk of the data directory mounted? if it is lost, restore a backup",
            )


def check_roots(database: ControlDatabase, settings: Settings, *, only: str | None = None) -> None:
    """Refuse settings under which an organization's data would be looked for where it is not.

    only: look at the root of this region alone.
    Raises ConfigError (a region in use is not configured), DataGone, WrongRegion, ControlUnavailable.
    """
    roots = settings.region_roots
    lost = [region for region in Tenants(database).regions_in_use() if region not in roots]
    if lost:
        raise ConfigError(
            f"organizations are pinned to region {lost[0]}, which is not configured",
            hint=f"set regions.{lost[0]} to its root; every command needs the server's configuration",
        )
    claimed = RegionClaims(database).known()
    for region, path in roots.items():
        if only in (None, region):
            check_region(RegionRoot(path), region, claimed=region in claimed)
