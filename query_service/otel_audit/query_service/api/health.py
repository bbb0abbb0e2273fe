"""Probes. They tell nothing of any organization, so they ask for no credential."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from otel_audit.query_service.api.call import answer
from otel_audit.query_service.services import Services


async def alive(_request: Request, _services: Services) -> Response:
    """The process answers."""
    return answer({"status": "ok"})


async def ready(_request: Request, services: Services) -> Response:
    """503 only when ingest cannot acknowledge; damage that leaves it working is 200 with `degraded`."""
    state = services.health()
    body = {"status": "ready" if state.ready else "unready", "degraded": list(state.degraded)}
    return answer(body, 200 if state.ready else 503)
