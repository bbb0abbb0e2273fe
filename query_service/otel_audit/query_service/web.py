"""The web application: API and console behind one boundary."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from otel_audit.query_service.api.edge.boundary import Boundary
from otel_audit.query_service.api.edge.caller import request_id_of
from otel_audit.query_service.api.openapi import openapi_route
from otel_audit.query_service.api.problems import problem_of, problem_response
from otel_audit.query_service.api.routes import api_routes
from otel_audit.query_service.console.routes import console_routes
from otel_audit.query_service.services import Services


def build_web(services: Services) -> Starlette:
    """Routes of the API and the console; every answer passes the boundary, errors included."""
    return Starlette(
        routes=[*api_routes(services), openapi_route(), *console_routes(services)],
        middleware=[Middleware(Boundary)],
        # The router's own 404 and 405; everything else is turned into an answer at the boundary.
        exception_handlers={HTTPException: _router_refused},
    )


async def _router_refused(request: Request, error: Exception) -> Response:
    return problem_response(problem_of(error), request_id_of(request))
