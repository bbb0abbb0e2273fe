"""A running server's eye on where its tenants' bytes are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.residency import Residence, survey

from ..control.deletions import Deletions
from ..control.tenants import Tenants


class ResidenceWatch:
    """problems: what the last look found, one line each; the watch itself answers at once."""

    def __init__(self, roots: Mapping[str, RegionRoot], tenants: Tenants, deletions: Deletions) -> None:
        self._roots, self._tenants, self._deletions = roots, tenants, deletions
        self.problems: tuple[str, ...] = ()

    def look(self) -> Sequence[Residence]:
        """Every tenant's residence now. Costs one stat a file. Raises ControlUnavailable."""
        pins = {tenant.id: tenant.region for tenant in self._tenants.list()}
        found = survey(self._roots, pins)
        begun = [f"the deletion of {item.tenant} has not ended" for item in self._deletions.unfinished()]
        self.problems = (*begun, *(line for residence in found for line in residence.problems))
        return found
