"""Everything a route needs, put together once in `main()` and passed down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from otel_audit.exporter.store.regions.residency import Residence
from otel_audit.exporter.store.snapshot import SnapshotSource
from otel_audit.query_service.api.edge.work import WorkPool
from otel_audit.query_service.auth.sessions import SessionService
from otel_audit.query_service.auth.tickets import TicketService
from otel_audit.query_service.auth.tokens import TokenService
from otel_audit.query_service.control.holds import Holds
from otel_audit.query_service.control.tenants import Tenants
from otel_audit.query_service.engine import Engine
from otel_audit.query_service.export_rate import ExportLimiter
from otel_audit.query_service.live import LiveHub
from otel_audit.query_service.metrics import Metrics
from otel_audit.query_service.self_audit import SelfAudit
from otel_audit.query_service.settings import Settings


@dataclass(frozen=True, slots=True)
class Readiness:
    """ready: ingest can acknowledge. degraded: what is damaged while it still can, one line each."""

    ready: bool
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Services:
    """The query service's parts. health: asked by every probe, so it must answer at once.

    residency: where each organization's bytes are; looks at every file.
    tokens_of: (organization, value) → the tokens the value may be stored as.
    """

    settings: Settings
    engine: Engine
    source: SnapshotSource
    hub: LiveHub
    tokens: TokenService
    tickets: TicketService
    sessions: SessionService
    tenants: Tenants
    holds: Holds
    self_audit: SelfAudit
    export_limiter: ExportLimiter
    metrics: Metrics
    health: Callable[[], Readiness]
    residency: Callable[[], Sequence[Residence]]
    tokens_of: Callable[[str, str], Sequence[str]]
    work: WorkPool = field(default_factory=WorkPool)
