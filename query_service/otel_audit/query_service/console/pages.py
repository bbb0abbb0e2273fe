"""Pages from templates, and the one place where an error becomes a page."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from otel_audit.query_service.api.edge.caller import request_id_of
from otel_audit.query_service.api.edge.work import ClientGone
from otel_audit.query_service.api.guard import name_route
from otel_audit.query_service.api.problems import Problem, problem_of

from .assets import Assets
from .presentation.text import plain, visible

logger = logging.getLogger(__name__)

FRAGMENT: Final = "X-Fragment"
"""Request: the part of the page a module asks for. Answer: the part it is."""
RETURN_COOKIE: Final = "otel_audit_return"
_RETURN_AGE_S: Final = 1800
_RETURN_CHARS_MAX: Final = 2_000

Endpoint = Callable[[Request], Awaitable[Response]]


def environment(assets: Assets) -> Environment:
    """Autoescape everywhere, and a name that a view forgot is an error, not an empty place."""
    made = Environment(
        loader=PackageLoader("otel_audit.query_service.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["visible"] = visible
    made.filters["plain"] = plain
    made.filters["thousands"] = lambda number: f"{number:,}"
    made.filters["segment"] = lambda text: quote(str(text), safe="")
    made.globals["asset"] = assets.url
    return made


@dataclass(frozen=True, slots=True)
class Pages:
    """Renders templates and wraps endpoints."""

    assets: Assets = field(default_factory=Assets)
    templates: Environment = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "templates", environment(self.assets))

    def text(self, template: str, context: Mapping[str, Any]) -> str:
        return self.templates.get_template(template).render(context)

    def answer(
        self, template: str, context: Mapping[str, Any], *, status: int = 200, fragment: str | None = None
    ) -> Response:
        """One page, or the part of one that `fragment` names."""
        headers = {FRAGMENT: fragment} if fragment else {}
        return HTMLResponse(self.text(template, context), status_code=status, headers=headers)

    def page(self, path: str, endpoint: Endpoint) -> Endpoint:
        """The endpoint of route `path`, whose errors are pages for people too."""

        async def wrapped(request: Request) -> Response:
            name_route(request, path)
            try:
                return await endpoint(request)
            except ClientGone:
                raise
            except Exception as error:  # noqa: BLE001 - the edge: whatever happens becomes a page
                problem = problem_of(error)
                if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
                    # Its text may quote an event, so only its kind is logged.
                    logger.error("request %s failed: %s", request_id_of(request), type(error).__qualname__)
                return self.problem(request, problem)

        return wrapped

    def problem(self, request: Request, problem: Problem) -> Response:
        """`problem` as a page; where a module asked, as a notice that leaves its page as it is."""
        expired = problem.status == HTTPStatus.UNAUTHORIZED
        context = {
            "title": "Sign in" if expired else HTTPStatus(problem.status).phrase.capitalize(),
            "status": problem.status,
            "message": "Your session is over, or there was none." if expired else problem.message,
            "hint": "Open a new sign-in link; you will come back to this page." if expired else problem.hint,
            "expired": expired,
            "request_id": request_id_of(request),
            "retry_url": _address(request),
        }
        if request.headers.get(FRAGMENT):
            return self.answer("_problem.html", context, status=problem.status, fragment="problem")
        answer = self.answer("problem.html", context, status=problem.status)
        answer.headers.update(problem.headers)
        if expired and request.method == "GET":
            remember_return(answer, _address(request))
        return answer


def remember_return(answer: Response, address: str) -> None:
    """Where to go after the next sign-in. Only a path of the console is ever kept."""
    if is_console_path(address):
        answer.set_cookie(
            RETURN_COOKIE, quote(address, safe=""), max_age=_RETURN_AGE_S, httponly=True, samesite="lax"
        )


def is_console_path(address: str) -> bool:
    """`/o/…` of this server, nothing that a browser would take for another one."""
    return (
        address.startswith("/o/")
        and len(address) <= _RETURN_CHARS_MAX
        and address.isprintable()
        and "\\" not in address
    )


def _address(request: Request) -> str:
    query = request.url.query
    return request.url.path + (f"?{query}" if query else "")
