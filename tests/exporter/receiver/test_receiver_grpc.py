from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from otel_audit.exporter.receiver.grpc import EXPORT_METHOD, start_grpc
from otel_audit.exporter.receiver.listen import ListenRefused
from tests.support.otlp_client import record, request
from tests.support.receiver import Receiver, running, smaller

CODES = grpc.StatusCode


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    folder = tmp_path_factory.mktemp("grpc") / "root"
    with running(Receiver(folder, smaller(body_bytes_max=1 << 20, records_max=1000))) as made:
        yield made


@pytest.fixture(scope="module")
def key(receiver: Receiver) -> str:
    return receiver.key("acme")


def export(
    receiver: Receiver,
    key: str | None,
    message: bytes,
    *,
    compression: Any = None,
    method: str = EXPORT_METHOD,
) -> bytes:
    """One call with bytes as they are."""
    with grpc.insecure_channel(receiver.grpc) as channel:
        call = channel.unary_unary(method)
        metadata = (("authorization", f"Bearer {key}"),) if key is not None else ()
        answer: bytes = call(message, metadata=metadata, compression=compression, timeout=30)
        return answer


def refused(receiver: Receiver, key: str | None, message: bytes, **options: Any) -> tuple[Any, Status | None]:
    with pytest.raises(grpc.RpcError) as caught:
        export(receiver, key, message, **options)
    error: Any = caught.value
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    return error.code(), Status.FromString(details) if details is not None else None


def body_of(mark: str) -> bytes:
    body: bytes = request([record(mark=mark)]).SerializeToString()
    return body


def stored(receiver: Receiver, mark: str) -> int:
    return sum(f'"mark":"{mark}"' in row["attributes"] for row in receiver.rows())


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_an_accepted_request_is_stored_once(receiver: Receiver, key: str, compression: Any) -> None:
    answer = export(receiver, key, body_of(f"c-{compression}"), compression=compression)
    assert ExportLogsServiceResponse.FromString(answer) == ExportLogsServiceResponse()
    assert stored(receiver, f"c-{compression}") == 1


def test_an_empty_request_succeeds(receiver: Receiver, key: str) -> None:
    assert export(receiver, key, ExportLogsServiceRequest().SerializeToString()) == b""


def test_without_a_known_key_the_status_is_unauthenticated(receiver: Receiver) -> None:
    for wrong in (None, "x", f"oak_{'a' * 12}_{'b' * 43}"):
        code, status = refused(receiver, wrong, body_of("stranger"))
        assert code == CODES.UNAUTHENTICATED
        assert status is not None
        assert not status.details
    assert stored(receiver, "stranger") == 0


def test_a_large_message_of_a_stranger_is_answered_without_being_read(receiver: Receiver) -> None:
    code, _ = refused(receiver, None, b"\0" * (20 << 20))
    assert code == CODES.UNAUTHENTICATED


@pytest.mark.parametrize("message", [b"needle", b"\x0a\x05ab", b"{}"])
def test_bytes_that_are_no_request_are_an_invalid_argument(
    receiver: Receiver, key: str, message: bytes
) -> None:
    code, status = refused(receiver, key, message)
    assert code == CODES.INVALID_ARGUMENT
    assert status is not None
    assert "needle" not in status.message
    assert not status.details


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
def test_a_message_beyond_the_limit_is_resource_exhausted_even_when_compressed(
    receiver: Receiver, key: str, compression: Any
) -> None:
    code, _ = refused(receiver, key, b"\0" * ((1 << 20) + 1), compression=compression)
    assert code == CODES.RESOURCE_EXHAUSTED
    export(receiver, key, b"")


def test_too_many_records_are_resource_exhausted(receiver: Receiver, key: str) -> None:
    code, _ = refused(receiver, key, b"\x0a\xd5\x0f\x12\xd2\x0f" + b"\x12\x00" * 1001)
    assert code == CODES.RESOURCE_EXHAUSTED


def test_what_may_succeed_later_is_unavailable_with_a_delay(receiver: Receiver, key: str) -> None:
    receiver.store.full = True
    try:
        code, status = refused(receiver, key, body_of("full"))
    finally:
        receiver.store.full = False
    retry = RetryInfo()
    assert code == CODES.UNAVAILABLE
    assert status is not None
    assert (status.code, status.details[0].Unpack(retry)) == (14, True)
    assert retry.retry_delay.seconds == 7
    export(receiver, key, body_of("full"))
    assert stored(receiver, "full") == 1


def test_other_methods_are_unimplemented(receiver: Receiver, key: str) -> None:
    assert refused(receiver, key, b"", method="/x.Y/Z")[0] == CODES.UNIMPLEMENTED


def test_an_occupied_port_is_an_error_and_not_shared(receiver: Receiver) -> None:
    with pytest.raises(ListenRefused, match="cannot listen"):
        start_grpc(receiver.ingest, receiver.admission, receiver.grpc)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ListenRefused):
            start_grpc(receiver.ingest, receiver.admission, f"127.0.0.1:{taken.getsockname()[1]}")


@pytest.mark.parametrize("bind", ["0.0.0.0:0", "[::]:0", "example.org:0", "192.0.2.1:4317"])
def test_plain_text_beyond_this_machine_must_be_asked_for(receiver: Receiver, bind: str) -> None:
    with pytest.raises(ListenRefused, match="reachable from other machines"):
        start_grpc(receiver.ingest, receiver.admission, bind)


@pytest.mark.parametrize("bind", ["", "4317", ":4317", "127.0.0.1:", "127.0.0.1:70000", "127.0.0.1:x"])
def test_an_address_that_is_none_is_named(receiver: Receiver, bind: str) -> None:
    with pytest.raises(ListenRefused, match="not an address"):
        start_grpc(receiver.ingest, receiver.admission, bind)


def test_an_ipv6_address_is_written_with_brackets(receiver: Receiver) -> None:
    server = start_grpc(receiver.ingest, receiver.admission, "[::1]:0")
    try:
        assert server.address == f"[::1]:{server.port}"
    finally:
        server.stop(0)
