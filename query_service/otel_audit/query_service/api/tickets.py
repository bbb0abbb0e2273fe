"""One-time tickets, so that another product can embed the console without knowing a token of its users."""

from __future__ import annotations

from typing import Annotated, Final, Literal
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from otel_audit.query_service.api.body import read_body
from otel_audit.query_service.api.call import answer
from otel_audit.query_service.api.guard import admit_operator
from otel_audit.query_service.api.problems import Problem, unknown_organization
from otel_audit.query_service.auth.principal import InvalidGrant
from otel_audit.query_service.auth.tickets import TICKET_TTL_S
from otel_audit.query_service.control.outbox import Actor
from otel_audit.query_service.services import Services

# Three short names; more is not a ticket.
_BODY_BYTES_MAX: Final = 4096
_EXAMPLE: Final = '{"org": …, "user": …, "role": "admin" or "auditor"}'


class TicketRequest(msgspec.Struct, forbid_unknown_fields=True):
    """For whom: organization, user and role."""

    org: Annotated[str, msgspec.Meta(min_length=1, max_length=63)]
    user: Annotated[str, msgspec.Meta(min_length=1, max_length=254)]
    role: Literal["admin", "auditor"] = "admin"
    ttl_s: Annotated[int, msgspec.Meta(ge=10, le=TICKET_TTL_S)] = TICKET_TTL_S


async def create_tickets(request: Request, services: Services) -> Response:
    """A console address and a stream ticket for one user, each good once. Operators only."""
    operator = await admit_operator(request, services)
    asked = await read_body(request, TicketRequest, bytes_max=_BODY_BYTES_MAX, example=_EXAMPLE)
    if not await services.work.lookup(services.tenants.exists, asked.org):
        raise unknown_organization()
    actor = Actor(operator.user)
    console = await services.work.lookup(_create, services, asked, actor)
    stream = await services.work.lookup(_create, services, asked, actor)
    origin = (services.settings.public_url or str(request.base_url)).rstrip("/")
    return answer(
        {
            "org": asked.org,
            "user": asked.user,
            "role": asked.role,
            "url": f"{origin}/login?ticket={quote(console, safe='')}",
            "stream_ticket": stream,
            "stream_url": f"{origin.replace('http', 'ws', 1)}/api/v1/orgs/{asked.org}/stream",
            "expires_in_s": asked.ttl_s,
        },
        201,
    )


def _create(services: Services, asked: TicketRequest, actor: Actor) -> str:
    try:
        return services.tickets.create(asked.org, asked.user, asked.role, asked.ttl_s, actor=actor)
    except InvalidGrant as error:
        raise Problem(400, "Nobody may have such a ticket.", hint=error.hint) from error
