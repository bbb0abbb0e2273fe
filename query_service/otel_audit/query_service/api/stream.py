"""The live stream: one JSON message an event, over a WebSocket."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, cast
from urllib.parse import urlsplit

import anyio
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from otel_audit.query_service.api.call import Call
from otel_audit.query_service.api.edge.encoding import encode_json
from otel_audit.query_service.api.guard import refuse, still_valid
from otel_audit.query_service.api.problems import Problem, sentence, unavailable
from otel_audit.query_service.live import LiveStream, Message, PositionTooOld, TooManyStreams
from otel_audit.query_service.position import decode_position
from otel_audit.query_service.services import Services

CLOSE_GOING_AWAY: Final = 1001
CLOSE_UNAUTHENTICATED: Final = 4401
CLOSE_POSITION_TOO_OLD: Final = 4410

# A revoked credential stops reading within a second; a look is one cached look-up.
REVALIDATE_S: Final = 0.5
# A spent ticket cannot be looked at again, so no stream outlives a working day; clients resume with `after`.
LIFETIME_MAX_S: Final = 8 * 3600.0

# Streams are long: a place is free again when somebody closes a page.
RETRY_STREAM_S: Final = 30


async def stream_events(socket: WebSocket, call: Call) -> None:
    """Send every matching event from now on, or from after a position, until either side ends it."""
    services, after = call.services, call.own.get("after")
    await _check_origin(socket, call)
    if after is not None:
        decode_position(after, what="after")
    await call.record("stream", {"filters": call.filters_asked(), "resumed": after is not None})
    try:
        # Opened before the handshake is answered: what happens after it is never missed.
        async with services.hub.open(call.org, call.filters, after) as stream:
            await socket.accept()
            services.metrics.stream_subscribers.inc()
            try:
                code = await _run(socket, call, stream)
            finally:
                services.metrics.stream_subscribers.dec()
    except PositionTooOld:
        # Browsers show a page no status of a refused handshake, only close codes.
        await socket.accept()
        code = CLOSE_POSITION_TOO_OLD
    except TooManyStreams as error:
        raise unavailable(
            sentence(error.message), hint=sentence(error.hint), retry_after_s=RETRY_STREAM_S
        ) from error
    if code is not None:
        await _close(socket, code)


async def _run(socket: WebSocket, call: Call, stream: LiveStream) -> int | None:
    """Feed the socket until something ends it; the close code, None when the client has gone."""
    code: int | None = None

    async def end_when_gone(scope: anyio.CancelScope) -> None:
        # Clients have nothing to say here: what they send is read, so that it cannot pile up, and dropped.
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass
        scope.cancel()

    async def end_when_invalid(scope: anyio.CancelScope) -> None:
        nonlocal code
        with anyio.move_on_after(LIFETIME_MAX_S):
            while await still_valid(socket, call.services, call.principal):
                await anyio.sleep(REVALIDATE_S)
        code = CLOSE_UNAUTHENTICATED
        scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(end_when_gone, group.cancel_scope)
        group.start_soon(end_when_invalid, group.cancel_scope)
        try:
            await _feed(socket, call, stream)
            code = CLOSE_GOING_AWAY
        except (WebSocketDisconnect, WebSocketDisconnected, OSError):
            code = None
        group.cancel_scope.cancel()
    return code


async def _feed(socket: WebSocket, call: Call, stream: LiveStream) -> None:
    dropped = call.services.metrics.stream_dropped
    # Closed here rather than by the collector, so that its threads end before the mailbox goes.
    async with aclosing(cast(AsyncGenerator[Message, None], stream.__aiter__())) as messages:
        async for message in messages:
            if message["type"] == "gap":
                dropped.inc(message["dropped"])
            await socket.send_text(encode_json(message).decode())


async def _close(socket: WebSocket, code: int) -> None:
    try:
        await socket.close(code)
    except (WebSocketDisconnect, WebSocketDisconnected, OSError):
        return


async def _check_origin(socket: WebSocket, call: Call) -> None:
    """Refuse another site's page.

    Browsers always send Origin with a handshake and let no page forge it; programs send none.
    """
    origins = socket.headers.getlist("origin")
    if not origins or (len(origins) == 1 and is_allowed_origin(origins[0], socket, call.services)):
        return
    await refuse(socket, call.services, call.org, call.principal, 403, "origin")
    raise Problem(
        403,
        "This page may not open the stream.",
        hint="Serve it from the console's own address, or list its origin in http.allowed_origins.",
    )


def is_allowed_origin(origin: str, socket: WebSocket, services: Services) -> bool:
    """Whether a page of `origin` may open the stream: the console's own address or one that is listed."""
    settings = services.settings
    listed = {url.rstrip("/").lower() for url in (settings.public_url, *settings.allowed_origins) if url}
    if origin.lower() in listed:
        return True
    try:
        page = urlsplit(origin)
    except ValueError:
        return False
    # A page of plain http may not use a stream that is encrypted: whoever is on its way could have made it.
    schemes = ("https",) if socket.url.scheme == "wss" else ("http", "https")
    return page.scheme in schemes and page.netloc.lower() == socket.headers.get("host", "").lower() != ""
