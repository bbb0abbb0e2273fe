"""No record, no answer; and no query string that brings the server down."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_audit.instrumentation.ids import uuid7
from otel_audit.query_service.api.routes import ROUTES
from otel_audit.query_service.filters import NAMES
from tests.support.server import QueryServer


def test_what_cannot_be_recorded_is_not_answered(tmp_path: Path) -> None:
    server = QueryServer(tmp_path / "data").start()
    try:
        server.core.tenants.add("acme")
        [event_id] = server.ingest("acme", message="the payroll of March")
        with server.client(server.token("acme")) as client:
            assert client.get(f"/api/v1/orgs/acme/events/{event_id}").status_code == 200
            server.lose_store()
            for path in ("/events", f"/events/{event_id}", "/histogram", "/facets", "/export?format=csv"):
                refused = client.get(f"/api/v1/orgs/acme{path}")
                assert refused.status_code == 503, path
                assert int(refused.headers["retry-after"]) >= 1
                assert refused.headers["content-type"] == "application/problem+json"
                assert "payroll" not in refused.text
    finally:
        server.stop()


OWN = ["limit", "cursor", "as_of", "by", "buckets", "colour"]
HOSTILE = ["'", '"', "\\", "%", "*", "../", "$1", "{v}", "; DROP TABLE x", "0", "1e999", "24h"]
PATHS = [route.path for route in ROUTES if route.method == "GET" and "{org}" in route.path]
_names = st.sampled_from([*NAMES, *OWN]) | st.text(max_size=8)
_values = st.text(max_size=20) | st.lists(st.sampled_from(HOSTILE), max_size=4).map("".join)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(PATHS), query=st.lists(st.tuples(_names, _values), max_size=4))
def test_no_query_string_is_an_error_of_the_server(
    server: QueryServer, path: str, query: list[tuple[str, str]]
) -> None:
    for name in ("{event_id}", "{request_id}", "{trace_id}"):
        path = path.replace(name, uuid7())
    with server.client(server.token("acme")) as client:
        answered = client.get(path.replace("{org}", "acme"), params=urlencode(query))
    assert answered.status_code in (200, 400, 404, 429)
