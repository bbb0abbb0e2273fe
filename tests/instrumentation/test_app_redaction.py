"""What leaves an app is redacted already, by the rules the receiver runs."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from otel_audit.exporter import app_redaction
from otel_audit.exporter.receiver.app_hits import app_hits
from otel_audit.exporter.receiver.decode import decode
from otel_audit.exporter.receiver.redact import BatchRedactor
from otel_audit.exporter.redaction import Redactor, load_rules, session_hash
from otel_audit.exporter.store.regions.keyring import Keyring
from otel_audit.instrumentation import audit
from otel_audit.instrumentation.ids import canonical_uuid
from otel_audit.instrumentation.values import TEXT_CHARS_MAX
from tests.support.otlp_client import record, request
from tests.support.otlp_sink import OtlpSink, attributes_of

RECEIVER = Redactor(load_rules(), matcher="re2")
Configure = Callable[..., None]


def planted() -> tuple[str, str]:
    return "sk_live_" + secrets.token_hex(16), secrets.token_urlsafe(18) + "9!"


def record_everywhere(key: str, word: str) -> None:
    everything = f"key {key} password={word} mail ada@example.com"
    audit.record(
        "data_access",
        "update",
        target=("file", key, everything),
        message=everything,
        changes={"note": (everything, key), "password": (word, word + "x")},
        attributes={
            key: "x",
            "api_key": word,
            "nested": {"list": [everything, {"deep": key}], "password": word},
            "argv": ["--password", word],
            "payload": json.dumps({"password": word, "k": key}),
            "order": 4711,
        },
        user_id=key,
        user_email="ada@example.com",
        user_agent=everything,
        session_id=word,
        client_address="10.0.0.1",
    )


def test_no_secret_leaves_the_app_in_any_field(
    configure: Configure, sink: OtlpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, word = planted()
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", f"process.command_line=run --password={word}")
    configure()
    record_everywhere(key, word)
    sink.wait_for(1)
    sent = sink.requests[0].SerializeToString()
    assert key[8:-4].encode() not in sent
    assert word.encode() not in sent
    attributes = attributes_of(sink.records[0])
    assert attributes["session.id"] == session_hash(word)
    assert attributes["user.email"] == "ada@example.com"
    assert "a•••@example.com" in attributes["user_agent.original"]
    assert attributes["order"] == 4711
    assert attributes["argv"] == ["--password", "[REDACTED:password]"]


def test_personal_data_can_be_left_to_the_receiver(configure: Configure, sink: OtlpSink) -> None:
    key, word = planted()
    configure(redact="secrets")
    record_everywhere(key, word)
    sink.wait_for(1)
    assert "ada@example.com" in attributes_of(sink.records[0])["user_agent.original"]
    assert word.encode() not in sink.requests[0].SerializeToString()


def stored(sent: ExportLogsServiceRequest, folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = (
        BatchRedactor(RECEIVER, Keyring(folder)).apply(decode(sent, 1), "acme").to_pylist()[0]
    )
    return row


def test_the_receiver_finds_nothing_more_and_keeps_the_apps_evidence(
    configure: Configure, sink: OtlpSink, tmp_path: Path
) -> None:
    key, word = planted()
    configure()
    record_everywhere(key, word)
    sink.wait_for(1)
    row = stored(sink.requests[0], tmp_path)
    told = {(hit["rule"], hit["field"]) for hit in row["redactions"]}
    assert {("stripe_key", "user_id"), ("password", "message"), ("api_key", "attributes.api_key")} <= told
    attributes = attributes_of(sink.records[0])
    assert json.loads(row["attributes"])["nested"] == attributes["nested"]
    assert row["user_agent"] == attributes["user_agent.original"]
    assert "audit.redactions" not in row["attributes"]
    unredacted = json.loads(attributes["audit.redactions"])
    assert sum(h["count"] for h in row["redactions"]) == sum(h["count"] for h in unredacted)


def test_an_event_with_nothing_to_hide_leaves_as_it_is(configure: Configure, sink: OtlpSink) -> None:
    configure()
    audit.record(
        "data_access", "read", target=("file", "f-1", "Q3.xlsx"), attributes={"pages": [1, 2], "a": None}
    )
    [record] = sink.wait_for(1)
    attributes = attributes_of(record)
    assert attributes["pages"] == [1, 2]
    assert "audit.redactions" not in attributes


def test_an_engine_that_fails_hides_the_event_and_never_the_app(
    configure: Configure, sink: OtlpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, word = planted()
    configure()
    monkeypatch.setattr(app_redaction._Event, "attributes", lambda self, attributes: 1 / 0)
    record_everywhere(key, word)
    [record] = sink.wait_for(1)
    assert word.encode() not in record.SerializeToString()
    assert record.body.string_value == "[REDACTED:engine_error]"
    attributes = attributes_of(record)
    assert (attributes["audit.category"], attributes["audit.action"]) == ("data_access", "update")
    # A repeat is still a repeat, and the loss of an event would still show.
    assert canonical_uuid(attributes["audit.record.id"]) == attributes["audit.record.id"]
    assert attributes["audit.sequence.number"] >= 1


@pytest.mark.parametrize("session", [4711, ["a1", "b2"], {"id": "a1"}])
def test_a_session_of_any_type_leaves_as_the_hash_the_receiver_would_make(
    configure: Configure, sink: OtlpSink, tmp_path: Path, session: Any
) -> None:
    configure()
    audit.record("data_access", "read", attributes={"session.id": session})
    sink.wait_for(1)
    sent = attributes_of(sink.records[0])["session.id"]
    raw = request([record(**{"session.id": session})])
    assert sent.startswith("sh_")
    assert sent == stored(raw, tmp_path)["session_id"] == stored(sink.requests[0], tmp_path)["session_id"]


def test_a_changed_password_keeps_that_it_changed(
    configure: Configure, sink: OtlpSink, tmp_path: Path
) -> None:
    _, word = planted()
    configure()
    changes = {"password": (word, word + "x"), "note": (f"password={word}",) * 2, "size": (1, 1)}
    audit.record("data_access", "update", changes=changes)
    sink.wait_for(1)
    hidden = "[REDACTED:password]"
    row = stored(sink.requests[0], tmp_path)
    assert json.loads(row["changes"]) == {"password": {"before": hidden, "after": hidden}}


def test_attributes_that_tell_of_each_other_and_names_that_become_alike_are_all_kept(
    configure: Configure, sink: OtlpSink
) -> None:
    word, start = secrets.token_urlsafe(18) + "9!", "sk_live_" + secrets.token_hex(8)
    alike = [start + middle + "aaaa" for middle in ("b1", "c2")]
    configure()
    given = {"name": "password", "value": word, alike[0]: 1, "kept": "x", alike[1]: 2}
    audit.record("data_access", "read", attributes=given)
    [sent] = sink.wait_for(1)
    assert word.encode() not in sent.SerializeToString()
    attributes = attributes_of(sent)
    assert list(attributes)[:2] == ["name", "value"]
    assert attributes["value"] == "[REDACTED:password]"
    assert [v for n, v in attributes.items() if n.startswith("sk_live_…aaaa")] == [1, 2]


def test_the_resource_keeps_the_names_of_the_service_and_its_evidence_goes_with_every_event(
    configure: Configure, sink: OtlpSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, word = planted()
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", f"owner=ada@example.com,db.password={word}")
    configure(service_name="team@example.com")
    audit.record("data_access", "read")
    audit.record("data_access", "read")
    sink.wait_for(2)
    row = stored(sink.requests[0], tmp_path)
    assert row["service_name"] == "team@example.com"
    told = {(hit["rule"], hit["field"]) for hit in row["redactions"]}
    assert {("email", "otel_resource.owner"), ("password", "otel_resource.db.password")} <= told
    assert all("otel_resource" in attributes_of(sent)["audit.redactions"] for sent in sink.records)


@pytest.mark.parametrize(
    "claim",
    [
        "", "{", "[]", "[1]", "3", '[{"rule":"jwt"}]', '[{"rule":"no_such_rule","field":"a","count":1}]',
        '[{"rule":"jwt","field":"a","count":-1}]', '[{"rule":"jwt","field":"a","count":true}]',
        '[{"rule":"jwt","field":7,"count":1}]', '{"rule":"jwt","field":"a","count":1}', "[" * 5000,
    ],
)  # fmt: skip
def test_evidence_that_cannot_be_true_is_left_out(claim: str) -> None:
    assert not app_hits(claim, RECEIVER)


def test_a_secret_in_the_evidence_is_redacted() -> None:
    key, _ = planted()
    claim = json.dumps([{"rule": "jwt", "field": f"attributes.{key}", "count": 2}] * 100)
    hits = app_hits(claim, RECEIVER)
    assert hits == {("jwt", f"attributes.sk_live_…{key[-4:]}"): 128}


@pytest.mark.parametrize("before", [1000, 1005, 1010, 1015])
def test_a_secret_that_a_cut_would_split_goes_with_it(
    configure: Configure, sink: OtlpSink, before: int
) -> None:
    letters = "".join(secrets.choice("GHJKLMNPQRSTVWXZ") for _ in range(32))
    configure()
    long = "b " * (TEXT_CHARS_MAX // 2 - 7) + "sk_live_" + letters
    audit.record(
        "data_access", "read", message="word " * (before // 5) + "sk_live_" + letters, attributes={"a": long}
    )
    [record] = sink.wait_for(1)
    assert letters[:5].encode() not in record.SerializeToString()
