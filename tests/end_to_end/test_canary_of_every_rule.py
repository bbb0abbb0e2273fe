"""A secret of every rule in every place of an event, over every protocol, is found nowhere afterwards."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import grpc
import httpx
import pyarrow.parquet as pq
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from websockets.sync.client import ClientConnection, connect

from otel_audit.exporter.redaction import load_rules
from tests.support.api_client import Api, admin, tenant_with_key
from tests.support.canaries import PLACES, RECORDS, Canary, Search, canaries, places, requests
from tests.support.otlp_client import post
from tests.support.otlp_json import as_json
from tests.support.process import OTEL_AUDIT, Serve, environment, run, secret, wait_for

RULES: Final = load_rules()
PROTOCOLS: Final = ("grpc", "http/protobuf", "http/json")
# Every page shows what is stored, and all that is stored is searched: a part of the pages is enough.
ONE_IN: Final = 60


def send(server: Serve, key: str, protocol: str, sent: list[Canary]) -> None:
    message = requests(sent)
    if protocol == "grpc":
        with grpc.insecure_channel(server.addresses["otlp_grpc"]) as channel:
            export = LogsServiceStub(channel).Export  # type: ignore[no-untyped-call]
            export(message, metadata=(("authorization", f"Bearer {key}"),), timeout=60)
        return
    if protocol == "http/json":
        body, kind = json.dumps(as_json(message)).encode(), "application/json"
    else:
        body, kind = message.SerializeToString(), "application/x-protobuf"
    assert post(server.addresses["otlp_http"], key, body, **{"content-type": kind})[0] == 200


class Listener:
    """Reads a live stream in a thread until `count` events have come."""

    def __init__(self, stream: ClientConnection, count: int) -> None:
        self._stream, self._count = stream, count
        self.messages: list[bytes] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        events = 0
        while events < self._count:
            message = self._stream.recv(timeout=60, decode=False)
            self.messages.append(message)
            events += json.loads(message)["type"] == "event"

    def all(self) -> list[bytes]:
        self._thread.join()
        return self.messages


@contextmanager
def tail(server: Serve, output: Path) -> Iterator[None]:
    """`otel-audit tail` beside the server."""
    command = [OTEL_AUDIT, "tail", "--tenant", "acme", "--format", "ndjson"]
    env = environment(OTEL_AUDIT_DATA_DIR=str(server.data_dir))
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=env)
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def answers(server: Serve, api: Api, ids: list[str], folder: Path) -> Iterator[tuple[str, bytes]]:
    """(where, bytes) of every way to read."""
    for path in ("/facets", "/histogram", "/export?format=csv", "/export?format=ndjson"):
        yield path, api.http.get(api.prefix + path).raise_for_status().content
    yield "metrics", httpx.get(server.url("/metrics", "metrics")).content
    for number, event_id in enumerate(ids[::ONE_IN]):
        yield f"event {number}", api.http.get(f"{api.prefix}/events/{event_id}").raise_for_status().content
    with console(server) as pages:
        for query in ("", "?category=system", "?q=note"):
            yield f"console {query}", pages.get(f"/o/acme/events{query}").raise_for_status().content
        for number, event_id in enumerate(ids[:: 2 * ONE_IN]):
            yield f"console {number}", pages.get(f"/o/acme/events/{event_id}").raise_for_status().content
    for form in ("table", "ndjson"):
        output = run(server.data_dir, "search", "--tenant", "acme", "--format", form)
        yield f"search {form}", (output.stdout + output.stderr).encode()
    for form in ("csv", "parquet"):
        target = folder / f"exported-{len(list(folder.iterdir()))}.{form}"
        run(server.data_dir, "export", "--tenant", "acme", "--format", form, "-o", str(target))
        yield f"export {form}", columns(target) if form == "parquet" else target.read_bytes()


@contextmanager
def console(server: Serve) -> Iterator[httpx.Client]:
    """Signed in with a one-time link."""
    who = ("--org", "acme", "--user", "ada@example.com", "--role", "admin", "--console")
    link = httpx.URL(secret(server.data_dir, "token", "create", *who))
    with httpx.Client(base_url=server.url(), timeout=60) as pages:
        form = {"ticket": link.params["ticket"]}
        assert pages.post("/login", data=form, headers={"sec-fetch-site": "same-origin"}).status_code == 303
        yield pages


def columns(path: Path) -> bytes:
    """What is in a Parquet file, decompressed."""
    return json.dumps(pq.read_table(path).to_pylist(), default=str, ensure_ascii=False).encode()


def files(folder: Path, search: Search) -> list[tuple[str, set[tuple[str, bytes]]]]:
    """Every file with a leak, as its bytes and as its columns are."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes() + (columns(path) if path.suffix == ".parquet" else b"")
            found.append((path.name, search.leaks(data)))
    return [leak for leak in found if leak[1]]


def survivors(events: list[dict[str, Any]], sent: list[Canary]) -> list[tuple[str, str, str]]:
    """(rule, place, field) of secrets that the event they came in still has, however short they are."""
    by_mark = {canary.mark: canary for canary in sent}
    found: list[tuple[str, str, str]] = []
    for mark, place, event in places(events):
        canary = by_mark[mark]
        texts = {name: json.dumps(event[name], ensure_ascii=False) for name in FIELDS}
        found += [(canary.secret.rule, place, name) for name, text in texts.items() if canary.hidden in text]
    return found


FIELDS: Final = (
    "event_name", "message", "user_id", "user_email", "user_name", "user_type", "user_roles", "on_behalf_of",
    "client_address", "user_agent", "resource_type", "resource_id", "resource_name", "service_name",
    "http_method", "http_route", "changes", "attributes", "otel_resource", "redactions", "flags",
    "emitter_id",
)  # fmt: skip


def test_a_secret_of_every_rule_in_every_place_over_every_protocol_is_found_nowhere(tmp_path: Path) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()
    sent = {protocol: canaries(RULES, seed) for seed, protocol in enumerate(PROTOCOLS, 41)}
    everything = [canary for made in sent.values() for canary in made]
    search, count = Search(everything), RECORDS * len(everything)
    leaks: list[tuple[str, set[tuple[str, bytes]]]] = []
    with Serve(tmp_path / "data") as server:
        key, api = tenant_with_key(server), admin(server)
        url = f"ws://{server.addresses['http']}{api.prefix}/stream"
        tailed = tmp_path / "tail.ndjson"
        headers = {"authorization": api.http.headers["authorization"]}
        with tail(server, tailed), connect(url, additional_headers=headers, max_size=None) as stream:
            # It prints this very search as soon as it watches.
            wait_for(lambda: api.get("/histogram") and tailed.stat().st_size)
            listener = Listener(stream, count)
            for protocol, made in sent.items():
                send(server, key, protocol, made)
            leaks += [("stream", search.leaks(b"\n".join(listener.all())))]
            wait_for(lambda: tailed.read_bytes().count(b"canary.mark") >= count, 60)
        leaks += [("tail", search.leaks(tailed.read_bytes()))]
        stored = [e for e in api.all_events() if "canary.mark" in (e["attributes"] or {})]
        assert len(stored) == count
        assert {place for _, place, _ in places(stored)} == set(PLACES)
        assert survivors(stored, everything) == []
        assert search.leaks(json.dumps(stored, ensure_ascii=False).encode()) == set()
        ids = [event["event_id"] for event in stored]
        leaks += files(server.data_dir, search)
        leaks += [(where, search.leaks(data)) for where, data in answers(server, api, ids, folder)]
        run(server.data_dir, "files", "--tenant", "acme", "--seal")
        leaks += files(server.data_dir, search)
        exported = folder / "api.parquet"
        exported.write_bytes(api.http.get(f"{api.prefix}/export?format=parquet").raise_for_status().content)
        leaks += files(folder, search)
    leaks += files(tmp_path, search)
    assert [leak for leak in leaks if leak[1]] == []
