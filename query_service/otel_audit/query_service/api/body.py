"""JSON bodies of requests: bounded, of the right type, and of exactly the fields there are."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from starlette.requests import Request

from otel_audit.query_service.api.problems import Problem

T = TypeVar("T", bound=msgspec.Struct)


async def read_body(
    request: Request, shape: type[T], *, bytes_max: int, example: str, declared: bool = False
) -> T:
    """The request's JSON body as a `shape`. Raises Problem 400 (hint: `example`), 413, 415.

    declared: whether it must say that it is JSON, which no form of another site can make a browser do.
    """
    if (
        declared
        and request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json"
    ):
        raise Problem(415, "The body is not declared as JSON.", hint="Send Content-Type: application/json.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > bytes_max:
            raise Problem(413, "The body is too large.", hint=f"At most {bytes_max} bytes.")
    try:
        return msgspec.json.decode(bytes(body), type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "The body cannot be used.", hint=f"Send {example} as JSON.") from error
