"""A running server's eye on where its tenants' bytes are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.regions.known import gone
from otel_audit.exporter.store.regions.residency import Residence, strays, survey

from ..control.deletions import Deletions
from ..control.tenants import Tenants


class ResidenceWatch:
    """problems: what the last glance found, one line each; reading it costs nothing."""

    def __init__(self, roots: Mapping[str, RegionRoot], tenants: Tenants, deletions: Deletions) -> None:
        self._roots, self._tenants, self._deletions = roots, tenants, deletions
        self.problems: tuple[str, ...] = ()

    def glance(self) -> None:
        """Bring `problems` up to date; lists folders and opens no file. Raises ControlUnavailable."""
        begun = [f"the deletion of {item.tenant} has not ended" for item in self._deletions.unfinished()]
        lost = [f"{path} is gone" for root in self._roots.values() for path in gone(root)]
        found = strays(self._roots, self._pins())
        self.problems = (
            *begun,
            *lost,
            *(f"{tenant}: {path}" for tenant, paths in found.items() for path in paths),
        )

    def look(self) -> Sequence[Residence]:
        """Every tenant's residence now. Costs one stat a file. Raises ControlUnavailable."""
        return survey(self._roots, self._pins())

    def _pins(self) -> dict[str, str]:
        return {tenant.id: tenant.region for tenant in self._tenants.list()}
