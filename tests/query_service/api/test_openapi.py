"""The OpenAPI description: well formed, complete, and true of real answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_audit.exporter.store.schema import VIEW
from otel_audit.query_service.api.openapi import describe
from otel_audit.query_service.api.routes import ROUTES
from otel_audit.query_service.filters import NAMES
from tests.support.server import QueryServer

DOCS = Path(__file__).parents[3] / "docs" / "api.md"


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    return describe()


def _walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from _walk(value)


def _resolve(description: dict[str, Any], node: Any) -> Any:
    while isinstance(node, dict) and "$ref" in node:
        found: Any = description
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


def _operations(description: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_every_reference_leads_somewhere(description: dict[str, Any]) -> None:
    references = [node["$ref"] for node in _walk(description) if "$ref" in node]
    assert references
    for reference in references:
        assert reference.startswith("#/components/")
        assert _resolve(description, {"$ref": reference})


def test_every_operation_is_whole(description: dict[str, Any]) -> None:
    assert description["openapi"] == "3.1.0"
    ids = [operation["operationId"] for _, _, operation in _operations(description)]
    assert len(ids) == len(set(ids)) == len(ROUTES)
    for path, method, operation in _operations(description):
        assert operation["summary"], path
        assert method in ("get", "post", "delete")
        parameters = [_resolve(description, parameter) for parameter in operation["parameters"]]
        keys = [(parameter["name"], parameter["in"]) for parameter in parameters]
        assert len(keys) == len(set(keys))
        in_path = {name for name, place in keys if place == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path))
        assert all(p["required"] for p in parameters if p["in"] == "path")
        assert all(p["schema"]["type"] for p in parameters)
        for status, response in operation["responses"].items():
            assert re.fullmatch(r"[1-5][0-9][0-9]", status)
            assert _resolve(description, response)["description"]
        schemes = {name for requirement in operation["security"] for name in requirement}
        assert schemes <= set(description["components"]["securitySchemes"])


def test_filters_and_columns_are_those_of_their_tables(description: dict[str, Any]) -> None:
    [search] = [op for path, _, op in _operations(description) if path.endswith("/events")]
    names = [_resolve(description, parameter)["name"] for parameter in search["parameters"]]
    assert set(NAMES) <= set(names)
    assert list(description["components"]["schemas"]["Event"]["properties"]) == VIEW.names


def test_the_docs_name_every_route_and_filter() -> None:
    text = DOCS.read_text()
    for route in ROUTES:
        assert f"`{route.method} {route.path}`" in text, route.path
        for parameter in route.parameters:
            assert f"{parameter.name}" in text
    for name in NAMES:
        assert f"`{name.removeprefix('not.')}`" in text, name


def test_answers_fit_their_schemas(server: QueryServer, org: str, description: dict[str, Any]) -> None:
    [event_id] = server.ingest(
        org, user_roles=("admin",), changes={"a": (1, 2)}, message="mail ada@example.com"
    )
    paths = {
        "/events": "Page",
        f"/events/{event_id}": "Event",
        "/histogram": "Histogram",
        "/facets": "Facets",
        f"/requests/{event_id}": "Related",
        f"/traces/{'a' * 32}": "Related",
        "/events?limit=0": "Problem",
        "/holds": "Holds",
        "/redaction": "Redaction",
    }
    server.core.holds.add(org, "a", "because", [("user", "ada")])
    with server.client(server.token(org)) as client:
        assert client.get("/openapi.json").json() == description
        for path, schema in paths.items():
            answer = client.get(f"/api/v1/orgs/{org}{path}").json()
            _check(description, {"$ref": f"#/components/schemas/{schema}"}, answer, path)
        _check(description, {"$ref": "#/components/schemas/Health"}, client.get("/readyz").json(), "/readyz")


TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
}


def _check(description: dict[str, Any], schema: Any, value: Any, where: str) -> None:
    """Enough of JSON Schema for the description's own vocabulary."""
    schema = _resolve(description, schema)
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if value is None:
        assert "null" in types, where
        return
    assert any(isinstance(value, TYPES[name]) for name in types if name != "null"), (where, value)
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        assert set(schema.get("required", ())) <= set(value), where
        more = schema.get("additionalProperties")
        if properties and more is None:
            assert set(value) <= set(properties), where
        for name, item in value.items():
            if name in properties or isinstance(more, dict):
                _check(description, properties.get(name, more), item, f"{where}.{name}")
    elif isinstance(value, list):
        for item in value:
            _check(description, schema["items"], item, f"{where}[]")
