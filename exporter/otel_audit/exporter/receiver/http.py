"""OTLP over HTTP: `POST /v1/logs`, protobuf and JSON, as a Starlette application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anyio
from anyio.to_thread import run_sync
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from .admission import Admission
from .compression import encoding_of, unpack
from .errors import IngestError, Refusal, Throttled, UnsupportedMedia, http_refusal, refusal_of
from .ingest import Ingest
from .keys import IngestKey
from .limits import ByteBudget, IngestLimits, Share
from .otlp_json import parse_json
from .wire import parse_protobuf

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
_RESPONSES: Final = {PROTOBUF: ExportLogsServiceResponse().SerializeToString(), JSON: b"{}"}
_PARSERS: Final[dict[str, Callable[[bytes, IngestLimits], ExportLogsServiceRequest]]] = {
    PROTOBUF: parse_protobuf,
    JSON: parse_json,
}


def otlp_http_app(ingest: Ingest, admission: Admission, limits: IngestLimits | None = None) -> Starlette:
    """The application of the OTLP/HTTP listener. limits: those of `ingest` when left out."""
    endpoint = _Logs(ingest, admission, limits or ingest.limits)
    app = Starlette(
        routes=[Route("/v1/logs", endpoint.export, methods=["POST"])],
        exception_handlers={HTTPException: _not_served},
    )
    # Some OTLP clients take a redirect for success.
    app.router.redirect_slashes = False
    return app


class _Logs:
    """Reads a body on the event loop, and does all that blocks in a bounded number of threads."""

    def __init__(self, ingest: Ingest, admission: Admission, limits: IngestLimits) -> None:
        self._ingest = ingest
        self._admission = admission
        self._limits = limits
        self._threads = anyio.CapacityLimiter(limits.threads)
        # Key lookups have threads of their own: they must not wait behind decoding.
        self._lookups = anyio.CapacityLimiter(limits.threads)
        self._budget = ByteBudget(limits.in_flight_bytes_max)

    async def export(self, request: Request) -> Response:
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            peer = request.client.host if request.client else None
            authorization = request.headers.get("authorization")
            # The key first: nobody without one makes the server read a body.
            key = await run_sync(self._admission.admit, authorization, peer, limiter=self._lookups)
            if media not in _PARSERS:
                raise UnsupportedMedia("unknown Content-Type", hint=f"use {PROTOBUF} or {JSON}")
            encoding = encoding_of(request.headers.get("content-encoding"))
            with self._budget.request() as share:
                body = await self._read(request, share)
                await run_sync(self._store, body, media, encoding, key, share, limiter=self._threads)
        except Exception as error:  # noqa: BLE001 - the edge: every error has its answer here
            return _refused(refusal_of(error), media)
        return Response(_RESPONSES[media], media_type=media)

    async def _read(self, request: Request, share: Share) -> bytes:
        declared = request.headers.get("content-length", "")
        if declared.isascii() and declared.isdigit():
            self._limits.check_body(int(declared[:20]))
        pieces: list[bytes] = []
        try:
            with anyio.fail_after(self._limits.body_read_s_max):
                async for piece in request.stream():
                    share.take(len(piece))
                    self._limits.check_body(share.taken)
                    pieces.append(piece)
        except TimeoutError as error:
            raise Throttled("the body came too slowly", hint="send smaller batches") from error
        except ClientDisconnect as error:
            raise IngestError("the client went away") from error
        return b"".join(pieces)

    def _store(self, body: bytes, media: str, encoding: str, key: IngestKey, share: Share) -> None:
        plain = unpack(body, encoding, self._limits, share)
        self._ingest.accept(_PARSERS[media](plain, self._limits), key)


async def _not_served(request: Request, error: Exception) -> Response:
    """Unknown paths and methods, answered in the form OTLP clients read."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    status = error.status_code if isinstance(error, HTTPException) else 500
    message = {404: "only POST /v1/logs is served here", 405: "only POST is allowed"}.get(status, "refused")
    response = _refused(http_refusal(status, message), media)
    if isinstance(error, HTTPException) and error.headers:
        response.headers.update(error.headers)
    return response


def _refused(refusal: Refusal, media: str) -> Response:
    headers = {}
    if refusal.retry_after_s is not None:
        headers["retry-after"] = str(refusal.retry_after_s)
    if refusal.http_status == 401:
        headers["www-authenticate"] = "Bearer"
    if refusal.http_status in (401, 413, 415, 429):
        # The body may not have been read: what is left of it is no next request.
        headers["connection"] = "close"
    if media == PROTOBUF:
        return Response(refusal.status.SerializeToString(), refusal.http_status, headers, PROTOBUF)
    return Response(MessageToJson(refusal.status, indent=None), refusal.http_status, headers, JSON)
