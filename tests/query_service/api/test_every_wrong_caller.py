"""Every route of the table crossed with every caller who may not use it, HTTP and WebSocket alike."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from otel_audit.instrumentation.ids import uuid7
from otel_audit.query_service.api.routes import ORG, ROUTES
from tests.support.server import QueryServer


class Ask(NamedTuple):
    """One way to reach an organization. route: the template that the record must name."""

    method: str
    path: str
    route: str


def _fill(path: str) -> str:
    ids = {"{event_id}": uuid7(), "{request_id}": uuid7(), "{trace_id}": "0" * 32, "{name}": "matter-42"}
    for name, value in ids.items():
        path = path.replace(name, value)
    return path


OF_THE_TABLE = [
    Ask(route.method, _fill(route.path), route.path) for route in ROUTES if route.access == "organization"
]
# Nothing below an organization is reached around admission: other methods, other paths, other protocols.
AROUND = [
    *(
        Ask(method, f"{ORG}/events", f"{ORG}/events")
        for method in ("HEAD", "OPTIONS", "POST", "DELETE", "TRACE")
    ),
    Ask("PUT", f"{ORG}/holds", f"{ORG}/holds"),
    Ask("POST", f"{ORG}/holds/matter-42", f"{ORG}/holds/{{name}}"),
    Ask("GET", f"{ORG}/stream", f"{ORG}/{{rest:path}}"),
    Ask("GET", f"{ORG}/no/such/route", f"{ORG}/{{rest:path}}"),
    Ask("GET", f"{ORG}/users", f"{ORG}/{{rest:path}}"),
    Ask("GET", ORG, f"{ORG}/{{rest:path}}"),
    Ask("WS", f"{ORG}/events", f"{ORG}/{{rest:path}}"),
]
ASKS = OF_THE_TABLE + AROUND


class Caller(NamedTuple):
    """headers: of the request. org: whom they ask for; records_in: whose trail must tell of it."""

    name: str
    headers: Callable[[QueryServer], dict[str, str]]
    org: str
    status: int
    records_in: str
    user: str | None


def _bearer(token: Callable[[QueryServer], str]) -> Callable[[QueryServer], dict[str, str]]:
    return lambda server: {"authorization": f"Bearer {token(server)}"}


def _signed(org: str | None, role: str, user: str) -> Callable[[QueryServer], dict[str, str]]:
    return _bearer(lambda server: server.token(org, role, user))


def _false_cookie(_: QueryServer) -> dict[str, str]:
    return {"cookie": f"otel_audit_session={secrets.token_urlsafe(32)}"}


def _revoked(server: QueryServer) -> str:
    token, info = server.services.tokens.issue_with_id("acme", "rita@example.com", "admin")
    server.services.tokens.revoke(info.id)
    return token


def _of_another_key(server: QueryServer) -> str:
    header, claims, _ = server.token("acme").split(".")
    return ".".join((header, claims, secrets.token_urlsafe(32)))


NOBODY = (401, "acme", None)
MO, GIL, NIA, ROOT = "mo@example.com", "gil@globex.example", "nia@example.com", "root@op.example"
CALLERS = [
    Caller("nobody", lambda _: {}, "acme", *NOBODY),
    Caller("garbage", _bearer(lambda _: secrets.token_urlsafe(60)), "acme", *NOBODY),
    Caller("no bearer", lambda _: {"authorization": "Basic " + secrets.token_urlsafe(12)}, "acme", *NOBODY),
    Caller("expired", _bearer(lambda server: server.expired_token("acme")), "acme", *NOBODY),
    Caller("revoked", _bearer(_revoked), "acme", *NOBODY),
    Caller("forged", _bearer(_of_another_key), "acme", *NOBODY),
    Caller("false cookie", _false_cookie, "acme", *NOBODY),
    Caller("nobody, nowhere", lambda _: {}, "nowhere", 401, "operator", None),
    Caller("member", _signed("acme", "member", MO), "acme", 403, "acme", MO),
    Caller("another's admin", _signed("globex", "admin", GIL), "acme", 404, "acme", GIL),
    Caller("admin, nowhere", _signed("acme", "admin", NIA), "nowhere", 404, "operator", NIA),
    Caller("operator", _signed(None, "operator", ROOT), "acme", 404, "acme", ROOT),
]


# No cookies are kept between callers: none are ever set here.
HTTP = httpx.Client(timeout=20, verify=False)


class Answer(NamedTuple):
    status: int
    headers: Any
    body: bytes


def ask(server: QueryServer, method: str, path: str, headers: dict[str, str]) -> Answer:
    if method == "WS":
        with pytest.raises(InvalidStatus) as refused:
            connect(server.url(path, "ws"), additional_headers=headers, open_timeout=20)
        response = refused.value.response
        return Answer(response.status_code, response.headers, bytes(response.body or b""))
    answered = HTTP.request(method, server.url(path), headers=headers)
    return Answer(answered.status_code, answered.headers, answered.content)


def recorded(server: QueryServer, org: str) -> Counter[tuple[str | None, str, int]]:
    """Refusals in a trail: (user, route template, status) → how often."""
    server.core.self_audit.flush_refusals(everything=True)
    found: Counter[tuple[str | None, str, int]] = Counter()
    for event in server.trail(org, ("action", "access_denied")):
        found[event["user_id"], event["http_route"], event["http_status"]] += event["attributes"]["count"]
    return found


@pytest.mark.parametrize("caller", CALLERS, ids=lambda caller: caller.name)
def test_a_wrong_caller_is_refused_and_recorded_on_every_route(server: QueryServer, caller: Caller) -> None:
    headers = caller.headers(server)
    before = recorded(server, caller.records_in)
    expected: Counter[tuple[str | None, str, int]] = Counter()
    for method, path, route in ASKS:
        answer = ask(server, method, path.replace("{org}", caller.org), headers)
        assert answer.status == caller.status, (method, route, answer)
        assert answer.headers["cache-control"] == "no-store"
        if method != "HEAD":
            assert json.loads(answer.body)["status"] == caller.status
        assert ("www-authenticate" in answer.headers) == (caller.status == 401)
        assert "allow" not in answer.headers
        expected[caller.user, route, caller.status] += 1
    assert recorded(server, caller.records_in) - before == expected


@pytest.mark.parametrize("asked", ASKS, ids=lambda asked: f"{asked.method} {asked.path}")
def test_an_outsider_cannot_tell_another_organization_from_none(server: QueryServer, asked: Ask) -> None:
    headers = {"authorization": f"Bearer {server.token('globex')}", "x-request-id": uuid7()}
    theirs = ask(server, asked.method, asked.path.replace("{org}", "acme"), headers)
    none = ask(server, asked.method, asked.path.replace("{org}", "nowhere"), headers)
    impossible = ask(server, asked.method, asked.path.replace("{org}", "No%20Such%2A"), headers)
    assert theirs.status == none.status == impossible.status == 404
    assert theirs.body == none.body == impossible.body
    without_date = [
        {name.lower(): value for name, value in answer.headers.items() if name.lower() != "date"}
        for answer in (theirs, none, impossible)
    ]
    assert without_date[0] == without_date[1] == without_date[2]


def test_tickets_are_an_operators_to_make(server: QueryServer) -> None:
    asked = {"org": "acme", "user": "eve@example.com"}
    for token, status in (
        (None, 401),
        (secrets.token_urlsafe(40), 401),
        (server.expired_token("acme"), 401),
        (server.token("acme", "admin"), 403),
        (server.token("acme", "member"), 403),
    ):
        with server.client(token) as client:
            assert client.post("/api/v1/tickets", json=asked).status_code == status
    found = recorded(server, "operator")
    assert found[None, "/api/v1/tickets", 401] >= 3
    assert found["ada@example.com", "/api/v1/tickets", 403] >= 2


def test_every_route_of_the_table_is_covered_above() -> None:
    covered = {ask.route for ask in OF_THE_TABLE} | {"/api/v1/tickets"}
    assert {route.path for route in ROUTES if route.access != "open"} == covered


def test_what_changes_something_is_an_admins_to_do(server: QueryServer) -> None:
    changing = [route for route in ROUTES if route.need == "settings"]
    assert {(route.method, route.path) for route in changing} == {
        ("POST", f"{ORG}/holds"),
        ("DELETE", f"{ORG}/holds/{{name}}"),
    }
    before = recorded(server, "acme")
    expected: Counter[tuple[str | None, str, int]] = Counter()
    headers = {"authorization": f"Bearer {server.token('acme', 'auditor', 'aud@example.com')}"}
    for route in changing:
        answer = ask(server, route.method, _fill(route.path).replace("{org}", "acme"), headers)
        assert answer.status == 403, route.path
        expected["aud@example.com", route.path, 403] += 1
    assert recorded(server, "acme") - before == expected


def test_those_who_may_read_learn_which_methods_there_are(server: QueryServer) -> None:
    with server.client(server.token("acme", "auditor")) as client:
        refused = client.delete("/api/v1/orgs/acme/events")
        assert refused.status_code == 405
        assert refused.headers["allow"] == "GET"
        assert refused.headers["content-type"] == "application/problem+json"
        assert client.head("/api/v1/orgs/acme/events").status_code == 405
        assert client.get("/api/v1/orgs/acme/users").status_code == 404
        assert client.get("/api/v1/orgs/acme/stream").status_code == 404
