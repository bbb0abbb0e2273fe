"""Sockets and HTTP servers: bound first, so that a taken port is an error before anything starts."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Generator

import uvicorn
from starlette.types import ASGIApp

from otel_audit.instrumentation.errors import AuditError

from .bounded_http import BoundedHttp


class PortTaken(AuditError):
    """A listener's address is in use or not this machine's."""


def bind(address: str, setting: str) -> socket.socket:
    """A listening TCP socket for `HOST:PORT`. Raises PortTaken."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio sets TCP_NODELAY only then: without it an answer waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise PortTaken(
            f"cannot listen on {address}: {error.strerror}",
            hint=f"choose another with --{setting.replace('_', '-')} HOST:PORT; port 0 picks a free one",
        ) from error
    listener.setblocking(False)
    return listener


def address_of(listener: socket.socket) -> str:
    """`HOST:PORT` as bound, IPv6 in brackets."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class HttpServer(uvicorn.Server):
    """uvicorn that leaves signals to the one place that stops all listeners in order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def http_server(app: ASGIApp, *, drain_s: int = 10, protocol: type[BoundedHttp] = BoundedHttp) -> HttpServer:
    """A server for `app`; it never rewrites the peer's address, never names itself, never logs requests."""
    config = uvicorn.Config(
        app,
        http=protocol,
        lifespan="off",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=drain_s,
        ws_max_size=64 << 10,  # clients only ever send control frames
        ws_per_message_deflate=False,
    )
    return HttpServer(config)
