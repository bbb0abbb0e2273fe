"""ASGI middleware: request facts for every event, and a record of every refused request."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, Final

from otel_audit.instrumentation.context import Bound, RequestScope, Resolver
from otel_audit.instrumentation.plugins.request import (
    checked_actor,
    client_address_of,
    cookie_of,
    framework_actor,
    parse_networks,
    remote_span_of,
    request_id_of,
    route_of,
)
from otel_audit.instrumentation.trail import trail

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

REQUEST_ID_HEADER: Final = b"x-request-id"
RESOLVE_MAX: Final = 8
"""Times a resolver is asked in one request while it knows nobody; it may cost a database query."""
_DENIED: Final = frozenset({401, 403})
_STARTS: Final = frozenset({"http.response.start", "websocket.http.response.start"})


class AuditMiddleware:
    """Gives every event of a request its id, client, session, actor and trace; records 401 and 403.

    Works with any ASGI app: `AuditMiddleware(app)`, or Starlette's and FastAPI's `add_middleware`.
    resolver: tells from the ASGI scope who is acting; sync or async, asked when an event is recorded (an
    async one when the request starts). Left out: the one of `audit.configure`, and scope["user"] besides.
    trusted_proxies: addresses or CIDR ranges whose X-Forwarded-For is believed.
    session_cookie: the cookie whose value identifies a session; None for none.
    Raises InvalidConfig for a proxy that is no address; nothing it does breaks a request.
    """

    def __init__(
        self,
        app: App,
        *,
        resolver: Resolver | None = None,
        trusted_proxies: Iterable[str] = (),
        session_cookie: str | None = "session",
    ) -> None:
        self.app = app
        self._resolver = resolver
        self._trusted = parse_networks(trusted_proxies)
        self._session_cookie = session_cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        actor = _Actor(scope, self._resolver or trail.resolver)
        request = self._request(scope, actor)
        with Bound({}, request):
            if actor.asynchronous:
                await actor.ask()
            await self.app(scope, receive, _Answer(request, actor, scope, send))

    def _request(self, scope: Scope, actor: _Actor) -> RequestScope:
        headers = _headers(scope)
        peer = scope.get("client")
        forwarded_for = headers.get("x-forwarded-for", "")
        cookie = self._session_cookie
        return RequestScope(
            request_id=request_id_of(headers),
            resolve=actor.known,
            route=lambda: _route(scope),
            http_method=scope.get("method", "GET"),
            client_address=client_address_of(str(peer[0]) if peer else None, forwarded_for, self._trusted),
            user_agent=headers.get("user-agent"),
            session_id=cookie_of(headers.get("cookie", ""), cookie) if cookie else None,
            remote_span=remote_span_of(headers),
        )


class _Actor:
    """Who acts in one request: asked for late, because authentication often runs inside the middleware."""

    def __init__(self, scope: Scope, resolver: Resolver | None) -> None:
        self._scope = scope
        self._resolver = resolver
        self._facts: dict[str, Any] = {}
        self._left = RESOLVE_MAX if resolver else 0
        call = getattr(resolver, "__call__", None)  # noqa: B004 - an object may be async by its __call__
        self.asynchronous = inspect.iscoroutinefunction(resolver) or inspect.iscoroutinefunction(call)

    def known(self) -> Mapping[str, Any]:
        """The resolver's answer, else the framework's own; asks a sync resolver until it knows somebody."""
        try:
            if not self.asynchronous and self._may_ask():
                self._take(self._call())
            return self._facts if self._named else {**framework_actor(self._scope), **self._facts}
        except Exception as error:  # noqa: BLE001 - the app's code must not cost the app its request or event
            self._failed(error)
            return self._facts

    async def ask(self) -> None:
        """Ask an async resolver unless it has answered already."""
        if not self.asynchronous or not self._may_ask():
            return
        try:
            answer = self._call()
            self._take(await answer if inspect.isawaitable(answer) else answer)
        except Exception as error:  # noqa: BLE001 - as above
            self._failed(error)

    def _call(self) -> Any:
        return self._resolver(self._scope) if self._resolver else None

    def _take(self, answer: Any) -> None:
        if inspect.isawaitable(answer):
            # Nothing can be awaited where an event is recorded; `ask` awaits the next one.
            self.asynchronous = True
            if inspect.iscoroutine(answer):
                answer.close()
            trail.say_once("resolver:async", "the resolver returns an awaitable: declare it async def")
        else:
            self._facts = checked_actor(answer)

    @property
    def _named(self) -> bool:
        return "user_id" in self._facts or "user_email" in self._facts

    def _may_ask(self) -> bool:
        if self._named or self._left == 0:
            return False
        self._left -= 1
        return True

    def _failed(self, error: Exception) -> None:
        kind = type(error).__name__
        trail.say_once(f"resolver:{kind}", f"telling the actor raised {kind}: events go out without it")


class _Answer:
    """The `send` of one request: puts the request id on the answer and records a refusal, once."""

    def __init__(self, request: RequestScope, actor: _Actor, scope: Scope, send: Send) -> None:
        self._request = request
        self._actor = actor
        self._scope = scope
        self._send = send
        self._accepted = False

    async def __call__(self, message: Message) -> None:
        kind = message["type"]
        status = message.get("status") if kind in _STARTS else None
        if kind == "websocket.close" and not self._accepted:
            status = 403  # What a server answers to a handshake that the app closes instead of accepting.
        if kind in _STARTS or kind == "websocket.accept":
            headers = [h for h in message.get("headers") or () if h[0].lower() != REQUEST_ID_HEADER]
            headers.append((REQUEST_ID_HEADER, self._request.request_id.encode()))
            message = {**message, "headers": headers}
            self._accepted = True
        # Before the answer goes out: who was refused is on record when they learn of it.
        if status in _DENIED and not self._request.denied:
            await self._record_refusal(status)
        await self._send(message)

    async def _record_refusal(self, status: int) -> None:
        await self._actor.ask()
        method, route = self._request.http_method, self._request.route()
        with Bound({}, self._request):
            trail.record(
                "security",
                "access_denied",
                {
                    "target": None,
                    "outcome": "denied",
                    "message": f"Access denied: {method} {route or 'unknown route'} answered {status}",
                    "http_status": status,
                    "attributes": {"url.path": str(self._scope.get("path", ""))},
                },
            )


def _route(scope: Scope) -> str | None:
    try:
        return route_of(scope)
    except Exception:  # noqa: BLE001 - a router of another make; the event goes out without a route
        return None


def _headers(scope: Scope) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope.get("headers") or ():
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        # Several of one name mean their list; cookies are joined by their own mark.
        headers[name] = (
            f"{headers[name]}{'; ' if name == 'cookie' else ','}{value}" if name in headers else value
        )
    return headers
