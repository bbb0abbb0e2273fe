"""Probes, metrics, tickets, and what the boundary does with errors nobody foresaw."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from otel_audit.query_service.api.edge.boundary import Boundary
from otel_audit.query_service.api.edge.caller import client_address
from otel_audit.query_service.api.edge.encoding import encode_json
from otel_audit.query_service.metrics import Metrics, metrics_app
from tests.support.asgi_server import served
from tests.support.server import QueryServer


def test_probes_need_no_credential_and_tell_nothing_of_anybody(server: QueryServer) -> None:
    with server.client() as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").json() == {"status": "ready", "degraded": []}
        assert client.post("/healthz").status_code == 405
        assert client.get("/readyz?verbose=1").status_code == 400


def test_metrics_are_prometheus_text_without_a_tenant(server: QueryServer, org: str) -> None:
    with server.client(server.token(org)) as client:
        client.get(f"/api/v1/orgs/{org}/events")
        client.get("/api/v1/orgs/globex/events")
    with served(metrics_app(server.services.metrics.registry)) as address:
        text = httpx.get(f"http://{address}/metrics").text
        assert httpx.get(f"http://{address}/other").status_code == 404
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    counted = {
        (s.labels["route"], s.labels["status"]) for s in samples if s.name == "otel_audit_query_seconds_count"
    }
    assert ("/api/v1/orgs/{org}/events", "200") in counted
    assert ("/api/v1/orgs/{org}/events", "404") in counted
    assert any(s.name == "otel_audit_refusals_total" and s.labels["status"] == "404" for s in samples)
    assert org not in text
    assert "globex" not in text


def test_every_meter_is_there_from_the_start() -> None:
    families = {family.name for family in Metrics().registry.collect()}
    for name in (
        "ingest_rows", "redactions", "hot_rows", "sealed_files",
        "query_seconds", "exports", "refusals", "stream_subscribers", "stream_dropped",
    ):  # fmt: skip
        assert f"otel_audit_{name}" in families


def test_an_operator_makes_tickets_for_a_user_of_an_organization(server: QueryServer, org: str) -> None:
    with server.client(server.token(None, "operator", "root@op.example")) as client:
        answered = client.post(
            "/api/v1/tickets", json={"org": org, "user": "eve@example.com", "role": "auditor"}
        )
        assert answered.status_code == 201
        made = answered.json()
        address = urlsplit(made["url"])
        assert f"{address.scheme}://{address.netloc}" == server.url()
        assert address.path == "/login"
        with connect(f"{made['stream_url']}?ticket={made['stream_ticket']}", open_timeout=20):
            pass
        assert (
            client.post("/api/v1/tickets", json={"org": "nowhere", "user": "e@x.example"}).status_code == 404
        )
        for body in (
            b"",
            b"[]",
            b'{"org": "acme"}',
            b'{"org": "acme", "user": "e", "role": "operator"}',
            b"\xff",
        ):
            assert client.post("/api/v1/tickets", content=body).status_code == 400
        assert client.post("/api/v1/tickets", content=b"x" * 10_000).status_code == 413
        assert client.get("/api/v1/tickets").status_code == 405


def test_an_operator_reads_the_operators_own_trail(server: QueryServer) -> None:
    with server.client(server.token(None, "operator", "root@op.example")) as client:
        assert client.get("/api/v1/orgs/operator/events").status_code == 200
    with server.client(server.token("acme")) as client:
        assert client.get("/api/v1/orgs/operator/events").status_code == 404


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        (None, "10.0.0.5"),
        ("203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9, 10.0.0.7", "203.0.113.9"),
        ("<script>, 10.0.0.7", "10.0.0.7"),
        ("", "10.0.0.5"),
    ],
)
def test_a_forwarded_address_counts_only_as_far_as_listed_proxies_vouch(
    forwarded: str | None, expected: str
) -> None:
    headers = [] if forwarded is None else [(b"x-forwarded-for", forwarded.encode())]
    scope = {"type": "http", "headers": headers, "client": ("10.0.0.5", 1)}
    assert client_address(HTTPConnection(scope), ("10.0.0.0/8",)) == expected
    assert client_address(HTTPConnection(scope), ()) == "10.0.0.5"


def test_json_is_sound_whatever_an_emitter_sent() -> None:
    hostile = {"a": float("inf"), "b": [float("nan"), "\ud800\u2028"], "c": 2**70}
    encoded = encode_json(hostile).decode("ascii")
    assert encoded == '{"a":"inf","b":["nan","\\ud800\\u2028"],"c":1180591620717411303424}'


def _failing(secret: str) -> Starlette:
    async def fail(_request: Request) -> StreamingResponse:
        raise RuntimeError(f"literal {secret}")

    async def break_off(_request: Request) -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            yield b"x" * 10
            raise RuntimeError(f"literal {secret}")

        return StreamingResponse(body())

    async def fail_socket(socket: WebSocket) -> None:
        if "accept" in socket.query_params:
            await socket.accept()
        raise RuntimeError(f"literal {secret}")

    routes = [Route("/fail", fail), Route("/break", break_off), WebSocketRoute("/socket", fail_socket)]
    return Starlette(routes=routes, middleware=[Middleware(Boundary)])


def test_an_unforeseen_error_is_a_bare_problem_and_quotes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    secret = secrets.token_hex(16)
    caplog.set_level(logging.DEBUG)
    with served(_failing(secret)) as address:
        answered = httpx.get(f"http://{address}/fail")
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"http://{address}/break")
        with pytest.raises(InvalidStatus) as refused:
            connect(f"ws://{address}/socket", open_timeout=20)
        with (
            connect(f"ws://{address}/socket?accept=1", open_timeout=20) as socket,
            pytest.raises(ConnectionClosed),
        ):
            socket.recv(timeout=20)
    assert answered.status_code == 500
    assert answered.json()["request_id"] == answered.headers["x-request-id"]
    assert refused.value.response.status_code == 500
    assert "RuntimeError" in caplog.text
    assert answered.headers["x-request-id"] in caplog.text
    for text in (answered.text, str(refused.value.response.body), caplog.text):
        assert secret not in text
