"""Rows from another process to the one writer of a region root, over a Unix socket.

    request   u32 tenant bytes, u32 body bytes (both big-endian), tenant, body: an Arrow IPC stream of HANDED
    answer    u32 bytes, JSON: {"new", "repeats"} once durable, or {"error", "hint", "retry_after_s"}

Any number of requests a connection, one at a time. Only the server's own user can connect to the
socket, so whoever reaches it could write the store's files as well; what is sent is checked all the same,
because a bug of a sender must not end up in a file.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from otel_audit.instrumentation.errors import AuditError

from ..errors import InvalidTenant, StoreError, StoreUnavailable
from .handed import HANDED, Intake, RowsRefused, Taken
from .local_socket import bind_local, remove_local

log = logging.getLogger(__name__)

# Four times what a WAL record takes: the sender splits at a quarter, and one event may be that large.
BODY_BYTES_MAX: Final = 64 << 20
_PIECE_BYTES_MAX: Final = 16 << 20
_TENANT_BYTES_MAX: Final = 63
_ANSWER_BYTES_MAX: Final = 64 << 10
# Each holds one request in memory; an import needs one connection, decode workers one a core.
_CONNECTIONS_MAX: Final = 8
# Long enough for an fsync on a busy disk with a seal before it; then the other side is as good as dead.
_TIMEOUT_S: Final = 120.0
# How long `stop` may wait at most for the loop to notice.
_POLL_S: Final = 0.1
_HEAD: Final = struct.Struct(">II")
_SIZE: Final = struct.Struct(">I")


class HandoverLost(StoreError):
    """The server went away before it answered: the rows may be stored or not, sending them again is safe."""


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    # A sender that decodes must not hold up the end.
    block_on_close = False
    # One sender too many is to be told so, not to find the door shut.
    request_queue_size = 2 * _CONNECTIONS_MAX


class Handover:
    """The server's end. run: where its socket is to be, see local_socket.bind_local.

    exists: whether an organization is there, so that none comes to be by a slip.
    """

    def __init__(self, intake: Intake, exists: Callable[[str], bool], run: Path) -> None:
        self._run = run
        room = threading.BoundedSemaphore(_CONNECTIONS_MAX)

        class Handler(socketserver.StreamRequestHandler):
            # Between two requests a sender decodes: that may take longer than any answer.
            timeout = None

            def handle(self) -> None:
                if not room.acquire(blocking=False):
                    busy = StoreUnavailable("too many processes hand over rows", retry_after_s=5)
                    _send(self.wfile, _refusal(busy))
                    return
                try:
                    with contextlib.suppress(OSError, EOFError):
                        _serve(self.rfile, self.wfile, intake, exists)
                finally:
                    room.release()

        self._server = _Server("", Handler, bind_and_activate=False)
        self.path = bind_local(self._server, run, "handover.sock")
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_S,), name="otel-audit-handover", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Take no more connections; an open one is refused by the closing store."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        remove_local(self.path, self._run)


class HandoverClient:
    """The sender's end: a RowTarget that is the running server's store. One user at a time."""

    def __init__(self, path: str) -> None:
        """Raises OSError when nobody listens there."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(_TIMEOUT_S)
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise
        self._stream = self._socket.makefile("rwb")

    def take(self, tenant: str, rows: pa.RecordBatch) -> Taken:
        """As Intake.take. Raises HandoverLost when the server went away."""
        new = repeats = 0
        for piece in _pieces(rows):
            taken = self._take(tenant, piece)
            new, repeats = new + taken.new, repeats + taken.repeats
        return Taken(new, repeats)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.close()
        self._socket.close()

    def _take(self, tenant: str, rows: pa.RecordBatch) -> Taken:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, HANDED) as writer:
            writer.write_batch(rows)
        body = memoryview(sink.getvalue())
        name = tenant.encode("ascii")
        try:
            self._stream.write(_HEAD.pack(len(name), len(body)))
            self._stream.write(name)
            self._stream.write(body)
            self._stream.flush()
            (size,) = _SIZE.unpack(_read(self._stream, _SIZE.size))
            answer = json.loads(_read(self._stream, min(size, _ANSWER_BYTES_MAX)))
        except (OSError, EOFError) as error:
            raise HandoverLost(
                "the server went away before it answered",
                hint="run the command again: what is stored already is not stored twice",
            ) from error
        if "error" not in answer:
            return Taken(answer["new"], answer["repeats"])
        if answer["retry_after_s"] is not None:
            raise StoreUnavailable(
                answer["error"], hint=answer["hint"], retry_after_s=answer["retry_after_s"]
            )
        raise RowsRefused(answer["error"], hint=answer["hint"])


def _pieces(rows: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The rows in order, in batches that fit a message."""
    if rows.num_rows > 1 and rows.nbytes > _PIECE_BYTES_MAX:
        half = rows.num_rows // 2
        yield from _pieces(rows.slice(0, half))
        yield from _pieces(rows.slice(half))
    elif rows.num_rows:
        yield rows


def _serve(reader: Any, writer: Any, intake: Intake, exists: Callable[[str], bool]) -> None:
    """Answer the requests of one connection until its end or the first that cannot be read."""
    while True:
        tenant_bytes, body_bytes = _HEAD.unpack(_read(reader, _HEAD.size))
        if tenant_bytes > _TENANT_BYTES_MAX or body_bytes > BODY_BYTES_MAX:
            # What follows cannot be told apart from the next request.
            _send(writer, _refusal(RowsRefused(f"more than {BODY_BYTES_MAX} bytes in one message")))
            return
        name, body = _read(reader, tenant_bytes), _read(reader, body_bytes)
        _send(writer, _answer(name, body, intake, exists))


def _answer(name: bytes, body: bytes, intake: Intake, exists: Callable[[str], bool]) -> dict[str, Any]:
    try:
        tenant = name.decode("ascii", "replace")
        if not exists(tenant):
            raise InvalidTenant("there is no such organization", hint="add it with 'otel-audit tenant add'")
        taken = intake.take(tenant, _rows_of(body))
    except AuditError as error:
        return _refusal(error)
    except Exception:
        log.exception("rows that were handed over could not be stored")
        return _refusal(StoreError("the server failed", hint="see its log"))
    return {"new": taken.new, "repeats": taken.repeats}


def _rows_of(body: bytes) -> pa.RecordBatch:
    try:
        with pa.ipc.open_stream(body) as stream:
            if not stream.schema.equals(HANDED):
                raise RowsRefused(
                    "the rows have other columns than this server's", hint="use the server's release"
                )
            return stream.read_next_batch()
    except (pa.ArrowException, OSError, StopIteration) as error:
        raise RowsRefused("the message is no Arrow stream of rows") from error


def _refusal(error: AuditError) -> dict[str, Any]:
    return {
        "error": error.message,
        "hint": error.hint,
        "retry_after_s": getattr(error, "retry_after_s", None),
    }


def _send(writer: Any, answer: dict[str, Any]) -> None:
    data = json.dumps(answer).encode()
    writer.write(_SIZE.pack(len(data)) + data)
    writer.flush()


def _read(reader: Any, size: int) -> bytes:
    """Exactly `size` bytes. Raises EOFError when the other side ended before."""
    data: bytes = reader.read(size)
    if len(data) < size:
        raise EOFError
    return data
