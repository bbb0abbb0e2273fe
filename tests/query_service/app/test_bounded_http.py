"""What a client without a key can make the HTTP listeners hold: little, and not for long."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from otel_audit.query_service.app.bounded_http import HEAD_BYTES_MAX, BoundedHttp
from otel_audit.query_service.app.listeners import HttpServer, address_of, bind, http_server
from tests.support.process import Serve, wait_for

TIMEOUT_S = 20.0
# What one attacker's connection sends if it is let: 7 of them took 2.6 GB.
ATTACK_BYTES = 32 << 20
CONNECTIONS = 7
HOST = b"host: audit\r\n"
GET = b"GET /healthz HTTP/1.1\r\n" + HOST
CHUNKED = b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n"
UPGRADE = (
    b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
ENDLESS = {
    "header": (GET + b"x-long: ", b"a" * 65536),
    "name": (GET, b"a" * 65536),
    "headers": (GET, b"a:\r\n" * 16384),
    "target": (b"GET /", b"a" * 65536),
    "before": (b"", b"\r\n" * 32768),
    "upgrade": (GET + UPGRADE + b"x-long: ", b"a" * 65536),
    "trailer": (CHUNKED + b"1\r\nx\r\n0\r\nx-long: ", b"a" * 65536),
    "extension": (CHUNKED + b"1;", b"a" * 65536),
    "requests": (b"", (GET + b"\r\n") * 1024),
}


class Impatient(BoundedHttp):
    head_s = 0.5
    body_s = 0.5
    linger_s = 0.2

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.timeout_keep_alive = 1


async def _length(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def _headers(request: Request) -> Response:
    return PlainTextResponse(str(len(request.headers)))


async def _large(_request: Request) -> Response:
    return PlainTextResponse("x" * ATTACK_BYTES)


@contextmanager
def serving(protocol: type[BoundedHttp]) -> Iterator[tuple[tuple[str, int], HttpServer]]:
    """A listener as `serve` has them, over an application that reads bodies."""
    app = Starlette(
        routes=[Route("/", _length, methods=["POST"]), Route("/", _headers), Route("/large", _large)]
    )
    server = http_server(app, drain_s=1, protocol=protocol)
    listener = bind("127.0.0.1:0", "http")
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    try:
        wait_for(lambda: server.started)
        host, _, port = address_of(listener).rpartition(":")
        yield (host, int(port)), server
    finally:
        server.should_exit = True
        thread.join(TIMEOUT_S)
        listener.close()


@pytest.fixture
def impatient() -> Iterator[tuple[str, int]]:
    with serving(Impatient) as (address, _):
        yield address


@pytest.fixture
def patient() -> Iterator[tuple[str, int]]:
    with serving(BoundedHttp) as (address, _):
        yield address


def answer(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    pieces = []
    try:
        while piece := connection.recv(65536):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(pieces)


def attack(address: tuple[str, int], start: bytes, endless: bytes) -> bytes:
    """What the server answers to all that it lets itself be sent."""
    with socket.create_connection(address, TIMEOUT_S) as connection:
        sent = 0
        try:
            connection.sendall(start)
            while sent < ATTACK_BYTES:
                sent += connection.send(endless)
        except (ConnectionResetError, BrokenPipeError):
            pass
        return answer(connection)


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    with Serve(tmp_path_factory.mktemp("bounded") / "data") as server:
        yield server


@pytest.mark.parametrize("listener", ["otlp_http", "http", "metrics"])
def test_what_never_ends_costs_every_listener_neither_memory_nor_time(serve: Serve, listener: str) -> None:
    assert serve.process is not None
    host, _, port = serve.addresses[listener].rpartition(":")
    kinds = [*ENDLESS, *["header"] * CONNECTIONS]
    before = usage(serve.process.pid)
    with ThreadPoolExecutor(len(kinds)) as pool:
        tries = {pool.submit(attack, (host, int(port)), *ENDLESS[kind]): kind for kind in kinds}
        replies = [(kind, attempt.result()) for attempt, kind in tries.items()]
    after = usage(serve.process.pid)
    assert after[0] - before[0] < 64 << 20, "memory"
    assert after[1] - before[1] < 5, "processor time"
    # The others had an answer to their first, whole request.
    refused = [reply for kind, reply in replies if kind not in ("trailer", "extension", "requests")]
    assert all(reply.startswith(b"HTTP/1.1 431 ") for reply in refused)
    assert httpx.get(serve.url("/nothing", listener)).status_code in (401, 404)


def usage(pid: int) -> tuple[int, float]:
    """(bytes resident at the most, seconds of processor time) of a process."""
    process = Path(f"/proc/{pid}")
    if not process.exists():
        pytest.skip("the system does not say what a process takes")
    lines = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return int(lines["VmHWM"].split()[0]) << 10, (int(fields[11]) + int(fields[12])) / 100


def test_a_head_just_below_the_bound_is_served_and_one_above_gets_431(patient: tuple[str, int]) -> None:
    for size, status in ((HEAD_BYTES_MAX - 1000, b"200"), (HEAD_BYTES_MAX + 1000, b"431")):
        with socket.create_connection(patient, TIMEOUT_S) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nconnection: close\r\nx: " + b"a" * size + b"\r\n\r\n")
            assert answer(connection).split()[1] == status


def test_a_whole_head_of_many_headers_gets_431(patient: tuple[str, int]) -> None:
    with socket.create_connection(patient, TIMEOUT_S) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 300 + b"\r\nGET / HTTP/1.1\r\n\r\n")
        reply = answer(connection)
    assert reply.startswith(b"HTTP/1.1 431 ")
    assert reply.count(b"HTTP/1.1") == 1


def test_who_sends_nothing_is_let_go_without_a_word(impatient: tuple[str, int]) -> None:
    with socket.create_connection(impatient, TIMEOUT_S) as connection:
        assert answer(connection) == b""


@pytest.mark.parametrize("earlier", [0, 1], ids=["first", "second"])
def test_a_head_that_only_dribbles_in_gets_408(impatient: tuple[str, int], earlier: int) -> None:
    with socket.create_connection(impatient, TIMEOUT_S) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n" * earlier)
        connection.sendall(b"GET / HTTP/1.1\r\n")
        reply = dribble(connection, lambda: b"a: b\r\n")
    assert reply.count(b" 200 OK") == earlier
    assert b"HTTP/1.1 408 " in reply
    assert b"connection: close" in reply


@pytest.mark.parametrize("kind", ["declared", "chunked"])
def test_a_body_that_only_dribbles_in_ends_the_connection(impatient: tuple[str, int], kind: str) -> None:
    start = CHUNKED if kind == "chunked" else b"POST / HTTP/1.1\r\ncontent-length: 1000000\r\n\r\n"
    with socket.create_connection(impatient, TIMEOUT_S) as connection:
        connection.sendall(start)
        assert dribble(connection, lambda: b"1\r\nx\r\n" if kind == "chunked" else b"x") == b""


def dribble(connection: socket.socket, piece: Callable[[], bytes]) -> bytes:
    """A piece every 20 ms until the server closes; what it answered. Fails when it never does."""
    connection.settimeout(0.02)
    received = b""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            connection.sendall(piece())
            got = connection.recv(65536)
        except TimeoutError:
            continue
        except OSError:
            return received
        if not got:
            return received
        received += got
    raise AssertionError("the server waited for ever")


def test_one_who_reads_no_answer_is_cut_off() -> None:
    with serving(Impatient) as (address, server), socket.create_connection(address) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\n\r\n")
        wait_for(lambda: server.server_state.connections)
        wait_for(lambda: not server.server_state.connections)


@pytest.mark.parametrize("chunk_bytes", [1, 7, 65536, 1 << 20])
def test_large_bodies_arrive_whole_in_whatever_pieces(patient: tuple[str, int], chunk_bytes: int) -> None:
    size = 200_000 if chunk_bytes < 100 else 20 << 20
    body = (b"x" * chunk_bytes for _ in range(size // chunk_bytes))
    with httpx.Client(base_url=f"http://{patient[0]}:{patient[1]}", timeout=TIMEOUT_S) as client:
        assert client.post("/", content=body).text == str(size // chunk_bytes * chunk_bytes)
        assert client.post("/", content=b"y" * size).text == str(size)
        assert client.get("/").status_code == 200


def test_requests_sent_ahead_are_answered_in_order(patient: tuple[str, int]) -> None:
    one = b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n"
    with socket.create_connection(patient, TIMEOUT_S) as connection:
        connection.sendall(b"".join(one % size + b"x" * size for size in (70_000, 3, 90_000)))
        connection.sendall(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n")
        lines = answer(connection).split(b"\r\n\r\n")
    assert [line.split(b"HTTP")[0] for line in lines[1:]] == [b"70000", b"3", b"90000", b"1"]
