"""A small real OTLP receiver for tests: keeps what it was sent, and can be told to refuse."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import (
    LogsServiceServicer,
    add_LogsServiceServicer_to_server,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord


def plain(value: AnyValue) -> Any:
    """The Python value of an OTLP value."""
    kind = value.WhichOneof("value")
    if kind == "kvlist_value":
        return {pair.key: plain(pair.value) for pair in value.kvlist_value.values}
    if kind == "array_value":
        return [plain(item) for item in value.array_value.values]
    return getattr(value, kind) if kind else None


def attributes_of(record: LogRecord) -> dict[str, Any]:
    return {pair.key: plain(pair.value) for pair in record.attributes}


class OtlpSink:
    """What arrived. statuses: HTTP statuses to answer next, 200 when it is empty.

    refuses: requests for which it is true are answered 400.
    """

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[ExportLogsServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.statuses: list[int] = []
        self.refuses: Callable[[ExportLogsServiceRequest], bool] = lambda request: False
        self._arrived = threading.Condition()

    def take(self, path: str, headers: dict[str, str], request: ExportLogsServiceRequest) -> int:
        with self._arrived:
            self.paths.append(path)
            self.headers.append(headers)
            status = 400 if self.refuses(request) else self.statuses.pop(0) if self.statuses else 200
            if status == 200:
                self.requests.append(request)
            self._arrived.notify_all()
            return status

    @property
    def records(self) -> list[LogRecord]:
        scopes = [s for r in list(self.requests) for logs in r.resource_logs for s in logs.scope_logs]
        return [record for scope in scopes for record in scope.log_records]

    @property
    def resource(self) -> dict[str, Any]:
        return {
            pair.key: plain(pair.value) for pair in self.requests[-1].resource_logs[0].resource.attributes
        }

    def wait_for(self, count: int, timeout_s: float = 10.0) -> list[LogRecord]:
        """The records once there are `count` of them; an error when there never are."""
        deadline = time.monotonic() + timeout_s
        with self._arrived:
            while len(self.records) < count:
                if not self._arrived.wait(deadline - time.monotonic()):
                    raise AssertionError(f"{len(self.records)} of {count} records arrived")
        return self.records


@contextmanager
def http_sink() -> Iterator[OtlpSink]:
    sink = OtlpSink()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            headers = {name.lower(): value for name, value in self.headers.items()}
            status = sink.take(self.path, headers, ExportLogsServiceRequest.FromString(body))
            self.send_response(status)
            self.send_header("content-length", "0")
            if 300 <= status < 400:
                self.send_header("location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        sink.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield sink
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def grpc_sink() -> Iterator[OtlpSink]:
    sink = OtlpSink()

    class Servicer(LogsServiceServicer):
        def Export(self, request: ExportLogsServiceRequest, context: Any) -> ExportLogsServiceResponse:
            sink.take("grpc", dict(context.invocation_metadata()), request)
            return ExportLogsServiceResponse()

    server = grpc.server(ThreadPoolExecutor(2))
    add_LogsServiceServicer_to_server(Servicer(), server)  # type: ignore[no-untyped-call]
    sink.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield sink
    finally:
        server.stop(None).wait()
