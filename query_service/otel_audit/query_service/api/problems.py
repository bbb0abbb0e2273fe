"""Errors as RFC 9457 problems: the one place where an exception becomes an HTTP status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from otel_audit.exporter.store.errors import StoreUnavailable
from otel_audit.instrumentation.errors import AuditError
from otel_audit.query_service.control.database import ControlUnavailable
from otel_audit.query_service.control.holds import (
    HoldExists,
    HoldReleased,
    InvalidHold,
    NoSuchHold,
    TooManyHolds,
)
from otel_audit.query_service.engine import FilesChanged, QueryFailed, QueryTimeout, QueryTooLarge
from otel_audit.query_service.filters import FilterError
from otel_audit.query_service.position import InvalidPosition
from otel_audit.query_service.self_audit import AuditUnavailable

MEDIA_TYPE: Final = "application/problem+json"

# Long enough that a retrying client does not add to the trouble, short enough that a person waits for it.
_RETRY_AFTER_S: Final = 5


_OF_HOLDS: Final[Mapping[type[AuditError], int]] = {
    InvalidHold: 400,
    NoSuchHold: 404,
    HoldExists: 409,
    HoldReleased: 409,
    TooManyHolds: 409,
}


class Problem(AuditError):
    """An answer other than success, as RFC 9457 describes it.

    status: HTTP status. message: one line for people, never an event's content or a secret.
    headers: added to the answer. members: further members of the JSON object.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        hint: str = "",
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.headers = dict(headers or {})
        self.members = dict(members or {})


def unknown_organization() -> Problem:
    """The same words for an organization that does not exist and for one the caller does not belong to."""
    return Problem(
        404,
        "There is no such organization, or it is not yours.",
        hint="Check the organization in the address and the account you are signed in with.",
    )


def bad_parameter(name: str, message: str, *, hint: str = "") -> Problem:
    """400 for one query parameter."""
    return Problem(400, message, hint=hint, members={"parameter": name})


def unavailable(message: str, *, hint: str = "", retry_after_s: float = _RETRY_AFTER_S) -> Problem:
    """503 with Retry-After, whole seconds, at least 1."""
    seconds = max(1, int(-(-retry_after_s // 1)))
    return Problem(503, message, hint=hint, headers={"Retry-After": str(seconds)})


def problem_of(error: Exception) -> Problem:
    """The problem that answers `error`; what is not foreseen is a bare 500 that says nothing of its text."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, FilterError):
        return Problem(
            400, sentence(error.message), hint=sentence(error.hint), members={"parameter": error.parameter}
        )
    if isinstance(error, QueryFailed):
        return _of_engine(error)
    for kind, status in _OF_HOLDS.items():
        if isinstance(error, kind):
            return Problem(status, sentence(error.message), hint=sentence(error.hint))
    if isinstance(error, InvalidPosition):
        return Problem(400, sentence(error.message), hint=sentence(error.hint))
    if isinstance(error, AuditUnavailable):
        return unavailable(
            "The access could not be recorded, so it is refused.",
            hint="Try again; if it lasts, the server's /readyz says what is wrong.",
            retry_after_s=error.retry_after_s,
        )
    if isinstance(error, StoreUnavailable):
        return unavailable("The store is not available.", hint=error.hint, retry_after_s=error.retry_after_s)
    if isinstance(error, ControlUnavailable):
        # Its own text names a path of the server, which is the operator's to know.
        return unavailable("The control database cannot answer now.", hint="Try again in a moment.")
    if isinstance(error, HTTPException):
        return _of_framework(error)
    return Problem(
        500,
        "The server could not answer.",
        hint="Give the request id to whoever runs the server: its log has the cause.",
    )


def _of_engine(error: QueryFailed) -> Problem:
    message, hint = sentence(error.message), sentence(error.hint)
    if isinstance(error, QueryTimeout):
        return Problem(504, message, hint=hint)
    if isinstance(error, QueryTooLarge | FilesChanged):
        return unavailable(message, hint=hint)
    return Problem(500, message, hint=hint)


def sentence(text: str) -> str:
    """A room's error text as a sentence for people."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".") if text else ""


def _of_framework(error: HTTPException) -> Problem:
    # Starlette's own details may repeat what the client sent, so only the status is taken over.
    details = {
        404: ("There is nothing at this address.", "GET /openapi.json lists every route."),
        405: ("This method is not offered here.", "The Allow header lists those that are."),
    }
    phrase = HTTPStatus(error.status_code).phrase
    message, hint = details.get(error.status_code, (f"{phrase}.", ""))
    return Problem(error.status_code, message, hint=hint, headers=error.headers)


def problem_body(problem: Problem, request_id: str) -> dict[str, Any]:
    """The JSON object of RFC 9457, with `hint` and `request_id`."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.message,
        "hint": problem.hint,
        "request_id": request_id,
        **problem.members,
    }


def problem_response(problem: Problem, request_id: str) -> Response:
    """`problem` as an `application/problem+json` answer."""
    body = json.dumps(problem_body(problem, request_id), ensure_ascii=False, separators=(",", ":"))
    return Response(body.encode(), status_code=problem.status, headers=problem.headers, media_type=MEDIA_TYPE)
