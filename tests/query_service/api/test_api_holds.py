"""Legal holds over the API: made and released by admins, seen by auditors, each change an event."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from otel_audit.instrumentation.ids import uuid7
from tests.support.process import wait_for
from tests.support.server import QueryServer


def hold(**given: Any) -> dict[str, Any]:
    return {
        "name": "matter-42",
        "reason": "letter of 1 March",
        "filters": {"user": "ada@example.com"},
    } | given


def test_an_admin_holds_an_auditor_sees_it_and_the_trail_tells_of_both(server: QueryServer, org: str) -> None:
    path, mine = f"/api/v1/orgs/{org}/holds", uuid7()
    filters = {"category": ["security", "system"], "from": "2026-01-01", "q": "Report"}
    with server.client(server.token(org), **{"x-request-id": mine}) as client:
        made = client.post(path, json=hold(filters=filters))
    assert made.status_code == 201
    shown = made.json()
    assert {name: shown[name] for name in ("tenant", "name", "status", "reason", "created_by")} == {
        "tenant": org,
        "name": "matter-42",
        "status": "active",
        "reason": "letter of 1 March",
        "created_by": "ada@example.com",
    }
    assert shown["filters"] == filters | {"from": ["2026-01-01"], "q": ["Report"]}
    with server.client(server.token(org, "auditor")) as client:
        assert client.get(path).json() == {"holds": [shown]}
    assert [found.name for found in server.core.holds.active(org, time.time())] == ["matter-42"]
    [event] = wait_for(lambda: server.trail(org, ("action", "hold_change")), 5)
    assert (event["category"], event["severity"], event["user_id"]) == (
        "system",
        "warning",
        "ada@example.com",
    )
    assert (event["request_id"], event["http_method"]) == (mine, "POST")
    assert event["http_route"] == "/api/v1/orgs/{org}/holds"
    assert event["client_address"] == "127.0.0.1"
    assert event["changes"]["filters"]["after"]["category"] == ["security", "system"]
    assert event["attributes"]["otel_audit.reason"] == "letter of 1 March"
    [view] = server.trail(org, ("resource_type", "hold"), ("action", "read"))
    assert view["http_route"] == "/api/v1/orgs/{org}/holds"


def test_a_release_ends_a_hold_after_its_delay_and_once(server: QueryServer, org: str) -> None:
    path = f"/api/v1/orgs/{org}/holds"
    with server.client(server.token(org)) as client:
        client.post(path, json=hold())
        released = client.delete(f"{path}/matter-42", params={"reason": "settled"})
        assert released.status_code == 200
        shown = released.json()
        assert (shown["status"], shown["release_reason"]) == ("releasing", "settled")
        waits = datetime.fromisoformat(shown["effective_at"]) - datetime.fromisoformat(shown["released_at"])
        assert abs(waits.total_seconds() - 7 * 86_400) <= 1
        again = client.delete(f"{path}/matter-42", params={"reason": "sooner"})
        assert again.status_code == 409
        assert client.get(path).json()["holds"] == [shown]
    assert len(server.core.holds.active(org, datetime.now(UTC))) == 1
    events = wait_for(lambda: len(found := server.trail(org, ("action", "hold_change"))) == 2 and found, 5)
    assert events[0]["attributes"]["otel_audit.reason"] == "settled"


@pytest.mark.parametrize(
    ("body", "status", "parameter"),
    [
        (hold(filters={"range": "7d"}), 400, "range"),
        (hold(filters={"user": ""}), 400, "user"),
        (hold(filters={"category": []}), 400, "category"),
        (hold(filters={"colour": "red"}), 400, "colour"),
        (hold(filters={"user": ["a", "b"]}), 400, "user"),
        (hold(filters=[["user", "ada"]]), 400, None),
        (hold(filters={"user": 7}), 400, None),
        (hold(name="a/b"), 400, None),
        (hold(reason="two\nlines"), 400, None),
        (hold(reason=""), 400, None),
        (hold(tenant="globex"), 400, None),
        ({"name": "a"}, 400, None),
        ([], 400, None),
        (hold(filters={"action": ["x" * 500] * 2000}), 413, None),
    ],
)
def test_a_hold_that_cannot_be_is_refused_with_a_hint(
    server: QueryServer, org: str, body: Any, status: int, parameter: str | None
) -> None:
    with server.client(server.token(org)) as client:
        refused = client.post(f"/api/v1/orgs/{org}/holds", json=body)
    assert refused.status_code == status, refused.text
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["hint"]
    assert refused.json().get("parameter") == parameter
    assert server.core.holds.list(org) == []


def test_names_and_reasons_that_lead_nowhere_say_what_is_wrong(server: QueryServer, org: str) -> None:
    path = f"/api/v1/orgs/{org}/holds"
    server.core.holds.add("globex", f"of-globex-{org}", "because")
    with server.client(server.token(org)) as client:
        client.post(path, json=hold())
        assert client.post(path, json=hold()).status_code == 409
        assert client.delete(f"{path}/other", params={"reason": "x"}).status_code == 404
        assert client.delete(f"{path}/of-globex-{org}", params={"reason": "x"}).status_code == 404
        assert client.delete(f"{path}/matter-42").json()["parameter"] == "reason"
        assert client.delete(f"{path}/matter-42", params={"reason": ""}).status_code == 400
        assert client.delete(f"{path}/matter-42", params={"reason": "x", "now": "1"}).status_code == 400
        assert client.put(path, json=hold()).headers["allow"] == "GET, POST"
    assert server.core.holds.list(org)[0].released_at is None


def test_a_page_of_another_site_cannot_change_a_hold(server: QueryServer, org: str) -> None:
    services, path = server.services, f"/api/v1/orgs/{org}/holds"
    principal = services.tickets.redeem(services.tickets.create(org, "ada@example.com", "admin"))
    cookie = f"otel_audit_session={services.sessions.create(principal)}"
    body = b'{"name": "a", "reason": "because"}'
    with server.client(cookie=cookie) as client:
        for headers, status in (
            ({"content-type": "text/plain"}, 415),
            ({"content-type": "application/json", "sec-fetch-site": "cross-site"}, 403),
            ({"content-type": "application/json", "sec-fetch-site": "same-site"}, 403),
            ({"content-type": "application/json; charset=utf-8"}, 201),
        ):
            assert client.post(path, content=body, headers=headers).status_code == status
        foreign = {"sec-fetch-site": "cross-site"}
        assert client.delete(f"{path}/a", params={"reason": "x"}, headers=foreign).status_code == 403
