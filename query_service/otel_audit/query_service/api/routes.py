"""The one table of API routes, and how a row of it becomes a route that admits before it does anything."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from otel_audit.query_service.api import (
    aggregates,
    events,
    exports,
    health,
    holds,
    parameters,
    redaction,
    stream,
    tickets,
)
from otel_audit.query_service.api.call import Call, finding_tokens, read_query
from otel_audit.query_service.api.edge.work import ClientGone
from otel_audit.query_service.api.guard import Need, admit, facts, name_route, refuse
from otel_audit.query_service.api.parameters import Parameter
from otel_audit.query_service.api.problems import Problem, problem_of
from otel_audit.query_service.auth.principal import Principal
from otel_audit.query_service.services import Services

ORG: Final = "/api/v1/orgs/{org}"
# Of meters only: nobody is left to be answered.
_CLIENT_GONE: Final = 499
_REST: Final = ORG + "/{rest:path}"


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """One route. endpoint: (request, call), or (request, services) for those outside of an organization.

    access: `organization` routes are admitted by the dispatcher, `operator` ones by themselves.
    need: what admission asks for. answers: name of the component schema, or media types for files.
    takes: that of the body. filtered: takes the filter table.
    """

    method: Literal["GET", "POST", "DELETE", "WS"]
    path: str
    endpoint: Callable[..., Awaitable[Any]]
    answers: str
    access: Literal["organization", "operator", "open"] = "organization"
    parameters: Sequence[Parameter] = ()
    filtered: bool = False
    need: Need = "read"
    takes: str | None = None

    @property
    def summary(self) -> str:
        return (self.endpoint.__doc__ or "").partition("\n")[0].rstrip(".")


_P = parameters
ROUTES: Final[tuple[ApiRoute, ...]] = (
    ApiRoute(
        "GET",
        f"{ORG}/events",
        events.list_events,
        "Page",
        parameters=(_P.LIMIT, _P.CURSOR, _P.AS_OF),
        filtered=True,
    ),
    ApiRoute("GET", f"{ORG}/events/{{event_id}}", events.read_event, "Event"),
    ApiRoute(
        "GET",
        f"{ORG}/histogram",
        aggregates.count_by_time,
        "Histogram",
        parameters=(_P.BY, _P.BUCKETS, _P.AS_OF),
        filtered=True,
    ),
    ApiRoute(
        "GET",
        f"{ORG}/facets",
        aggregates.count_by_value,
        "Facets",
        parameters=(_P.FACET_LIMIT, _P.AS_OF),
        filtered=True,
    ),
    ApiRoute("GET", f"{ORG}/export", exports.export_events, "file", parameters=(_P.FORMAT,), filtered=True),
    ApiRoute("GET", f"{ORG}/requests/{{request_id}}", events.follow_request, "Related"),
    ApiRoute("GET", f"{ORG}/traces/{{trace_id}}", events.follow_trace, "Related"),
    ApiRoute(
        "WS",
        f"{ORG}/stream",
        stream.stream_events,
        "Message",
        parameters=(_P.AFTER, _P.TICKET),
        filtered=True,
    ),
    ApiRoute(
        "GET",
        f"{ORG}/redaction",
        redaction.show_redaction,
        "Redaction",
        parameters=(_P.RANGE, _P.FROM, _P.TO),
    ),
    ApiRoute("GET", f"{ORG}/holds", holds.list_holds, "Holds"),
    ApiRoute("POST", f"{ORG}/holds", holds.add_hold, "Hold", need="settings", takes="HoldRequest"),
    ApiRoute(
        "DELETE",
        f"{ORG}/holds/{{name}}",
        holds.release_hold,
        "Hold",
        need="settings",
        parameters=(_P.REASON,),
    ),
    ApiRoute(
        "POST",
        "/api/v1/tickets",
        tickets.create_tickets,
        "Tickets",
        access="operator",
        takes="TicketRequest",
    ),
    ApiRoute("GET", "/healthz", health.alive, "Health", access="open"),
    ApiRoute("GET", "/readyz", health.ready, "Health", access="open"),
)


def api_routes(services: Services) -> list[BaseRoute]:
    """Starlette routes for the table, and one for everything else below an organization.

    Each takes every method: which are offered is told only to those who were admitted.
    """
    routes: list[BaseRoute] = []
    for path in dict.fromkeys(route.path for route in ROUTES if route.method != "WS"):
        offered: dict[str, ApiRoute] = {route.method: route for route in ROUTES if route.path == path}
        app = (_Organization if path.startswith(ORG) else _Plain)(services, path, offered)
        routes.append(Route(path, app))
    routes += [
        WebSocketRoute(route.path, _Organization(services, route.path, {"WS": route}))
        for route in ROUTES
        if route.method == "WS"
    ]
    nothing = _Organization(services, _REST, {})
    return [*routes, Route(ORG, nothing), Route(_REST, nothing), WebSocketRoute(_REST, nothing)]


class _Organization:
    """ASGI app of one path below an organization: admission, method, parameters, answer, in this order."""

    def __init__(self, services: Services, path: str, offered: Mapping[str, ApiRoute]) -> None:
        self._services, self._path, self._offered = services, path, offered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection: Request | WebSocket
        if scope["type"] == "websocket":
            connection = WebSocket(scope, receive, send)
        else:
            connection = Request(scope, receive, send)
        name_route(connection, self._path)
        started = time.monotonic()
        status = _CLIENT_GONE
        try:
            status = await self._answer(connection, scope, receive, send)
        except ClientGone:
            raise
        except Exception as error:
            status = problem_of(error).status
            raise
        finally:
            meter = self._services.metrics.query_seconds.labels(self._path, str(status))
            meter.observe(time.monotonic() - started)

    async def _answer(
        self, connection: Request | WebSocket, scope: Scope, receive: Receive, send: Send
    ) -> int:
        org: str = connection.path_params["org"]
        asked = self._offered.get(_method(connection))
        # Of what is not offered nobody but those who may read the trail learns that.
        principal = await admit(connection, self._services, org, asked.need if asked else "read")
        await self._refuse_other_sites(connection, principal)
        route = _offered(connection, self._offered)
        own, filters = read_query(scope["query_string"], route.parameters, filtered=route.filtered)
        call = Call(
            self._services,
            org,
            principal,
            facts(connection, self._services),
            connection.path_params,
            own,
            finding_tokens(filters, self._services, org),
        )
        if isinstance(connection, WebSocket):
            await route.endpoint(connection, call)
            return 101
        response: Response = await route.endpoint(connection, call)
        await response(scope, receive, send)
        return response.status_code

    async def _refuse_other_sites(self, connection: Request | WebSocket, principal: Principal) -> None:
        """A cookie goes along when another site links here; it must not start an export or a stream."""
        site = connection.headers.get("sec-fetch-site", "none")
        if principal.credential != "session" or site in ("same-origin", "none"):
            return
        org = connection.path_params["org"]
        await refuse(connection, self._services, org, principal, 403, "another site")
        raise Problem(403, "This request came from another site.", hint="Start it from the console.")


class _Plain:
    """ASGI app of one path outside of organizations."""

    def __init__(self, services: Services, path: str, offered: Mapping[str, ApiRoute]) -> None:
        self._services, self._path, self._offered = services, path, offered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        name_route(request, self._path)
        route = _offered(request, self._offered)
        read_query(scope["query_string"], route.parameters, filtered=route.filtered)
        response: Response = await route.endpoint(request, self._services)
        await response(scope, receive, send)


def _method(connection: HTTPConnection[Any]) -> str:
    return "WS" if connection.scope["type"] == "websocket" else str(connection.scope["method"])


def _offered(connection: HTTPConnection[Any], offered: Mapping[str, ApiRoute]) -> ApiRoute:
    method = _method(connection)
    if method in offered:
        return offered[method]
    if offered and method != "WS" and "WS" not in offered:
        raise Problem(
            405,
            "This method is not offered here.",
            hint="The Allow header lists those that are.",
            headers={"Allow": ", ".join(sorted(offered))},
        )
    raise Problem(404, "There is nothing at this address.", hint="GET /openapi.json lists every route.")
