"""One secret of every rule in every field, by every protocol: no piece of one is found anywhere."""

from __future__ import annotations

import io
import json
import re
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pyarrow.parquet as pq
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from websockets.sync.client import ClientConnection, connect

from otel_audit.exporter.redaction import load_rules
from tests.support.api_client import Api, admin, tenant_with_key
from tests.support.canaries import Canary, Needles, canaries
from tests.support.otlp_client import any_value, post, record, request
from tests.support.otlp_json import as_json
from tests.support.process import Serve, run, secret
from tests.support.redaction_corpus import Corpus

PROTOCOLS = ("grpc", "http", "json")
# One innocent text goes the same ways: where it is not found, nothing would be.
_INNOCENT = Canary("innocent", True, "an innocent canary sings", ("innocent canary sings",))


def everywhere(sent: Iterable[Canary]) -> ExportLogsServiceRequest:
    """One record and one resource a canary, its text in every field that holds text."""
    made = ExportLogsServiceRequest()
    for canary in sent:
        text = canary.text
        fields: dict[str, Any] = {
            "note": text,
            "nested": {"inner": {"deep": text, text: "as a nested name"}},
            "items": ["first", text, {"third": text}],
            "payload": json.dumps({"inner": text}),
            text: "as a name",
            "user_agent.original": text,
            "audit.target.name": text,
            "audit.change.before": {"field": text, text: 1},
            "audit.change.after": {"field": f"changed {text}"},
            "http.route": text,
        }
        resource: dict[str, Any] = {"process.command_line": text, "list": [text], text: "as a name"}
        if not canary.personal:
            # Names and identities keep personal data: the trail needs it.
            identity = ("user.id", "user.name", "user.email", "client.address", "audit.actor.on_behalf_of")
            named = ("audit.target.id", "audit.target.type", "audit.request.id", "session.id")
            fields |= dict.fromkeys((*identity, *named), text) | {"user.roles": [text]}
            resource["service.version"] = text
        if canary.name:
            name, value = canary.name, canary.value
            fields |= {name: value, "settings": {name: value}, "pairs": [{"name": name, "value": value}]}
            fields["audit.change.before"] |= {name: value}
            fields["audit.change.after"] |= {name: value[::-1]}
            resource[name] = value
        made_record = record("data_access", "update", body=text)
        made_record.attributes.extend(key_values(fields))
        if not canary.personal:
            made_record.event_name = text
        one = request([made_record], service="canary")
        one.resource_logs[0].resource.attributes.extend(key_values(resource))
        made.MergeFrom(one)
    return made


def key_values(values: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=name, value=any_value(value)) for name, value in values.items()]


def send(server: Serve, key: str, made: dict[str, list[Canary]]) -> None:
    """A request by each protocol."""
    address = server.addresses["otlp_http"]
    assert post(address, key, everywhere(made["http"]).SerializeToString())[0] == 200
    body = json.dumps(as_json(everywhere(made["json"]))).encode()
    assert post(address, key, body, **{"content-type": "application/json"})[0] == 200
    with grpc.insecure_channel(server.addresses["otlp_grpc"]) as channel:
        export = LogsServiceStub(channel).Export  # type: ignore[no-untyped-call]
        export(everywhere(made["grpc"]), metadata=[("authorization", f"Bearer {key}")], timeout=60)


def streamed(stream: ClientConnection, events: int) -> Iterator[bytes]:
    """Messages of the live stream until that many events have come."""
    seen = 0
    while seen < events:
        message = stream.recv(timeout=30)
        seen += len(re.findall(r'"event_id"', str(message)))
        yield message if isinstance(message, bytes) else message.encode()


def console(server: Serve, event_ids: list[str]) -> Iterator[bytes]:
    """The search page and pages of events, as a signed-in admin sees them."""
    user = ("--org", "acme", "--user", "eve@example.com", "--role", "admin")
    link = secret(server.data_dir, "token", "create", *user, "--console")
    ticket = re.search(r"ticket=([^&\s]+)", link)
    assert ticket is not None
    with httpx.Client(base_url=server.url(), timeout=60) as client:
        signed_in = client.post(
            "/login", data={"ticket": ticket[1]}, headers={"sec-fetch-site": "same-origin"}
        )
        assert signed_in.status_code == 303
        for path in ("", *(f"/{event_id}" for event_id in event_ids)):
            answer = client.get(f"/o/acme/events{path}")
            assert answer.status_code == 200
            yield answer.content


def answers(server: Serve, api: Api) -> Iterator[tuple[str, bytes]]:
    """(way to read, what it answers)."""
    paths = ["/facets", "/histogram", "/redaction", "/export?format=csv", "/export?format=ndjson"]
    for path in ["/events?limit=1000", *paths]:
        answer = api.http.get(api.prefix + path)
        assert answer.status_code == 200
        yield path, answer.content
    ids = [event["event_id"] for event in api.all_events(service="canary")]
    # The newest is the innocent one.
    some = [ids[0], *ids[::10]]
    details = [api.http.get(f"{api.prefix}/events/{event_id}").content for event_id in some]
    yield "one event", b"\n".join(details)
    yield "console", b"\n".join(console(server, some[:20]))
    exported = api.http.get(f"{api.prefix}/export?format=parquet").content
    yield "/export?format=parquet", exported + columns(io.BytesIO(exported))
    found = run(server.data_dir, "search", "--tenant", "acme", "--limit", "1000", "--format", "ndjson")
    yield "search", found.stdout.encode()
    yield "metrics", httpx.get(server.url("/metrics", "metrics")).content


def columns(source: Any) -> bytes:
    """Every value of a Parquet file: its pages are compressed, so that its bytes tell little."""
    table = pq.read_table(source, partitioning=None)
    return "\n".join(str(column.to_pylist()) for column in table.columns).encode()


def on_disk(folder: Path) -> Iterator[tuple[str, bytes]]:
    """(path, bytes) of every file below, and the values of those that are Parquet."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()
            if path.suffix == ".parquet":
                yield f"{path.name} columns", columns(path)


def last_words(server: Serve) -> bytes:
    """What it wrote on standard output until it had stopped."""
    process = server.process
    assert process is not None
    assert process.stdout is not None
    process.terminate()
    assert process.wait(60) == 0
    return process.stdout.read()


def leaks(needles: Needles, seen: Iterable[tuple[str, bytes]]) -> dict[str, set[str]]:
    """rule: piece → where it was found."""
    found: dict[str, set[str]] = {}
    for where, data in seen:
        for rule, piece in needles.found(data):
            found.setdefault(f"{rule}: {piece}", set()).add(where)
    return found


@pytest.mark.timeout(300)
def test_no_piece_of_a_secret_of_any_rule_is_found_in_any_field(tmp_path: Path) -> None:
    rules = load_rules()
    # Another template of each rule by each protocol. The seeds are fixed: of random secrets about one in
    # 4,000 looks so little like one (a key without a digit) that its rule lets it pass.
    made = {
        protocol: [*canaries(rules, Corpus(turn), turn), _INNOCENT] for turn, protocol in enumerate(PROTOCOLS)
    }
    sent = [canary for each in made.values() for canary in each]
    assert len(made["grpc"]) >= len(rules.rules) + len(rules.names)
    assert all(canary.hidden for canary in sent)
    needles = Needles(canary for canary in sent if canary is not _INNOCENT)
    seen: list[tuple[str, bytes]] = []
    with Serve(tmp_path / "data") as server:
        key = tenant_with_key(server)
        api = admin(server)
        url = f"ws://{server.addresses['http']}{api.prefix}/stream"
        with connect(url, additional_headers={"authorization": api.http.headers["authorization"]}) as stream:
            send(server, key, made)
            seen.append(("stream", b"\n".join(streamed(stream, len(sent)))))
        seen += on_disk(tmp_path)
        assert any(_INNOCENT.text.encode() in data for path, data in seen if path.endswith(".wal"))
        seen += answers(server, api)
        run(server.data_dir, "files", "--tenant", "acme", "--seal")
        seen += on_disk(tmp_path)
        seen += answers(server, api)
        api.http.close()
        seen.append(("standard output", last_words(server)))
    # The log of standard error is there too, and what was written while it stopped.
    seen += on_disk(tmp_path)
    assert leaks(needles, seen) == {}
    tells = {where for where, data in seen if _INNOCENT.text.encode() in data}
    ways = {"stream", "/events?limit=1000", "/export?format=csv", "/export?format=ndjson", "one event"}
    assert tells >= ways | {"console", "/export?format=parquet", "search"}
    assert any(where.endswith(".parquet columns") for where in tells)


def test_the_search_finds_a_piece_of_a_canary() -> None:
    """Otherwise the test above could not fail."""
    sent = list(canaries(load_rules(), Corpus(secrets.randbits(64)), 0))
    needles = Needles(sent)
    for canary in sent:
        for piece in canary.hidden:
            assert (canary.rule, piece) in needles.found(b"?" * secrets.randbelow(9) + piece.encode())
    assert needles.found(secrets.token_bytes(100_000)) == set()
