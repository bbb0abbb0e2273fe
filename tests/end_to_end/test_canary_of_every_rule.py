"""One secret of every rule in every field, by every protocol: a byte search finds none of them anywhere."""

from __future__ import annotations

import contextlib
import io
import json
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

import grpc
import httpx
import pyarrow.parquet as pq
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from websockets.sync.client import connect

from otel_audit.exporter.redaction import Redactor, load_rules
from tests.redaction.seeded import Seeded, seeded
from tests.support.api_client import Api, admin, tenant_with_key
from tests.support.otlp_client import any_value, post, record, request
from tests.support.otlp_json import as_json
from tests.support.process import Serve, find_bytes, run

RULES = load_rules()
# Shorter secrets are found by chance in ids and times; of them the whole text is looked for.
_NEEDLE_MIN = 8


def needle(sample: Seeded) -> bytes:
    """What must not be found; without line ends and quotes, which JSON writes differently."""
    runs = re.findall(r"[A-Za-z0-9+/=_.@-]+", sample.secret)
    longest = max(runs, key=len, default="")
    return (longest if len(longest) >= _NEEDLE_MIN else sample.text).encode()


def canaries() -> list[Seeded]:
    """A secret of every rule and name that plain text loses; how often that is so is measured elsewhere."""
    engine = Redactor(RULES, matcher="re2")
    found: dict[str, Seeded] = {}
    for sample in seeded(RULES, secrets.randbits(32), 4):
        text, _ = engine.text(sample.text, personal=True, field="message")
        if needle(sample).decode() not in text:
            found.setdefault(sample.rule, sample)
    return list(found.values())


def everywhere(samples: Iterable[Seeded]) -> ExportLogsServiceRequest:
    """One record a sample, its text in every field that may hold text."""
    made = ExportLogsServiceRequest()
    for sample in samples:
        text = sample.text
        made_record = record(
            "data_access",
            "update",
            body=text,
            note=text,
            nested={"inner": {"deep": text}},
            items=["first", text, {"third": text}],
            payload=json.dumps({"inner": text}),
            user_agent__original=text,
            audit__target__name=text,
            audit__change__before={"field": text},
            audit__change__after={"field": f"changed {text}"},
        )
        made_record.attributes.append(KeyValue(key=text, value=any_value("as a name")))
        if sample.rule_class != "personal":  # names of events hold no personal data
            made_record.event_name = text
        made.MergeFrom(request([made_record], service="canary", process__command_line=text))
    return made


def send(server: Serve, key: str, made: dict[str, list[Seeded]]) -> None:
    """A request by each protocol."""
    address = server.addresses["otlp_http"]
    assert post(address, key, everywhere(made["http"]).SerializeToString())[0] == 200
    as_text = json.dumps(as_json(everywhere(made["json"]))).encode()
    assert post(address, key, as_text, **{"content-type": "application/json"})[0] == 200
    with grpc.insecure_channel(server.addresses["otlp_grpc"]) as channel:
        export = LogsServiceStub(channel).Export  # type: ignore[no-untyped-call]
        export(everywhere(made["grpc"]), metadata=[("authorization", f"Bearer {key}")], timeout=60)


def read_everything(server: Serve, api: Api) -> list[bytes]:
    """What every way to read answers."""
    paths = ["/events?limit=1000", "/facets", "/histogram", "/redaction"]
    paths += ["/export?format=csv", "/export?format=ndjson"]
    answers = [api.http.get(api.prefix + path).content for path in paths]
    events = api.get("/events", limit=1000)["events"]
    assert len(events) >= 3 * len(RULES.rules)
    answers += [api.http.get(f"{api.prefix}/events/{event['event_id']}").content for event in events[::20]]
    answers.append(httpx.get(server.url("/metrics", "metrics")).content)
    answers.append(run(server.data_dir, "search", "--tenant", "acme", "--format", "ndjson").stdout.encode())
    exported = api.http.get(f"{api.prefix}/export?format=parquet").content
    answers.append(str(pq.read_table(io.BytesIO(exported)).to_pylist()).encode())
    return answers


def test_no_secret_of_any_rule_is_found_in_any_field(tmp_path: Path) -> None:
    made = {kind: canaries() for kind in ("grpc", "http", "json")}
    assert {s.rule for s in made["grpc"]} >= {rule.id for rule in RULES.rules}
    needles = {needle(sample): sample for samples in made.values() for sample in samples}
    with Serve(tmp_path / "data") as server:
        key = tenant_with_key(server)
        api = admin(server)
        url = f"ws://{server.addresses['http']}{api.prefix}/stream"
        with connect(url, additional_headers={"authorization": api.http.headers["authorization"]}) as stream:
            send(server, key, made)
            answers: list[bytes] = []
            with contextlib.suppress(TimeoutError):
                while True:
                    message = stream.recv(timeout=3)
                    answers.append(message if isinstance(message, bytes) else message.encode())
        assert len(answers) > len(RULES.rules)
        answers += read_everything(server, api)
        run(server.data_dir, "files", "--tenant", "acme", "--seal")
        answers += read_everything(server, api)
        on_disk = find_bytes(tmp_path, list(needles))
    on_disk += find_bytes(tmp_path, list(needles))
    for path in (tmp_path / "data" / "store").rglob("*.parquet"):
        answers.append(str(pq.read_table(path, partitioning=None).to_pylist()).encode())
    everything = b"\n".join([*answers, server.log.read_bytes()])
    leaked = [sample for wanted, sample in needles.items() if wanted in everything]
    assert [(sample.rule, sample.text) for sample in leaked] == []
    assert [(needles[wanted].rule, path) for path, wanted in on_disk] == []
