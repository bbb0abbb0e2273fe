"""Streaming a whole search as a file, in constant memory."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from otel_audit.query_service.api.call import Call
from otel_audit.query_service.api.edge.boundary import AnswerAborted
from otel_audit.query_service.api.guard import refuse
from otel_audit.query_service.api.problems import Problem
from otel_audit.query_service.export import MEDIA_TYPES, ExportStream, export
from otel_audit.query_service.export_rate import ExportLimited, ExportPermit, Outcome

logger = logging.getLogger(__name__)

# A client that takes nothing for this long only keeps one of the organization's two places.
STALLED_S: Final = 120.0


async def export_events(request: Request, call: Call) -> Response:
    """The whole filter as a file. 429 past the organization's rate; only finished exports count."""
    file_format = call.own["format"]
    services = call.services
    permit = await _permit(request, call)
    opened = False
    try:
        await call.record("export", {"filters": call.filters_asked(), "format": file_format})
        stream = await services.work.step(
            export, services.engine, services.source, call.org, call.filters, file_format
        )
        # The first chunk of a CSV is its header; what fails before the second still has an answer of its own.
        chunks = [await services.work.step(next, stream, None) for _ in range(2)]
        opened = True
    finally:
        if not opened:
            await _finish(call, permit, "failed")
    name = f"audit-{call.org}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.{file_format}"
    return ExportResponse(call, permit, chunks, stream, file_format, name)


class ExportResponse(Response):
    """Sends chunks as they are made; the connection is cut when the rest cannot be made."""

    def __init__(
        self,
        call: Call,
        permit: ExportPermit,
        first: Sequence[bytes | None],
        rest: ExportStream,
        file_format: str,
        file_name: str,
    ) -> None:
        self._call, self._permit, self._first, self._rest = call, permit, first, rest
        self.status_code = 200
        self.media_type = MEDIA_TYPES[file_format]
        self.background = None
        self.body = b""
        headers = {"Content-Disposition": f'attachment; filename="{file_name}"'}
        if rest.partial:
            # A file has no place to say that damaged files are missing from it.
            headers["X-Audit-Partial"] = str(len(rest.partial))
        self.init_headers(headers)
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        outcome: Outcome = "cancelled"
        stalled = False
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(_watch, receive, group.cancel_scope)
                try:
                    await self._send_all(send)
                    outcome = "done"
                except TimeoutError:
                    stalled = True
                except (ClientDisconnect, OSError):
                    pass
                except Exception as error:  # noqa: BLE001 - whatever it is, the file must not look whole
                    outcome = "failed"
                    # The text of an engine's error may quote an event.
                    logger.error("an export broke off: %s", type(error).__qualname__)
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self._call.services.work.step(self._rest.close)
                await _finish(self._call, self._permit, outcome)
        if outcome == "failed" or stalled:
            # Never an error in the body: a cut connection is what every client takes for a broken download.
            raise AnswerAborted("an export broke off")

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        for chunk in self._first:
            await _send(send, chunk)
        more = self._first[-1] is not None
        while more:
            chunk = await self._call.services.work.step(next, self._rest, None)
            await _send(send, chunk)
            more = chunk is not None
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send(send: Send, chunk: bytes | None) -> None:
    if chunk is not None:
        with anyio.fail_after(STALLED_S):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _permit(request: Request, call: Call) -> ExportPermit:
    services = call.services
    tenant = await services.work.lookup(services.tenants.show, call.org)
    try:
        return await services.work.lookup(
            services.export_limiter.start, call.org, call.principal.user, tenant.export_rate
        )
    except ExportLimited as error:
        await refuse(request, services, call.org, call.principal, 429, "export rate")
        raise Problem(
            429,
            error.message,
            hint=error.hint,
            headers={"Retry-After": str(max(1, int(-(-error.retry_after_s // 1))))},
        ) from error


async def _finish(call: Call, permit: ExportPermit, outcome: Outcome) -> None:
    call.services.metrics.exports.labels(outcome).inc()
    with anyio.CancelScope(shield=True):
        await call.services.work.lookup(permit.finish, outcome)


async def _watch(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
