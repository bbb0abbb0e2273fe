"""What nobody foresaw: recorded as `system.error`, answered with 500."""

from __future__ import annotations

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from otel_audit.instrumentation import audit


class FailureMiddleware:
    """Inside AuditMiddleware, so that the event of a failure knows the request it happened in."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except Exception as error:  # noqa: BLE001 - this is the edge where any failure becomes an answer
            audit.record(
                "system",
                "error",
                message=f"{type(error).__name__} while serving {scope.get('method')} {scope.get('path')}",
                http_status=500,
                attributes={"error.type": type(error).__name__, "error.where": _where(error)},
            )
            if not started:
                await JSONResponse({"error": "something went wrong"}, 500)(scope, receive, send)


def _where(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}" if trace is not None else ""
