"""The OpenAPI 3.1 description, generated from the route table, the filter table and the column table."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from otel_audit.query_service.api.guard import SESSION_COOKIE
from otel_audit.query_service.api.parameters import Parameter
from otel_audit.query_service.api.problems import MEDIA_TYPE as PROBLEM
from otel_audit.query_service.api.routes import ROUTES, ApiRoute
from otel_audit.query_service.api.schemas import SCHEMAS, ref
from otel_audit.query_service.export import MEDIA_TYPES
from otel_audit.query_service.filters import FILTERS, FilterSpec

_IN_PATH: Final = re.compile(r"{(\w+)}")
_PATH_MEANINGS: Final = {
    "org": "id of the organization",
    "event_id": "UUID of the event",
    "name": "name of the hold",
    "request_id": "UUID of the user's request",
    "trace_id": "32 hex digits",
}
_STATUSES: Final = {
    "organization": (400, 401, 403, 404, 405, 500, 503),
    "operator": (400, 401, 403, 404, 405, 500, 503),
    "open": (400, 405, 500),
}


def describe() -> dict[str, Any]:
    """The whole description as plain data."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        method = "get" if route.method == "WS" else route.method.lower()
        paths.setdefault(route.path, {})[method] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "otel-audit query API",
            "version": version("otel-audit"),
            "description": "Search, watch and export the audit trail of one organization. "
            "Every access, and every refusal, is itself an event of that trail.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "responses": {"Problem": _answer({PROBLEM: ref("Problem")}, "refused or failed")},
            "parameters": _shared_parameters(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE},
                "ticket": {"type": "apiKey", "in": "query", "name": "ticket"},
            },
        },
    }


def openapi_route() -> Route:
    """`GET /openapi.json`; the same for everybody, so it is made once."""
    body = json.dumps(describe(), ensure_ascii=False).encode()

    async def openapi(_request: Request) -> Response:
        return Response(body, media_type="application/json")

    return Route("/openapi.json", openapi)


def _operation(route: ApiRoute) -> dict[str, Any]:
    statuses = set(_STATUSES[route.access])
    if route.takes is not None:
        statuses |= {413} if route.access == "operator" else {413, 415}
    if route.answers == "file":
        statuses |= {429}
    elif route.need == "settings":
        statuses |= {409}
    elif route.filtered or route.answers == "Redaction" or "{" in route.path.rpartition("/")[2]:
        statuses |= {504}
    operation: dict[str, Any] = {
        "operationId": route.endpoint.__name__,
        "summary": route.summary,
        "parameters": [*_path_parameters(route.path), *_query_parameters(route)],
        "responses": {
            **_success(route),
            **{str(status): _refusal(status) for status in sorted(statuses)},
        },
        "security": _security(route),
    }
    if route.takes is not None:
        body = {"application/json": {"schema": ref(route.takes)}}
        operation["requestBody"] = {"required": True, "content": body}
    if route.method == "WS":
        operation["x-websocket-message"] = ref(route.answers)
        operation["description"] = (
            "A WebSocket. Close codes: 1001 the server stops, 4401 the credential has ended, "
            "4410 `after` is too old: search instead."
        )
    return operation


def _success(route: ApiRoute) -> dict[str, Any]:
    if route.method == "WS":
        return {"101": {"description": "the stream is open"}}
    if route.answers == "file":
        text: dict[str, Any] = {"type": "string"}
        return {"200": _answer(dict.fromkeys(MEDIA_TYPES.values(), text), "the file")}
    status = "201" if route.method == "POST" else "200"
    found = {status: _answer({"application/json": ref(route.answers)}, route.summary)}
    if route.path == "/readyz":
        found["503"] = _answer({"application/json": ref(route.answers)}, "ingest cannot acknowledge")
    return found


def _answer(content: dict[str, dict[str, Any]], meaning: str) -> dict[str, Any]:
    return {
        "description": meaning,
        "headers": {"X-Request-ID": {"schema": {"type": "string", "format": "uuid"}}},
        "content": {media: {"schema": schema} for media, schema in content.items()},
    }


def _refusal(status: int) -> dict[str, Any]:
    if status in (429, 503):
        return {
            **_answer({PROBLEM: ref("Problem")}, HTTPStatus(status).phrase),
            "headers": {
                "Retry-After": {"description": "seconds", "schema": {"type": "integer", "minimum": 1}}
            },
        }
    return {"$ref": "#/components/responses/Problem"}


def _security(route: ApiRoute) -> list[dict[str, list[str]]]:
    if route.access == "open":
        return []
    if route.access == "operator":
        return [{"bearer": []}]
    ticket: list[dict[str, list[str]]] = [{"ticket": []}] if route.method == "WS" else []
    return [{"bearer": []}, {"session": []}, *ticket]


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [{"$ref": f"#/components/parameters/{name}"} for name in _IN_PATH.findall(path)]


def _query_parameters(route: ApiRoute) -> list[dict[str, Any]]:
    own = [_own(parameter) for parameter in route.parameters if parameter.name != "ticket"]
    names = [name for spec in FILTERS for name in _names(spec)] if route.filtered else []
    return [*own, *({"$ref": f"#/components/parameters/{_component(name)}"} for name in names)]


def _own(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "query",
        "required": parameter.required,
        "description": parameter.help,
        "schema": dict(parameter.schema),
    }


def _shared_parameters() -> dict[str, Any]:
    shared: dict[str, Any] = {
        name: {
            "name": name,
            "in": "path",
            "required": True,
            "description": meaning,
            "schema": {"type": "string"},
        }
        for name, meaning in _PATH_MEANINGS.items()
    }
    return shared | {_component(name): _filter(spec, name) for spec in FILTERS for name in _names(spec)}


def _names(spec: FilterSpec) -> list[str]:
    return [spec.name, f"not.{spec.name}"] if spec.negatable else [spec.name]


def _component(name: str) -> str:
    return f"filter.{name}"


def _filter(spec: FilterSpec, name: str) -> dict[str, Any]:
    value: dict[str, Any] = {"type": "string"}
    if spec.allowed:
        value["enum"] = list(spec.allowed)
    described: dict[str, Any] = {
        "name": name,
        "in": "query",
        "required": False,
        "description": f"not: {spec.help}" if name.startswith("not.") else spec.help,
        "schema": {"type": "array", "items": value} if spec.repeatable else value,
    }
    return described | ({"style": "form", "explode": True} if spec.repeatable else {})
