"""The outermost layer: request id, protective headers, and the one edge where errors become answers."""

from __future__ import annotations

import logging
import traceback
from typing import Final

import anyio
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from otel_audit.query_service.api.edge.caller import assign_request_id
from otel_audit.query_service.api.edge.work import ClientGone
from otel_audit.query_service.api.problems import Problem, problem_of, problem_response

logger = logging.getLogger(__name__)

PROTECTIVE_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_STARTS: Final = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
_CLOSING_S: Final = 0.01
_CLOSE_INTERNAL_ERROR: Final = 1011


class AnswerAborted(Exception):
    """The answer broke off after its start: the connection is cut, so that nobody takes it as whole."""


class Boundary:
    """ASGI middleware around every route. Nothing an exception carries reaches the client or the log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request_id = assign_request_id(scope)
        started = False

        async def guarded(message: Message) -> None:
            nonlocal started
            if message["type"] in _STARTS:
                started = True
                _protect(message, request_id)
            await send(message)

        try:
            await self._app(scope, receive, guarded)
        except AnswerAborted:
            raise
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001 - the edge: whatever happens becomes an answer
            problem = problem_of(error)
            if problem.status == 500:
                logger.error("request %s failed: %s", request_id, _describe(error))
            if not started:
                await _refuse(problem, request_id, scope, receive, guarded)
            elif scope["type"] == "websocket":
                await guarded({"type": "websocket.close", "code": _CLOSE_INTERNAL_ERROR, "reason": ""})
            else:
                raise AnswerAborted(f"request {request_id} broke off") from None


def _protect(message: Message, request_id: str) -> None:
    headers = MutableHeaders(raw=list(message.get("headers", [])))
    headers["X-Request-ID"] = request_id
    if message["type"] != "websocket.accept":
        for name, value in PROTECTIVE_HEADERS.items():
            headers.setdefault(name, value)
    message["headers"] = headers.raw


async def _refuse(problem: Problem, request_id: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        # Without the denial extension the handshake can only be closed; the code tells what HTTP would have.
        await send({"type": "websocket.close", "code": 4000 + problem.status, "reason": ""})
        return
    await problem_response(problem, request_id)(scope, receive, send)
    if scope["type"] == "websocket":
        # Until its transport is closed uvicorn takes a refused handshake for a forgotten one and logs that.
        await anyio.sleep(_CLOSING_S)


def _describe(error: Exception) -> str:
    """Type and place of an error without its text, which may quote an event or a query's literals."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    places = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__module__}.{type(error).__qualname__} at {places}"
