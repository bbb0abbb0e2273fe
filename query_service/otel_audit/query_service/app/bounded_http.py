"""HTTP/1.1 that bounds what a client may send, and how long it may take, before the application is asked.

uvicorn's parser keeps a request's head until it is whole, however long it grows and however long that takes.
One rule is enough against it, for heads, chunk framing and trailers alike: of the bytes that came since the
last whole head or piece of a body, at most HEAD_BYTES_MAX are taken.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

# What browsers send with cookies and a long query is under 16 KiB; proxies in front allow 8 to 64 KiB.
HEAD_BYTES_MAX: Final = 64 << 10
# A browser with a proxy in front sends about 40. They cost 100 bytes each, however short they are.
HEADERS_MAX: Final = 256
# Requests of one connection that wait for their turn: nobody's client sends more than one ahead.
PIPELINED_MAX: Final = 16
_TOO_LARGE: Final = "The request line and headers are too large."


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol with bounds.

    head_s: from the connection, or the first byte of a further request, to the end of its headers.
    body_s: from there to the end of the body; more than the receiver's own limit, which answers more kindly.
    linger_s: how long a refused client may take to read why, before the connection is cut.
    """

    head_s: float = 10.0
    body_s: float = 120.0
    linger_s: float = 1.0

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._deadline: asyncio.TimerHandle | None = None
        self._refused = False
        self._progress = False
        self._since_progress_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_within(self.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_within(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest and not self._refused and not self._is_over():
            size = HEAD_BYTES_MAX - self._since_progress_bytes
            piece, rest = rest[:size], rest[size:]
            self._progress = False
            super().data_received(bytes(piece))
            self._since_progress_bytes = 0 if self._progress else self._since_progress_bytes + len(piece)
            if self._since_progress_bytes >= HEAD_BYTES_MAX or len(self.headers or ()) > HEADERS_MAX:
                self._refuse(431, _TOO_LARGE)
            elif len(self.pipeline) > PIPELINED_MAX:
                self._refuse(400, "Too many requests at once.")
        if self._deadline is None and self._is_idle() and not self._is_over():
            self._expect_within(self.head_s)

    def on_headers_complete(self) -> None:
        self._progress = True
        if len(self.headers) > HEADERS_MAX:
            self._refuse(431, _TOO_LARGE)
        if not self._refused:
            self._expect_within(self.body_s)
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._progress = True
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._refused:
            self._expect_within(None)
            super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        # From here on it is the other protocol's connection.
        self._expect_within(None)
        super().handle_websocket_upgrade()

    def timeout_keep_alive_handler(self) -> None:
        self._close()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _is_over(self) -> bool:
        """Closed, or another protocol's since an upgrade."""
        return self.transport.is_closing() or self.transport.get_protocol() is not self

    def _expect_within(self, seconds: float | None) -> None:
        """Close the connection unless this is called again in time; None: nothing is expected."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._too_late)

    def _too_late(self) -> None:
        self._deadline = None
        if self._since_progress_bytes:
            self._refuse(408, "The request came too slowly.")
        else:
            self._close()

    def _refuse(self, status: int, reason: str) -> None:
        """Answer and close. What still comes is thrown away: cutting it off would take the answer with it."""
        if self._refused:
            return
        self._refused = True
        self._unset_keepalive_if_required()
        if not self._is_idle():
            # An answer under way is not to be mixed with this one.
            self._close()
            return
        text = f"{reason}\n".encode()
        head = b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head % len(text) + text)
        self._expect_within(None)
        self._deadline = self.loop.call_later(self.linger_s, self._close)

    def _close(self) -> None:
        """Close, at the latest when a client that reads nothing has had its time."""
        if not self.transport.is_closing():
            self.transport.close()
            self.loop.call_later(self.linger_s, self.transport.abort)
