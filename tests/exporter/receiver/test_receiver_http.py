from __future__ import annotations

import gzip
import http.client
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import zstandard
from google.protobuf.json_format import Parse
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from otel_audit.exporter.receiver.listen import address_of
from tests.support.otlp_client import record, request
from tests.support.otlp_json import as_json
from tests.support.receiver import Receiver, running, smaller

PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstandard.compress}
PROTOBUF, JSON = "application/x-protobuf", "application/json"
MARK = "needle-in-the-payload"


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    folder = tmp_path_factory.mktemp("http") / "root"
    with running(Receiver(folder, smaller(body_bytes_max=1 << 20, records_max=1000))) as made:
        yield made


@pytest.fixture(scope="module")
def key(receiver: Receiver) -> str:
    return receiver.key("acme")


def post(
    receiver: Receiver,
    key: str | None,
    content: bytes | Iterator[bytes],
    media: str = PROTOBUF,
    **headers: str,
) -> httpx.Response:
    sent = {"content-type": media} | {name.replace("_", "-"): value for name, value in headers.items()}
    if key is not None:
        sent["authorization"] = f"Bearer {key}"
    return httpx.post(f"http://{receiver.http}/v1/logs", content=content, headers=sent, timeout=30)


def status_of(response: httpx.Response) -> Status:
    if response.headers["content-type"] == PROTOBUF:
        return Status.FromString(response.content)
    assert response.headers["content-type"] == JSON
    return Parse(response.content, Status())


def body_of(mark: str, media: str = PROTOBUF) -> bytes:
    made = request([record(mark=mark)])
    return made.SerializeToString() if media == PROTOBUF else json.dumps(as_json(made)).encode()


def stored(receiver: Receiver, mark: str) -> int:
    return sum(f'"mark":"{mark}"' in row["attributes"] for row in receiver.rows())


@pytest.mark.parametrize("encoding", [None, "identity", "gzip", "zstd", "GZIP"])
@pytest.mark.parametrize("media", [PROTOBUF, JSON, "application/json; charset=utf-8", "Application/JSON"])
def test_an_accepted_request_is_answered_in_its_own_type(
    receiver: Receiver, key: str, media: str, encoding: str | None
) -> None:
    mark = f"{media}|{encoding}"
    plain = PROTOBUF if media == PROTOBUF else JSON
    body = body_of(mark, plain)
    body = PACK.get((encoding or "").lower(), bytes)(body)
    response = post(receiver, key, body, media, **({"content_encoding": encoding} if encoding else {}))
    assert (response.status_code, response.headers["content-type"]) == (200, plain)
    answer = response.content
    made = ExportLogsServiceResponse.FromString(answer) if plain == PROTOBUF else json.loads(answer)
    assert made == (ExportLogsServiceResponse() if plain == PROTOBUF else {})
    assert stored(receiver, mark) == 1


def test_an_empty_request_succeeds(receiver: Receiver, key: str) -> None:
    assert post(receiver, key, b"").status_code == 200
    assert post(receiver, key, b"{}", JSON).status_code == 200


def test_a_chunked_body_without_a_length_is_taken(receiver: Receiver, key: str) -> None:
    body = body_of("chunked")
    pieces = (body[at : at + 7] for at in range(0, len(body), 7))
    assert post(receiver, key, pieces).status_code == 200
    assert stored(receiver, "chunked") == 1


def test_compressed_bodies_in_several_parts_are_taken_whole(receiver: Receiver, key: str) -> None:
    for number, (encoding, pack) in enumerate(PACK.items()):
        body = body_of(f"parts-{number}")
        packed = pack(body[:50]) + pack(body[50:])
        assert post(receiver, key, packed, content_encoding=encoding).status_code == 200
        assert stored(receiver, f"parts-{number}") == 1


@pytest.mark.parametrize("depth", [600, 30_000])
def test_a_value_nested_beyond_what_parsers_take_is_stored_with_its_depth_cut(
    receiver: Receiver, key: str, depth: int
) -> None:
    deep = '{"arrayValue":{"values":[' * depth + '{"intValue":' + "9" * 5_000 + "}" + "]}}" * depth
    mark = f"deep-{depth}"
    pairs = f'{{"key":"mark","value":{{"stringValue":"{mark}"}}}},{{"key":"deep","value":{deep}}}'
    body = f'{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"attributes":[{pairs}]}}]}}]}}]}}'.encode()
    assert post(receiver, key, body, JSON).status_code == 200
    assert stored(receiver, mark) == 1


def bombs() -> dict[str, bytes]:
    zeros = b"\0" * (200 << 20)
    return {"gzip": gzip.compress(zeros, 1), "zstd": zstandard.compress(zeros, 1)}


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_decompression_bomb_is_too_large(receiver: Receiver, key: str, encoding: str) -> None:
    bomb = bombs()[encoding]
    assert len(bomb) < 1 << 20
    response = post(receiver, key, bomb, content_encoding=encoding)
    assert (response.status_code, status_of(response).code) == (413, 8)
    assert "retry-after" not in response.headers


@pytest.mark.parametrize(
    ("content", "media", "encoding", "status", "code"),
    [
        (MARK.encode(), PROTOBUF, None, 400, 3),
        (f'{{"{MARK}"'.encode(), JSON, None, 400, 3),
        (f'{{"resourceLogs": "{MARK}"}}'.encode(), JSON, None, 400, 3),
        (b"[" * 100_000, JSON, None, 400, 3),
        (MARK.encode(), PROTOBUF, "gzip", 400, 3),
        (gzip.compress(MARK.encode() * 99)[:-9], PROTOBUF, "gzip", 400, 3),
        (zstandard.compress(MARK.encode() * 99)[:-3], PROTOBUF, "zstd", 400, 3),
        (MARK.encode(), PROTOBUF, "zstd", 400, 3),
        (b"", PROTOBUF, "br", 415, 12),
        (b"", PROTOBUF, "gzip, gzip", 415, 12),
        (b"", "text/plain", None, 415, 12),
        (b"", "", None, 415, 12),
        (b"\0" * ((1 << 20) + 1), PROTOBUF, None, 413, 8),
        (b"\x0a\xd4\x0f\x12\xd1\x0f" + b"\x12\x00" * 1000 + b"\x12", PROTOBUF, None, 400, 3),
        (b"\x0a\xd5\x0f\x12\xd2\x0f" + b"\x12\x00" * 1001, PROTOBUF, None, 413, 8),
    ],
)
def test_a_bad_request_is_refused_with_a_status_that_quotes_nothing(
    receiver: Receiver, key: str, content: bytes, media: str, encoding: str | None, status: int, code: int
) -> None:
    before = len(receiver.rows())
    response = post(receiver, key, content, media, **({"content_encoding": encoding} if encoding else {}))
    assert (response.status_code, status_of(response).code) == (status, code)
    assert response.headers["content-type"] == (PROTOBUF if media == PROTOBUF else JSON)
    assert MARK not in response.text
    assert "retry-after" not in response.headers
    assert len(receiver.rows()) == before


def test_a_chunked_body_beyond_the_limit_is_refused_while_it_comes(receiver: Receiver, key: str) -> None:
    with socket.create_connection(address_of(receiver.http), timeout=30) as connection:
        head = f"POST /v1/logs HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
        head += f"content-type: {PROTOBUF}\r\ntransfer-encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        chunk = b"10000\r\n" + b"\0" * 0x10000 + b"\r\n"
        for _ in range(17):
            connection.sendall(chunk)
        # The last chunk never comes: the answer must not wait for it.
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 413


@pytest.mark.parametrize("media", [PROTOBUF, JSON])
def test_without_a_known_key_nothing_is_read_and_401_is_answered(receiver: Receiver, media: str) -> None:
    for wrong in (None, "x", f"oak_{'a' * 12}_{'b' * 43}"):
        response = post(receiver, wrong, body_of("stranger", media), media)
        assert (response.status_code, status_of(response).code) == (401, 16)
        assert response.headers["www-authenticate"] == "Bearer"
        assert "retry-after" not in response.headers
    assert stored(receiver, "stranger") == 0
    assert [attempt.reason for attempt in receiver.refused[-3:]] == ["missing", "malformed", "unknown"]
    assert receiver.refused[-1].peer == "127.0.0.1"


def test_a_large_body_of_a_stranger_is_answered_without_being_stored(receiver: Receiver) -> None:
    response = post(receiver, None, b"\0" * (20 << 20))
    assert response.status_code == 401


def test_a_revoked_key_is_told_to_come_again_and_a_compromised_one_is_not(receiver: Receiver) -> None:
    text = receiver.key("acme")
    key_id = text.split("_")[1]
    receiver.control.keys.revoke(key_id)
    response = post(receiver, text, body_of("late"))
    status = status_of(response)
    retry = RetryInfo()
    assert status.details[0].Unpack(retry)
    assert (response.status_code, status.code) == (503, 14)
    assert response.headers["retry-after"] == "60"
    assert retry.retry_delay.seconds == 60
    receiver.control.keys.revoke(key_id, compromised=True)
    assert post(receiver, text, body_of("late")).status_code == 401
    assert stored(receiver, "late") == 0


@pytest.mark.parametrize("media", [PROTOBUF, JSON])
def test_a_store_that_cannot_write_is_503_and_recovers_by_itself(
    receiver: Receiver, key: str, media: str
) -> None:
    receiver.store.full = True
    try:
        response = post(receiver, key, body_of(f"full-{media}", media), media)
    finally:
        receiver.store.full = False
    assert (response.status_code, status_of(response).code) == (503, 14)
    assert response.headers["retry-after"] == "7"
    assert stored(receiver, f"full-{media}") == 0
    assert post(receiver, key, body_of(f"full-{media}", media), media).status_code == 200
    assert stored(receiver, f"full-{media}") == 1


def test_other_paths_and_methods_get_a_status_too(receiver: Receiver) -> None:
    for method, path, status in (
        ("GET", "/v1/logs", 405),
        ("PUT", "/v1/logs", 405),
        ("POST", "/v1/traces", 404),
        ("POST", "/v1/logs/", 404),
    ):
        response = httpx.request(method, f"http://{receiver.http}{path}", headers={"content-type": JSON})
        assert response.status_code == status
        assert status_of(response).message
        assert response.headers.get("allow") == ("POST" if status == 405 else None)


def test_too_many_bytes_in_flight_are_throttled(tmp_path: Path) -> None:
    with running(Receiver(tmp_path / "root", smaller(in_flight_bytes_max=1000))) as small:
        key = small.key("acme")
        response = post(small, key, gzip.compress(b"\0" * 10_000), content_encoding="gzip")
        assert (response.status_code, status_of(response).code) == (429, 14)
        assert response.headers["retry-after"] == "1"
        assert post(small, key, body_of("after")).status_code == 200
        assert stored(small, "after") == 1
