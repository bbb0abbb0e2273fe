"""A planted secret is found nowhere: not on disk, in no answer, message, log line or error."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import random
import string
import zipfile
from dataclasses import dataclass
from pathlib import Path

import httpx
import jwt
import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from websockets.sync.client import connect

from tests.support.api_client import Api, admin, tenant_with_key
from tests.support.otlp_client import post, record, request
from tests.support.process import Serve, find_bytes, run, wait_for


def text(alphabet: str, length: int) -> str:
    return "".join(random.choices(alphabet, k=length))


@dataclass(frozen=True)
class Planted:
    """Secrets made for this run only."""

    jwt: str
    api_key: str
    password: str
    card: str
    email: str

    @classmethod
    def make(cls) -> Planted:
        claims = {"sub": text(string.ascii_lowercase, 12), "iat": 1_700_000_000}
        return cls(
            jwt=jwt.encode(claims, text(string.ascii_letters, 40), algorithm="HS256"),
            api_key="sk_live_" + text(string.ascii_letters + string.digits, 24),
            password=text(string.ascii_letters + string.digits, 14) + "!9",
            card=card_number(),
            email=f"{text(string.ascii_lowercase, 10)}@{text(string.ascii_lowercase, 8)}.example",
        )

    def values(self) -> list[str]:
        return [self.jwt, self.api_key, self.password, self.card, self.email]

    def needles(self) -> list[bytes]:
        """What must not be found: the values, a JWT's parts, and base64 and JSON spellings of them."""
        parts = [*self.values(), *self.jwt.split(".")[1:]]
        plain = [part.encode() for part in parts]
        return [*plain, *(base64.b64encode(part)[:-4] for part in plain if len(part) > 8)]


def card_number() -> str:
    digits = "4" + text(string.digits, 14)
    total = sum(
        d if position % 2 else (2 * d if 2 * d < 10 else 2 * d - 9)
        for position, d in enumerate(map(int, digits))
    )
    return digits + str(-total % 10)


def planted_records(planted: Planted) -> ExportLogsServiceRequest:
    everything = (
        f"token {planted.jwt}, key {planted.api_key}, password={planted.password} "
        f"card {planted.card}, write to {planted.email}"
    )
    cookie = f"session={planted.jwt}; theme=dark"
    records = [
        record(body=everything),
        record(note=everything, nested={"list": [everything, {"deep": everything}]}),
        record(password=planted.password, http__request__header__authorization=f"Bearer {planted.jwt}"),
        record(http__request__header__cookie=cookie, api_key=planted.api_key, clientSecret=planted.password),
        record(
            action="update",
            audit__change__before={"password": planted.password, "note": everything},
            audit__change__after={"password": planted.password + "x", "note": planted.jwt},
        ),
        record(user__id=planted.api_key, user__name=planted.jwt, client__address=planted.api_key),
        record(
            user_agent__original=everything, audit__target__name=everything, audit__target__id=planted.jwt
        ),
        record(session__id=planted.jwt, payload=json.dumps({"password": planted.password, "t": planted.jwt})),
        record(url__full=f"https://u:{planted.password}@h.example/?access_token={planted.jwt}"),
        record("authentication", "login_failed", user__name=planted.password, user__email=planted.password),
        record(category="no_such_category", body=everything, **{planted.api_key: "x"}),
        record(action="Not An Action " + planted.api_key, body=everything),
        record(record_id=planted.jwt, body=everything),
        record(audit__tenant__id=planted.api_key, audit__request__id=planted.jwt),
    ]
    return request(records, process__command_line=everything)


def read_everything(server: Serve, api: Api, planted: Planted) -> list[bytes]:
    """Bytes of every way to read, and of errors provoked with the secrets themselves."""
    answers = []
    paths = ["/events?limit=1000", "/facets", "/histogram", "/export?format=csv", "/export?format=ndjson"]
    paths += [f"/events?q={value}" for value in planted.values()]
    paths += ["/events?limit=oops", f"/events?severity={planted.api_key}", f"/events?from={planted.jwt}"]
    paths += [f"/events/{planted.jwt}", f"/requests/{planted.api_key}", f"/traces/{planted.card}"]
    for path in paths:
        response = api.http.get(api.prefix + path)
        answers += [response.content, str(response.headers).encode()]
    for event in api.get("/events", limit=1000)["events"]:
        answers.append(api.http.get(f"{api.prefix}/events/{event['event_id']}").content)
    answers.append(httpx.get(server.url("/metrics", "metrics")).content)
    wrong = {"authorization": f"Bearer {planted.jwt}"}
    answers.append(httpx.get(server.url(f"{api.prefix}/events"), headers=wrong).content)
    exported = api.http.get(f"{api.prefix}/export?format=parquet")
    answers.append(exported.content)
    return answers


@pytest.mark.parametrize("sealed", [False, True])
def test_planted_secrets_are_found_nowhere(tmp_path: Path, sealed: bool) -> None:
    planted = Planted.make()
    needles = planted.needles()
    with Serve(tmp_path / "data") as server:
        key = tenant_with_key(server)
        api = admin(server)
        token = api.http.headers["authorization"]
        url = f"ws://{server.addresses['http']}{api.prefix}/stream"
        with connect(url, additional_headers={"authorization": token}) as stream:
            body = planted_records(planted)
            address = server.addresses["otlp_http"]
            assert post(address, key, body.SerializeToString())[0] == 200
            as_json = json.dumps(MessageToDict(planted_records(planted))).encode()
            assert post(address, key, as_json, **{"content-type": "application/json"})[0] == 200
            assert post(address, planted.jwt, body.SerializeToString())[0] == 401
            assert post(address, key, planted.jwt.encode())[0] == 400
            messages: list[bytes] = []
            with contextlib.suppress(TimeoutError):
                while True:
                    message = stream.recv(timeout=2)
                    messages.append(message if isinstance(message, bytes) else message.encode())
        assert len(messages) >= 14
        if sealed:
            run(server.data_dir, "files", "--tenant", "acme", "--seal")
        answers = messages + read_everything(server, api, planted)
        output = run(server.data_dir, "search", "--tenant", "acme", "--format", "ndjson").stdout
        answers.append(output.encode())
        for needle in needles:
            assert not [answer[:200] for answer in answers if needle in answer], needle
        stored = wait_for(lambda: api.all_events(service="tests"))
        assert len(stored) >= 14
        assert any(event["redactions"] for event in stored)
        # While it runs: the log is still there; afterwards: what shutdown wrote.
        assert find_bytes(tmp_path, needles) == []
    assert find_bytes(tmp_path, needles) == []
    assert [n for n in needles if n in server.log.read_bytes()] == []


def test_the_byte_search_itself_finds_a_planted_secret(tmp_path: Path) -> None:
    """Otherwise the tests above could not fail."""
    planted = Planted.make()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", planted.jwt)
    (tmp_path / "x").write_bytes(b"..." + planted.password.encode() + buffer.getvalue())
    assert len(find_bytes(tmp_path, planted.needles())) >= 2
