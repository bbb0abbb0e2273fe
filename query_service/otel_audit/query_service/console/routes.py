"""The console's routes, wired in one place."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from otel_audit.query_service.services import Services

from .events import show_event, show_events
from .login import Login
from .pages import Pages
from .related import show_request, show_trace
from .visit import visiting

_VISITS: Final = {
    "/o/{org}/events": show_events,
    "/o/{org}/events/{event_id}": show_event,
    "/o/{org}/requests/{request_id}": show_request,
    "/o/{org}/traces/{trace_id}": show_trace,
}


def console_routes(services: Services) -> list[BaseRoute]:
    """Routes for people: sign-in, the pages of an organization, and the files these load."""
    pages = Pages()
    login = Login(services, pages)
    visits = [
        Route(path, pages.page(path, visiting(services, pages, show)), methods=["GET"])
        for path, show in _VISITS.items()
    ]
    return [
        Route("/", pages.page("/", login.home), methods=["GET"]),
        Route("/login", pages.page("/login", login.form), methods=["GET"]),
        Route("/login", pages.page("/login", login.enter), methods=["POST"]),
        Route("/logout", pages.page("/logout", login.leave), methods=["POST"]),
        Route("/o/{org}", _to_events, methods=["GET"]),
        *visits,
        Route("/static/{version}/{name}", pages.assets.serve, methods=["GET"]),
    ]


async def _to_events(request: Request) -> Response:
    return RedirectResponse(f"{request.url.path.rstrip('/')}/events", 303)
