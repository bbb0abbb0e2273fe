"""The live stream over real WebSockets."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from otel_audit.exporter.redaction.tenant_policy import parse_policy
from otel_audit.exporter.store.regions.keyring import Keyring
from otel_audit.query_service.position import Position, encode_position
from tests.support.server import QueryServer

WAIT_S = 20


@contextmanager
def watching(
    server: QueryServer, org: str, query: str = "", token: str | None = None, **headers: str
) -> Iterator[ClientConnection]:
    bearer = {"authorization": f"Bearer {token}"} if token else {}
    url = server.url(f"/api/v1/orgs/{org}/stream?{query}", "ws")
    with connect(url, additional_headers=bearer | headers, open_timeout=WAIT_S, max_size=None) as socket:
        yield socket


def events(socket: ClientConnection, count: int) -> list[dict[str, Any]]:
    """The next event messages; others in between are let pass."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        message = json.loads(socket.recv(timeout=WAIT_S))
        if message["type"] == "event":
            found.append(message)
    return found


def refused(server: QueryServer, org: str, query: str = "", token: str | None = None, **headers: str) -> Any:
    with pytest.raises(InvalidStatus) as raised, watching(server, org, query, token, **headers):
        pass
    return raised.value.response


def close_code(socket: ClientConnection) -> int | None:
    """The code the server ends the stream with."""
    try:
        while True:
            socket.recv(timeout=WAIT_S)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None


def test_a_stream_of_a_person_has_what_is_tokenised_also_after_a_rotation(
    server: QueryServer, org: str
) -> None:
    server.core.tenants.set(org, redaction=parse_policy('[fields]\nuser_id = "tokenise"'))
    with watching(server, org, "user=ada", server.token(org)) as socket:
        server.ingest(org, user_id="bob")
        ids = server.ingest(org, user_id="Ada")
        Keyring(server.core.root.keys).tokens.rotate(org)
        time.sleep(0.3)  # at most this old is what the server knows of keys
        ids += server.ingest(org, user_id="ada")
        found = [message["event"] for message in events(socket, 2)]
    assert [event["event_id"] for event in found] == ids
    assert [event["user_id"][:6] for event in found] == ["tok_1_", "tok_2_"]


def test_an_event_arrives_as_a_message_and_only_if_it_matches(server: QueryServer, org: str) -> None:
    with watching(server, org, "resource_type=file", server.token(org)) as socket:
        server.ingest(org, target_type="source")
        ids = server.ingest(org, 2, target_type="file")
        found = events(socket, 2)
    assert [message["event"]["event_id"] for message in found] == ids
    assert all(set(message) == {"type", "position", "event"} for message in found)


def test_watching_is_recorded_and_the_record_is_no_secret_to_the_watcher(
    server: QueryServer, org: str
) -> None:
    with watching(server, org, "category=security", server.token(org)):
        [found] = server.trail(org, ("action", "stream"))
    assert found["http_route"] == "/api/v1/orgs/{org}/stream"
    assert found["attributes"]["otel_audit.filters"] == {"category": ["security"]}


def test_a_stream_resumes_after_a_position_without_missing_an_event(server: QueryServer, org: str) -> None:
    with watching(server, org, "action=read&category=data_access", server.token(org)) as socket:
        first = server.ingest(org)
        [message] = events(socket, 1)
    assert message["event"]["event_id"] == first[0]
    missed = server.ingest(org, 3)
    query = f"action=read&category=data_access&after={message['position']}"
    with watching(server, org, query, server.token(org)) as socket:
        assert [found["event"]["event_id"] for found in events(socket, 3)] == missed


def test_a_ticket_opens_one_stream_once(server: QueryServer, org: str) -> None:
    ticket = server.services.tickets.create(org, "ada@example.com", "admin")
    with watching(server, org, f"ticket={ticket}&action=read") as socket:
        ids = server.ingest(org)
        assert events(socket, 1)[0]["event"]["event_id"] == ids[0]
    assert refused(server, org, f"ticket={ticket}").status_code == 401
    assert refused(server, org, f"ticket={secrets.token_urlsafe(32)}").status_code == 401


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://{address}", True),
        ("https://{address}", True),
        ("https://console.example.com", True),
        ("http://evil.example.com", False),
        ("null", False),
        ("http://{address}.evil.example.com", False),
        ("http://[", False),
    ],
)
def test_only_the_consoles_own_page_and_listed_ones_may_open_the_stream(
    server: QueryServer, org: str, origin: str, allowed: bool
) -> None:
    token, origin = server.token(org), origin.format(address=server.address)
    if allowed:
        with watching(server, org, token=token, origin=origin):
            pass
    else:
        assert refused(server, org, token=token, origin=origin).status_code == 403
        [found] = [e for e in server.trail(org, ("action", "access_denied")) if e["http_status"] == 403]
        assert found["attributes"]["otel_audit.reason"] == "origin"


def test_another_sites_page_gets_nothing_for_a_persons_cookie(server: QueryServer, org: str) -> None:
    services = server.services
    cookie = services.sessions.create(
        services.tickets.redeem(services.tickets.create(org, "ada@x.example", "admin"))
    )
    headers = {"cookie": f"otel_audit_session={cookie}"}
    assert refused(server, org, **headers, **{"sec-fetch-site": "cross-site"}).status_code == 403
    assert refused(server, org, **headers, origin="http://evil.example.com").status_code == 403
    with server.client(**headers) as client:
        path = f"/api/v1/orgs/{org}/export?format=csv"
        assert client.get(path, headers={"sec-fetch-site": "cross-site"}).status_code == 403
        assert client.get(path, headers={"sec-fetch-site": "same-origin"}).status_code == 200
    with watching(server, org, **headers, origin=server.url()):
        pass


def test_a_bad_filter_or_position_is_told_before_the_stream_opens(server: QueryServer, org: str) -> None:
    for query in ("category=nonsense", "limit=5", "after=nonsense"):
        response = refused(server, org, query, server.token(org))
        assert response.status_code == 400
        assert json.loads(response.body)["detail"]
    assert server.trail(org, ("action", "stream")) == []


def test_a_revoked_token_ends_its_stream(server: QueryServer, org: str) -> None:
    token, info = server.services.tokens.issue_with_id(org, "ada@example.com", "admin")
    with watching(server, org, "action=key_create", token) as socket:
        server.services.tokens.revoke(info.id)
        assert close_code(socket) == 4401


def test_what_a_client_says_is_ignored(server: QueryServer, org: str) -> None:
    with watching(server, org, "action=read", server.token(org)) as socket:
        socket.send("x" * 1000)
        socket.send(b"\x00\xff")
        ids = server.ingest(org)
        assert events(socket, 1)[0]["event"]["event_id"] == ids[0]


def test_a_position_of_the_day_before_yesterday_is_too_old(server: QueryServer, org: str) -> None:
    old = encode_position(Position({}, datetime.now(UTC) - timedelta(hours=25)))
    with watching(server, org, f"after={old}", server.token(org)) as socket:
        assert close_code(socket) == 4410
