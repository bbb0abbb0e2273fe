"""OTLP over gRPC: `LogsService/Export`, on grpcio's own threads."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NoReturn

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from .admission import Admission
from .errors import NotOtlp, Refusal, refusal_of
from .ingest import Ingest
from .listen import Address, ListenRefused, address_of, check_exposure
from .wire import parse_protobuf

EXPORT_METHOD: Final = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
_RESPONSE: Final[bytes] = ExportLogsServiceResponse().SerializeToString()
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
# Requests of one connection that may wait for a thread; their messages are not read before one is free.
_STREAMS_PER_CONNECTION_MAX: Final = 100
_METADATA_BYTES_MAX: Final = 16 << 10


class GrpcServer:
    """A running listener. port: the one it got. address: HOST:PORT with it, IPv6 in brackets."""

    def __init__(self, server: grpc.Server, pool: ThreadPoolExecutor, bound: Address) -> None:
        self._server = server
        self._pool = pool
        self.port = bound.port
        self.address = str(bound)

    def stop(self, grace_s: float) -> None:
        """Refuse new requests, give running ones `grace_s` seconds, and return when all are over."""
        self._server.stop(grace_s).wait()
        self._pool.shutdown(wait=True)


def start_grpc(
    ingest: Ingest,
    admission: Admission,
    bind: str,
    *,
    credentials: grpc.ServerCredentials | None = None,
    insecure: bool = False,
) -> GrpcServer:
    """Listen on `bind` (HOST:PORT, port 0 picks a free one). Raises ListenRefused."""
    address = address_of(bind)
    check_exposure(address, tls=credentials is not None, insecure=insecure)
    pool = ThreadPoolExecutor(ingest.limits.threads, thread_name_prefix="otel-audit-grpc")
    server = grpc.server(
        pool,
        handlers=(_Logs(ingest, admission),),
        options=(
            # Without it a second server shares an occupied port and takes half of its requests.
            ("grpc.so_reuseport", 0),
            # Applied by grpcio to the message as sent and once more after decompression.
            ("grpc.max_receive_message_length", ingest.limits.body_bytes_max),
            ("grpc.max_metadata_size", _METADATA_BYTES_MAX),
            ("grpc.max_concurrent_streams", _STREAMS_PER_CONNECTION_MAX),
        ),
    )
    try:
        if credentials is None:
            port = server.add_insecure_port(str(address))
        else:
            port = server.add_secure_port(str(address), credentials)
    except RuntimeError as error:
        pool.shutdown(wait=False)
        raise ListenRefused(f"cannot listen on {address}", hint="is the port taken?") from error
    server.start()
    return GrpcServer(server, pool, Address(address.host, int(port)))


class _Logs(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers the one method there is. Messages stay bytes: they are counted before they are parsed."""

    def __init__(self, ingest: Ingest, admission: Admission) -> None:
        self._ingest = ingest
        self._admission = admission
        # Declared as a stream of requests, which is the same on the wire: the key is checked before the
        # message is read, so that nobody without a key can make the server hold 64 MiB.
        self._handler = grpc.stream_unary_rpc_method_handler(self._export)

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        return self._handler if details.method == EXPORT_METHOD else None

    def _export(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        try:
            metadata = dict(context.invocation_metadata())
            key = self._admission.admit(metadata.get("authorization"), context.peer())
            message = next(messages, None)
            if message is None:
                raise NotOtlp("the request has no message")
            self._ingest.accept(parse_protobuf(message, self._ingest.limits), key)
        except Exception as error:  # noqa: BLE001 - the edge: every error has its answer here
            _abort(context, refusal_of(error))
        return _RESPONSE


def _abort(context: grpc.ServicerContext, refusal: Refusal) -> NoReturn:
    status = refusal.status
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(_CODES[status.code], status.message)
    raise AssertionError("abort does not return")
