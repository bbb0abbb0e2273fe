from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from opentelemetry import baggage, propagate
from opentelemetry.sdk.trace import TracerProvider
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from otel_audit.instrumentation import AuditEvent, AuditMiddleware, audit
from otel_audit.instrumentation.config import InvalidConfig
from otel_audit.instrumentation.ids import canonical_uuid, uuid7
from otel_audit.instrumentation.plugins.request import client_address_of, parse_networks
from otel_audit.instrumentation.testing import capture
from tests.support.asgi_server import served
from tests.support.otlp_sink import OtlpSink, attributes_of


async def read(request: Request) -> JSONResponse:
    audit.record("data_access", "read", target=("file", request.path_params.get("file_id")))
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return JSONResponse(carrier)


def read_in_a_thread(request: Request) -> PlainTextResponse:
    audit.record("data_access", "read")
    return PlainTextResponse("read")


async def status(request: Request) -> PlainTextResponse:
    return PlainTextResponse(
        "x", int(request.path_params["status"]), headers={"x-request-id": "the app's own"}
    )


async def refuse(request: Request) -> PlainTextResponse:
    audit.record("data_access", "read", target=("file", "f-1"), outcome="denied")
    return PlainTextResponse("no", 403)


async def sign_in(request: Request) -> PlainTextResponse:
    audit.record("authentication", "login_failed", user_email="typed@example.com")
    return PlainTextResponse("no", 401)


async def stream(request: Request) -> StreamingResponse:
    async def parts() -> Any:
        for n in range(3):
            audit.record("data_access", "download", target=("part", n))
            yield str(n)
            await asyncio.sleep(0)

    return StreamingResponse(parts())


async def fail(request: Request) -> PlainTextResponse:
    raise LookupError("the app's own trouble")


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    audit.record("data_access", "read", target=("feed", websocket.path_params["feed"]))
    await websocket.send_text(await websocket.receive_text())
    await websocket.close()


async def closed_socket(websocket: WebSocket) -> None:
    await websocket.close()


ROUTES = [
    Route("/files/{file_id}", read),
    Route("/thread", read_in_a_thread),
    Route("/status/{status:int}", status),
    Route("/refuse", refuse),
    Route("/sign-in", sign_in),
    Route("/stream", stream),
    Route("/fail", fail),
    Mount("/o/{org}", routes=[Route("/files/{file_id}", read), Route("/status/{status:int}", status)]),
    WebSocketRoute("/feeds/{feed}", socket),
    WebSocketRoute("/closed", closed_socket),
]


@pytest.fixture
def events() -> Iterator[list[AuditEvent]]:
    with capture() as captured:
        yield captured


def by_header(scope: Any) -> dict[str, Any] | None:
    user = HTTPConnection(scope).headers.get("x-user")
    return {"user_id": user, "user_email": f"{user}@example.com", "tenant": "acme"} if user else None


async def by_header_async(scope: Any) -> dict[str, Any] | None:
    await asyncio.sleep(0)
    return by_header(scope)


def serve(**options: Any) -> Any:
    return served(Starlette(routes=ROUTES, middleware=[Middleware(AuditMiddleware, **options)]))


@pytest.mark.parametrize("resolver", [by_header, by_header_async, lambda scope: by_header_async(scope)])
def test_an_event_knows_its_request_and_its_actor(
    events: list[AuditEvent], resolver: Callable[[Any], Any]
) -> None:
    request_id, session = uuid7(), secrets.token_hex(8)
    headers = {
        "x-request-id": request_id,
        "user-agent": "test/1",
        "x-user": "ann",
        "cookie": f"a=1; sid={session}",
    }
    with serve(resolver=resolver, session_cookie="sid") as address:
        # A function that returns an awaitable without saying so is known from the second event on only.
        first = httpx.get(f"http://{address}/status/403", headers=headers)
        answer = httpx.get(f"http://{address}/files/f-81", headers=headers)
    assert first.headers["x-request-id"] == answer.headers["x-request-id"] == request_id
    event = events[-1]
    assert (event.request_id, event.client_address, event.user_agent) == (request_id, "127.0.0.1", "test/1")
    assert (event.http_method, event.http_route, event.session_id) == ("GET", "/files/{file_id}", session)
    if "lambda" not in resolver.__name__:
        assert [(e.user_id, e.user_email, e.tenant, e.user_type) for e in events] == [
            ("ann", "ann@example.com", "acme", "user")
        ] * 2


def test_the_request_id_comes_from_the_header_the_baggage_or_is_new(events: list[AuditEvent]) -> None:
    ours, theirs = uuid7(), uuid7()
    with serve() as address, httpx.Client(base_url=f"http://{address}") as client:

        def asked(**headers: str) -> str:
            answer = client.get(
                "/files/1", headers={name.replace("_", "-"): v for name, v in headers.items()}
            )
            assert f"audit.request.id={answer.headers['x-request-id']}" in answer.json()["baggage"]
            return answer.headers["x-request-id"]

        answered = [
            asked(x_request_id=ours.replace("-", "").upper()),
            asked(baggage=f"other=1,audit.request.id={theirs}"),
            asked(x_request_id="42", baggage=f"audit.request.id={theirs}"),
            asked(x_request_id=ours, baggage=f"audit.request.id={theirs}"),
        ]
        new = {asked(), asked(x_request_id="42"), asked(baggage="audit.request.id=evil")}
    assert answered == [ours, theirs, theirs, ours]
    assert len(new) == 3
    assert all(canonical_uuid(request_id) == request_id for request_id in new)
    assert [event.request_id for event in events][:4] == answered
    assert baggage.get_baggage("audit.request.id") is None


@pytest.mark.parametrize(
    ("trusted", "forwarded", "expected"),
    [
        ((), "203.0.113.9", "127.0.0.1"),
        (("10.0.0.0/8",), "203.0.113.9", "127.0.0.1"),
        (("127.0.0.1",), "203.0.113.9", "203.0.113.9"),
        (("127.0.0.1",), "6.6.6.6, 203.0.113.9", "203.0.113.9"),
        (("127.0.0.1", "10.0.0.0/8"), "6.6.6.6, 203.0.113.9:4711, 10.1.2.3", "203.0.113.9"),
        (("127.0.0.0/8",), "[2001:db8::1]:443", "2001:db8::1"),
        (("127.0.0.0/8",), "203.0.113.9, unknown", "127.0.0.1"),
        (("127.0.0.1",), "", "127.0.0.1"),
    ],
)
def test_forwarded_addresses_are_believed_only_as_far_as_proxies_are_trusted(
    trusted: tuple[str, ...], forwarded: str, expected: str
) -> None:
    for peer in ("127.0.0.1", "::ffff:127.0.0.1"):
        assert client_address_of(peer, forwarded, parse_networks(trusted)) == expected


def test_the_client_behind_a_trusted_proxy_is_the_one_recorded(events: list[AuditEvent]) -> None:
    with serve(trusted_proxies=["127.0.0.0/8"]) as address:
        httpx.get(f"http://{address}/files/1", headers={"x-forwarded-for": "6.6.6.6, 203.0.113.9"})
    assert [event.client_address for event in events] == ["203.0.113.9"]


def test_a_proxy_that_is_no_address_is_refused_at_once() -> None:
    with pytest.raises(InvalidConfig):
        AuditMiddleware(Starlette(), trusted_proxies=["proxy.example.com"])


def test_refused_requests_are_recorded_before_they_are_answered(events: list[AuditEvent]) -> None:
    with serve(resolver=by_header) as address:
        for code in (200, 401, 403, 404, 500):
            answer = httpx.get(f"http://{address}/status/{code}?secret=1", headers={"x-user": "bob"})
            assert canonical_uuid(answer.headers["x-request-id"])
        httpx.get(f"http://{address}/o/acme/status/403")
    assert [(e.event_name, e.outcome, e.http_status, e.http_route, e.user_id) for e in events] == [
        ("audit.security.access_denied", "denied", 401, "/status/{status:int}", "bob"),
        ("audit.security.access_denied", "denied", 403, "/status/{status:int}", "bob"),
        ("audit.security.access_denied", "denied", 403, "/o/{org}/status/{status:int}", None),
    ]
    assert [event.severity for event in events] == ["warning"] * 3
    assert events[0].attributes["url.path"] == "/status/401"
    assert [event.user_type for event in events] == ["user", "user", "anonymous"]


@pytest.mark.parametrize(("path", "action"), [("refuse", "read"), ("sign-in", "login_failed")])
def test_a_refusal_that_the_app_recorded_is_not_recorded_twice(
    events: list[AuditEvent], path: str, action: str
) -> None:
    with serve() as address:
        httpx.get(f"http://{address}/{path}")
        assert [event.action for event in events] == [action]
        httpx.get(f"http://{address}/status/403")
    assert [event.action for event in events] == [action, "access_denied"]


def test_the_frameworks_own_authentication_tells_the_actor(events: list[AuditEvent]) -> None:
    class Backend(AuthenticationBackend):
        async def authenticate(self, conn: HTTPConnection) -> Any:
            return AuthCredentials(), SimpleUser("ann") if "x-user" in conn.headers else SimpleUser("")

    app = Starlette(
        routes=ROUTES,
        middleware=[Middleware(AuditMiddleware), Middleware(AuthenticationMiddleware, backend=Backend())],
    )
    with served(app) as address:
        httpx.get(f"http://{address}/thread", headers={"x-user": "ann"})
    assert (events[0].user_id, events[0].user_name, events[0].user_type) == ("ann", "ann", "user")


class Odd:
    """A user object whose every property breaks."""

    @property
    def is_authenticated(self) -> bool:
        raise RuntimeError


@pytest.mark.parametrize(
    "answer",
    [None, "text", 7, {"user_id": None}, {"user_type": "robot", "unknown": 1}, RuntimeError("secret"), Odd()],
)
def test_a_resolver_that_fails_or_answers_nonsense_costs_neither_request_nor_event(
    events: list[AuditEvent], answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def odd(scope: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        scope["user"] = answer
        return answer

    async def odd_async(scope: Any) -> Any:
        return odd(scope)

    for resolver in (odd, odd_async):
        with serve(resolver=resolver) as address:
            assert httpx.get(f"http://{address}/files/1").status_code == 200
    assert [(event.action, event.user_id, event.user_type) for event in events] == [
        ("read", None, "anonymous")
    ] * 2
    assert "secret" not in caplog.text


def test_streams_and_websockets_keep_their_request_to_the_end(events: list[AuditEvent]) -> None:
    request_id = uuid7()
    headers = {"X-Request-ID": request_id, "X-User": "ann"}
    with serve(resolver=by_header) as address:
        with httpx.stream("GET", f"http://{address}/stream", headers=headers) as answer:
            assert answer.read() == b"012"
        with connect(f"ws://{address}/feeds/news", additional_headers=headers) as websocket:
            assert websocket.response is not None
            assert websocket.response.headers["x-request-id"] == request_id
            websocket.send("hello")
            assert websocket.recv() == "hello"
    assert [event.action for event in events] == ["download"] * 3 + ["read"]
    assert {(event.request_id, event.user_id) for event in events} == {(request_id, "ann")}
    assert events[-1].http_route == "/feeds/{feed}"


def test_a_websocket_that_is_not_accepted_is_a_refusal(events: list[AuditEvent]) -> None:
    with serve() as address, pytest.raises(InvalidStatus) as refused, connect(f"ws://{address}/closed"):
        pass
    assert refused.value.response.status_code == 403
    assert [(e.action, e.http_status, e.http_route) for e in events] == [("access_denied", 403, "/closed")]


def test_an_apps_own_failure_passes_through_unchanged(events: list[AuditEvent]) -> None:
    with serve() as address:
        assert httpx.get(f"http://{address}/fail").status_code == 500
    assert events == []


def test_any_asgi_app_may_be_wrapped_and_its_route_is_then_unknown(events: list[AuditEvent]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError
        audit.record("data_access", "read")
        await send({"type": "http.response.start", "status": 403, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps({}).encode()})

    with served(AuditMiddleware(app)) as address:
        assert httpx.get(f"http://{address}/x").status_code == 403
    assert [(event.action, event.http_route) for event in events] == [("read", None), ("access_denied", None)]


def test_the_actor_named_around_the_code_wins_over_the_resolver(events: list[AuditEvent]) -> None:
    async def act(request: Request) -> PlainTextResponse:
        with audit.context(user_id="impersonated", on_behalf_of="support"):
            audit.record("data_access", "read")
        audit.record("data_access", "read")
        return PlainTextResponse("")

    app = Starlette(routes=[Route("/", act)])
    with served(AuditMiddleware(app, resolver=by_header)) as address:
        httpx.get(f"http://{address}/", headers={"x-user": "ann"})
    assert [(e.user_id, e.user_email, e.tenant) for e in events] == [
        ("impersonated", None, "acme"),
        ("ann", "ann@example.com", "acme"),
    ]


def test_over_the_wire_an_event_joins_the_active_trace_or_the_callers(
    sink: OtlpSink, configure: Callable[..., None]
) -> None:
    tracer = TracerProvider().get_tracer("app")
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)

    async def act(request: Request) -> PlainTextResponse:
        audit.record("data_access", "read")
        with tracer.start_as_current_span("work") as span:
            audit.record("data_access", "update")
        return PlainTextResponse(f"{span.get_span_context().trace_id:032x}")

    configure(resolver=by_header)
    with served(AuditMiddleware(Starlette(routes=[Route("/", act)]))) as address:
        headers = {"traceparent": f"00-{trace_id}-{span_id}-01", "x-user": "ann"}
        active = httpx.get(f"http://{address}/", headers=headers).text
    assert audit.flush()
    first, second = sink.records
    assert (first.trace_id.hex(), first.span_id.hex()) == (trace_id, span_id)
    assert second.trace_id.hex() == active
    assert active != trace_id
    assert attributes_of(first)["audit.actor.id"] == "ann"
