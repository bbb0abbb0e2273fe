"""The part of the service that answers: query engine, live hub, identities and metrics, wired once."""

from __future__ import annotations

from pathlib import Path

from ..auth.sessions import SessionService
from ..auth.tickets import TicketService
from ..auth.tokens import TokenService
from ..control.exports import Exports
from ..engine import Engine
from ..export_rate import ExportLimiter
from ..live import LiveHub
from ..metrics import Metrics
from ..services import Readiness, Services
from .core import Core

TOKEN_KEY = Path("token.key")


def build_services(core: Core, metrics: Metrics) -> Services:
    """Everything the routes need, over an open core."""
    settings, store, db = core.settings, core.store, core.db
    metrics.hot_rows.set_function(lambda: store.hot_rows)
    metrics.sealed_files.set_function(lambda: store.live_files)
    metrics.degraded.set_function(lambda: len(_readiness(core).degraded))
    engine = Engine(memory_limit=f"{settings.memory_limit_mb}MB", threads=settings.threads)
    exports = Exports(db)
    exports.fail_unfinished()
    return Services(
        settings=settings,
        engine=engine,
        source=store,
        hub=LiveHub(store.subscribe, engine, store),
        tokens=TokenService(db, core.root.keys / TOKEN_KEY),
        tickets=TicketService(db),
        sessions=SessionService(db),
        tenants=core.tenants,
        holds=core.holds,
        self_audit=core.self_audit,
        export_limiter=ExportLimiter(exports),
        metrics=metrics,
        health=lambda: _readiness(core),
        residency=core.residence.look,
        tokens_of=core.keyring.tokens_of,
    )


def _readiness(core: Core) -> Readiness:
    degraded = list(core.store.damages)
    if core.residence.problems:
        # Probes ask without a credential: which organizations is told to an operator.
        count = len(core.residence.problems)
        degraded.append(f"{count} findings about where organizations' data is; see 'otel-audit doctor'")
    return Readiness(ready=core.store.failure is None, degraded=tuple(degraded))
