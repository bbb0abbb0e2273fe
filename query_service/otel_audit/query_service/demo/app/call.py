"""One call of a handler: who calls, what they sent, and how a refusal becomes an answer."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from .identity.people import Person

BODY_BYTES_MAX: Final = 1 << 20
"""A document of a few hundred pages; more would only fill the memory of a demonstration."""
PERSON: Final = "quire.person"
SESSION: Final = "quire.session"
OPENED: Final = "quire.opened"
"""Where the scope keeps who calls, their session, and a session opened just now."""

ADMIN: Final = frozenset({"admin"})
EDITORS: Final = frozenset({"admin", "analyst"})
STAFF: Final = frozenset({"admin", "analyst", "support"})
EVERYONE: Final = frozenset({"admin", "analyst", "support", "contractor"})


class Refused(Exception):
    """The call ends with `status` and a sentence for the caller."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler gets. body: the fields of a JSON object or a form; upload: a file sent along."""

    request: Request
    organization: str
    person: Person | None
    body: Mapping[str, Any] = field(default_factory=dict)
    upload: tuple[str, bytes] | None = None

    @property
    def actor(self) -> Person:
        """Whoever is signed in. Raises Refused."""
        if self.person is None:
            raise Refused(401, "sign in first")
        return self.person

    @property
    def scope(self) -> Scope:
        return self.request.scope

    def text(self, name: str, *, default: str | None = None) -> str:
        """A field of the body as text. Raises Refused when it is missing."""
        value = self.body.get(name, default)
        if not isinstance(value, str):
            raise Refused(400, f"{name} is missing")
        return value

    def path(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])

    def query(self, name: str) -> str:
        """A parameter of the address, empty when it is missing."""
        return self.request.query_params.get(name, "")


Handler = Callable[[Call], Response]


def route(method: str, path: str, handler: Handler, *, allowed: frozenset[str] | None) -> Route:
    """A route whose handler runs in a thread. allowed: roles that may call it, None for everybody."""

    async def endpoint(request: Request) -> Response:
        person: Person | None = request.scope.get(PERSON)
        try:
            if allowed is not None:
                if person is None:
                    raise Refused(401, "sign in first")
                if person.role not in allowed:
                    raise Refused(403, f"{person.role} may not do this")
            body, upload = await _body(request)
            call = Call(request, organization_of(request.scope), person, body, upload)
            return await run_in_threadpool(handler, call)
        except Refused as refused:
            return JSONResponse({"error": refused.message}, refused.status)

    return Route(path, endpoint, methods=[method])


def organization_of(scope: Scope) -> str:
    """The organization whose address was called: `acme` of acme.quire.localhost; acme for a bare address."""
    host = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1")
    label, dot, rest = host.partition(".")
    return label if dot and rest.startswith("quire.") and label in ("acme", "globex") else "acme"


def address_of(request: Request) -> str:
    """The caller's address as the proxy in front of the app tells it."""
    forwarded = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    return forwarded or (request.client.host if request.client else "")


def new_id(prefix: str) -> str:
    """A short id such as f-3fa9c1d2."""
    return f"{prefix}-{secrets.token_hex(4)}"


async def _body(request: Request) -> tuple[Mapping[str, Any], tuple[str, bytes] | None]:
    if int(request.headers.get("content-length") or 0) > BODY_BYTES_MAX:
        raise Refused(413, "this is too large")
    kind = request.headers.get("content-type", "")
    if kind.startswith("application/json"):
        try:
            document = json.loads(await request.body() or b"{}")
        except ValueError:
            raise Refused(400, "this is not JSON") from None
        return (document if isinstance(document, dict) else {}), None
    if not kind.startswith(("multipart/", "application/x-www-form-urlencoded")):
        return {}, None
    async with request.form(max_files=1, max_fields=20) as form:
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        for value in form.values():
            if isinstance(value, UploadFile):
                return fields, (value.filename or "untitled", await value.read())
    return fields, None
