"""A control database in a folder, its rooms on one clock that a test moves, and what its outbox holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from otel_audit.instrumentation.event import AuditEvent
from otel_audit.query_service.auth.sessions import SessionService
from otel_audit.query_service.auth.tickets import TicketService
from otel_audit.query_service.auth.tokens import TokenService
from otel_audit.query_service.control.database import FILE_NAME, ControlDatabase
from otel_audit.query_service.control.holds import Holds
from otel_audit.query_service.control.ingest_keys import IngestKeys
from otel_audit.query_service.control.outbox import Outbox
from otel_audit.query_service.control.tenants import Tenants

DAY_S = 86_400.0


@dataclass
class Clock:
    """Seconds UTC; starts at a fixed moment of 2026."""

    seconds: float = field(default=1_790_000_000.0)

    def __call__(self) -> float:
        return self.seconds


class Control:
    """Everything of the control rooms on one data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.clock = Clock()
        self.db = ControlDatabase.open(data_dir / FILE_NAME)
        self.tenants = Tenants(self.db, now=self.clock)
        self.keys = IngestKeys(self.db, now=self.clock)
        self.holds = Holds(self.db, now=self.clock)
        self.tokens = TokenService(self.db, data_dir / "keys" / "token.key", self.clock)
        self.tickets = TicketService(self.db, self.clock)
        self.sessions = SessionService(self.db, self.clock)
        self.outbox = Outbox(self.db)

    def recorded(self, tenant: str) -> list[AuditEvent]:
        """The events of one organization that wait in the outbox, in order."""
        return [row.event for row in self.outbox.waiting(10_000) if row.tenant == tenant]
