"""What an admin gets: pages, single events, counts, related events; and what of it is recorded."""

from __future__ import annotations

from typing import Any

import pytest

from otel_audit.exporter.store.schema import VIEW
from otel_audit.instrumentation.ids import uuid7
from tests.support.server import QueryServer


def searches(server: QueryServer, org: str) -> list[dict[str, Any]]:
    return server.trail(org, ("action", "search"))


def test_an_acknowledged_event_is_in_the_next_answer(server: QueryServer, org: str) -> None:
    [event_id] = server.ingest(org, user_email="zoë@example.com", target_type="file", target_id="f-81")
    with server.client(server.token(org)) as client:
        answered = client.get(f"/api/v1/orgs/{org}/events", params={"resource_type": "file"})
    assert answered.status_code == 200
    page = answered.json()
    assert list(page) == ["events", "next", "as_of", "partial"]
    assert [event["event_id"] for event in page["events"]] == [event_id]
    event = page["events"][0]
    assert list(event) == VIEW.names
    assert event["tenant"] == org
    assert event["user_email"] == "zoë@example.com"
    assert event["resource_id"] == "f-81"
    assert event["trace_id"] is None
    assert event["time"].endswith("Z")


def test_pages_counts_and_facets_of_one_search_are_one_event(server: QueryServer, org: str) -> None:
    ids = server.ingest(org, 5)
    path = f"/api/v1/orgs/{org}"
    filters = {"category": "data_access", "action": "read"}
    with server.client(server.token(org)) as client:
        page = client.get(f"{path}/events", params={**filters, "limit": 2}).json()
        seen = page["events"]
        kept = {**filters, "as_of": page["as_of"]}
        server.ingest(org, 3)
        while page["next"]:
            page = client.get(f"{path}/events", params={**filters, "limit": 2, "cursor": page["next"]}).json()
            seen += page["events"]
        counted = client.get(f"{path}/histogram", params=kept).json()
        values = client.get(f"{path}/facets", params=kept).json()["facets"]
        assert client.get(f"{path}/events", params=[*reversed(kept.items())]).json()["events"] == seen
    assert [event["event_id"] for event in seen] == ids[::-1]
    assert counted["total"] == 5
    assert values["action"] == [{"value": "read", "count": 5}]
    [found] = searches(server, org)
    assert found["user_id"] == "ada@example.com"
    assert found["http_route"] == "/api/v1/orgs/{org}/events"
    assert found["attributes"]["otel_audit.filters"] == {"category": ["data_access"], "action": ["read"]}


def test_another_filter_another_person_and_another_moment_are_searches_of_their_own(
    server: QueryServer, org: str
) -> None:
    path = f"/api/v1/orgs/{org}"
    with (
        server.client(server.token(org)) as ada,
        server.client(server.token(org, user="bo@example.com")) as bo,
    ):
        as_of = ada.get(f"{path}/events").json()["as_of"]
        assert bo.get(f"{path}/events", params={"as_of": as_of}).status_code == 200
        assert ada.get(f"{path}/events", params={"as_of": as_of, "q": "x"}).status_code == 200
        assert ada.get(f"{path}/events").status_code == 200
        assert ada.get(f"{path}/facets").status_code == 200
        assert ada.get(f"{path}/histogram", params={"by": "category", "buckets": 10}).status_code == 200
    assert len(searches(server, org)) == 6


def test_one_event_is_read_by_its_id_and_the_view_is_recorded(server: QueryServer, org: str) -> None:
    [event_id] = server.ingest(org, changes={"name": ("Q3.xlsx", None)})
    with server.client(server.token(org, "auditor")) as client:
        event = client.get(f"/api/v1/orgs/{org}/events/{event_id.upper()}").json()
        missing = client.get(f"/api/v1/orgs/{org}/events/{uuid7()}")
        malformed = client.get(f"/api/v1/orgs/{org}/events/..%2f..%2fetc")
    assert event["event_id"] == event_id
    assert event["changes"] == {"name": {"before": "Q3.xlsx", "after": None}}
    assert missing.status_code == malformed.status_code == 404
    views = server.trail(org, ("resource_type", "audit_event"))
    assert event_id in {view["resource_id"] for view in views}
    assert len(views) == 2


def test_a_request_is_followed_across_its_events_in_order(server: QueryServer, org: str) -> None:
    request_id = uuid7()
    ids = server.ingest(org, 3, request_id=request_id)
    server.ingest(org, 2)
    with server.client(server.token(org)) as client:
        found = client.get(f"/api/v1/orgs/{org}/requests/{request_id}").json()
        assert client.get(f"/api/v1/orgs/{org}/requests/not-a-request").status_code == 404
        assert client.get(f"/api/v1/orgs/{org}/traces/{'0' * 31}1").json()["events"] == []
        assert client.get(f"/api/v1/orgs/{org}/traces/xyz").status_code == 404
    assert [event["event_id"] for event in found["events"]] == ids
    recorded = [event["attributes"]["otel_audit.filters"] for event in searches(server, org)]
    assert {"request": [request_id]} in recorded


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("limit=1&limit=2", "limit"),
        ("colour=red", "colour"),
        ("category=nonsense", "category"),
        ("ip=999.1.1.1", "ip"),
        ("range=24h&from=2026-01-01", "range"),
        ("from=yesterday", "from"),
        ("not.user=x", "not.user"),
        ("format=csv", "format"),
        ("user=" + "x" * 600, "user"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_named(
    server: QueryServer, org: str, query: str, parameter: str
) -> None:
    with server.client(server.token(org)) as client:
        answered = client.get(f"/api/v1/orgs/{org}/events?{query}")
    assert answered.status_code == 400
    assert answered.headers["content-type"] == "application/problem+json"
    problem = answered.json()
    assert problem["parameter"] == parameter
    assert problem["request_id"] == answered.headers["x-request-id"]
    assert problem["detail"]
    assert searches(server, org) == []


@pytest.mark.parametrize("query", ["cursor=nonsense", "as_of=!!", "q=%ff", "&".join(["q=x"] * 200)])
def test_a_query_that_cannot_be_read_is_refused(server: QueryServer, org: str, query: str) -> None:
    with server.client(server.token(org)) as client:
        answered = client.get(f"/api/v1/orgs/{org}/events?{query}")
    assert answered.status_code == 400
    assert answered.json()["hint"]


def test_every_answer_carries_protective_headers_and_a_request_id(server: QueryServer) -> None:
    mine = uuid7()
    with server.client(server.token("acme")) as client:
        for path in ("/api/v1/orgs/acme/events", "/healthz", "/nothing/here", "/openapi.json"):
            answered = client.get(path, headers={"x-request-id": mine})
            assert answered.headers["x-request-id"] == mine
            assert answered.headers["cache-control"] == "no-store"
            assert answered.headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in answered.headers["content-security-policy"]
            assert answered.headers["cross-origin-resource-policy"] == "same-origin"
            other = client.get(path, headers={"x-request-id": "1\r2 not a uuid"[2:]})
            assert other.headers["x-request-id"] not in (mine, "2 not a uuid")


def test_a_session_cookie_reads_like_a_token(server: QueryServer, org: str) -> None:
    services = server.services
    principal = services.tickets.redeem(services.tickets.create(org, "ada@example.com", "admin"))
    cookie = services.sessions.create(principal)
    with server.client(cookie=f"otel_audit_session={cookie}") as client:
        assert client.get(f"/api/v1/orgs/{org}/events").status_code == 200
        # A header that is not believed is not made up for by a cookie that is.
        refused = client.get(f"/api/v1/orgs/{org}/events", headers={"authorization": "Bearer x"})
        assert refused.status_code == 401
        services.sessions.end(cookie)
        assert client.get(f"/api/v1/orgs/{org}/events").status_code == 401


def test_a_session_id_is_never_written_into_the_record_of_a_search(server: QueryServer, org: str) -> None:
    with server.client(server.token(org)) as client:
        assert (
            client.get(f"/api/v1/orgs/{org}/events", params={"session": "sess-8f2b61c0"}).status_code == 200
        )
    assert "sess-8f2b61c0" not in str(server.trail(org))


def test_a_limit_out_of_range_is_told_the_range(server: QueryServer, org: str) -> None:
    with server.client(server.token(org)) as client:
        for limit in ("0", "1001", "many"):
            problem = client.get(f"/api/v1/orgs/{org}/events", params={"limit": limit})
            assert (problem.status_code, "from 1 to 1000" in problem.json()["detail"]) == (400, True)
