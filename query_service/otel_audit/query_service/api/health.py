"""Probes. Without a credential they are answered, and tell nothing of any organization."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from otel_audit.query_service.api.call import answer
from otel_audit.query_service.api.guard import shows_operator
from otel_audit.query_service.services import Services


async def alive(_request: Request, _services: Services) -> Response:
    """The process answers."""
    return answer({"status": "ok"})


async def ready(request: Request, services: Services) -> Response:
    """503 only when ingest cannot acknowledge; damage that leaves it working is 200 with `degraded`.

    An operator's token adds where each organization's bytes are, as the disks say at this moment.
    """
    state = services.health()
    body: dict[str, Any] = {
        "status": "ready" if state.ready else "unready",
        "degraded": list(state.degraded),
    }
    if await shows_operator(request, services):
        found = await services.work.lookup(services.residency)
        body["tenants"] = [asdict(residence) for residence in found]
    return answer(body, 200 if state.ready else 503)
