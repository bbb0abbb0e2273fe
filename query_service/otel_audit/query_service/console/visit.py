"""One admitted visit to a page of an organization."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from otel_audit.query_service.api.call import Call, finding_tokens
from otel_audit.query_service.api.guard import admit, facts
from otel_audit.query_service.filters import Filters
from otel_audit.query_service.services import Services

from .pages import FRAGMENT, Endpoint, Pages
from .state import PageState


@dataclass(frozen=True, slots=True)
class Visit:
    """request and state of a page; call: the same as an admitted call of the API, which it is recorded as."""

    request: Request
    state: PageState
    call: Call
    pages: Pages

    @property
    def fragment(self) -> str | None:
        """The part of the page that a module asks for."""
        return self.request.headers.get(FRAGMENT)

    def filtered(self, filters: Filters) -> Call:
        """The call with the page's filters, as a search is recorded."""
        return replace(self.call, filters=finding_tokens(filters, self.call.services, self.call.org))

    def frame(self, *, here: str, in_zone: Callable[[str | None], str]) -> dict[str, Any]:
        """What every page of an organization shows around its own part.

        here: name of the page; in_zone: the page's link in another time zone, None for UTC.
        """
        zone = self.state.zone
        return {
            "org": self.state.org,
            "user": self.call.principal.user,
            "role": self.call.principal.role,
            "here": here,
            "home_url": PageState(self.state.org, tz=self.state.tz).url(),
            "zone": zone,
            "zone_unknown": None if zone.known else self.state.tz,
            "utc_url": in_zone(None),
            "zone_url": in_zone,
        }


def visiting(services: Services, pages: Pages, show: Callable[[Visit], Awaitable[Response]]) -> Endpoint:
    """An endpoint that lets the caller in first; refusals are recorded by the same guard as the API's."""

    async def endpoint(request: Request) -> Response:
        org = request.path_params["org"]
        principal = await admit(request, services, org)
        state = PageState.parse(org, request.query_params.multi_items())
        filters = Filters.parse((), now=datetime.now(UTC))
        call = Call(services, org, principal, facts(request, services), request.path_params, {}, filters)
        return await show(Visit(request, state, call, pages))

    return endpoint


def zone_link(path: str) -> Callable[[str | None], str]:
    """Links to a page without filters, by time zone."""

    def link(tz: str | None) -> str:
        return path + (f"?{urlencode({'tz': tz})}" if tz else "")

    return link
