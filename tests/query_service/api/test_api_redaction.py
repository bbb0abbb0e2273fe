"""Redaction as the API shows it: rules, the organization's policy, and what was hit in a range."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from otel_audit.exporter.redaction.catalogue import catalogue
from otel_audit.exporter.redaction.tenant_policy import parse_policy
from otel_audit.query_service.metrics import metrics_app
from tests.support.asgi_server import served
from tests.support.server import QueryServer


def shown(server: QueryServer, org: str, role: str = "admin", **query: str) -> dict[str, Any]:
    with server.client(server.token(org, role)) as client:
        answered = client.get(f"/api/v1/orgs/{org}/redaction", params=query)
    assert answered.status_code == 200, answered.text
    return dict(answered.json())


def test_hits_are_counted_over_hot_and_sealed_rows_of_the_range(server: QueryServer, org: str) -> None:
    server.ingest(org, 3, message="mail ada@example.com and bob@example.com")
    server.core.store.seal(org)
    server.ingest(org, 1, message="mail ada@example.com", attributes={"password": "x1y2z3w4"})
    answer = shown(server, org)
    assert answer["hits"]["email"] == 7
    assert answer["hits"]["password"] == 1
    rules = {rule["id"]: rule for rule in answer["rules"] if rule["kind"] == "rule"}
    assert rules["email"]["hits"] == 7
    assert shown(server, org, **{"from": "2020-01-01", "to": "2020-01-02"})["hits"] == {}


def test_an_auditor_sees_rules_versions_and_policy_and_the_view_is_an_event(
    server: QueryServer, org: str
) -> None:
    policy = parse_policy('[fields]\nuser_id = "mask"\n[rules]\nemail = "keep"\nphone = "redact"')
    server.core.tenants.set(org, redaction=policy)
    server.ingest(org, user_id="ada", message="mail ada@example.com")
    answer = shown(server, org, "auditor", range="1h")
    assert answer["policy"] == policy.as_dict()
    assert answer["versions"]["policy"] == policy.version
    stored = [e for e in server.trail(org) if e["message"] == "mail ada@example.com"]
    assert [e["policy_version"] for e in stored] == [answer["versions"]["stored"]]
    assert answer["hits"]["policy_mask"] >= 1
    rules = {(rule["kind"], rule["id"]): rule for rule in answer["rules"]}
    assert len(rules) == len(catalogue())
    assert rules["rule", "email"]["enabled"] is False
    assert rules["rule", "phone"]["replacement"] == "marker"
    assert rules["rule", "jwt"]["description"] == "text with eyj; checked by jwt"
    assert "password" in rules["name", "password"]["description"]
    views = [e for e in server.trail(org) if e["http_route"] == "/api/v1/orgs/{org}/redaction"]
    assert [(v["category"], v["action"], v["resource_type"]) for v in views] == [
        ("data_access", "read", "redaction")
    ]
    assert views[0]["http_status"] == 200


@pytest.mark.parametrize(
    ("query", "parameter"), [({"range": "x"}, "range"), ({"user": "ada"}, "user"), ({"to": "now"}, "to")]
)
def test_what_it_does_not_know_is_refused(
    server: QueryServer, org: str, query: dict[str, str], parameter: str
) -> None:
    with server.client(server.token(org)) as client:
        answered = client.get(f"/api/v1/orgs/{org}/redaction", params=query)
    assert answered.status_code == 400
    assert answered.json()["parameter"] == parameter


def test_metrics_count_engine_errors_from_zero(server: QueryServer) -> None:
    with served(metrics_app(server.services.metrics.registry)) as address:
        text = httpx.get(f"http://{address}/metrics").text
    assert 'otel_audit_redactions_total{rule="engine_error"} ' in text
