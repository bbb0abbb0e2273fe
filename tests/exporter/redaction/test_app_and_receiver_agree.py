"""An event is stored alike whether the app has redacted it or left all of it to the receiver."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from otel_audit.exporter.otlp import PrivateProvider
from otel_audit.exporter.receiver.decode import decode
from otel_audit.exporter.receiver.redact import BatchRedactor
from otel_audit.exporter.redaction import Redactor, load_rules
from otel_audit.exporter.redaction.tree import parse_json
from otel_audit.exporter.store.regions.keyring import Keyring
from otel_audit.instrumentation.config import ExporterConfig
from otel_audit.instrumentation.emitter import Emitter, Sequence
from otel_audit.instrumentation.event import AuditEvent
from tests.support.secret_events import SecretEvents

RE = Redactor(load_rules(), matcher="re")
RE2 = Redactor(load_rules(), matcher="re2")
# Not times, ids of the process and what the receiver says of itself.
TEXTS = (
    "category", "action", "event_name", "message", "user_id", "user_email", "user_roles", "client_address",
    "user_agent", "session_id", "resource_type", "resource_id", "resource_name", "http_route", "changes",
    "attributes", "otel_resource", "flags",
)  # fmt: skip


class App:
    """The client's way of an event, up to the bytes it would send."""

    def __init__(self, *, redacts: bool) -> None:
        self._sent = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
        processor = SimpleLogRecordProcessor(self._sent)
        config = ExporterConfig(endpoint="http://127.0.0.1:1", service_name="shop")
        self._provider = PrivateProvider(config, processor)
        if not redacts:
            plain = LoggerProvider(resource=Resource.create({"service.name": "shop"}), shutdown_on_exit=False)
            plain.add_log_record_processor(processor)
            self._provider._logger = plain.get_logger("otel_audit")
        self._emitter = Emitter(self._provider, Sequence())

    def request(self, event: AuditEvent) -> ExportLogsServiceRequest:
        self._sent.clear()
        self._emitter.emit(event)
        return encode_logs(self._sent.get_finished_logs())

    def close(self) -> None:
        self._provider.shutdown()


class Ends:
    """Both kinds of app and one receiver."""

    def __init__(self, folder: Path) -> None:
        self.redacting, self.trusting = App(redacts=True), App(redacts=False)
        self._receiver = BatchRedactor(RE2, Keyring(folder))

    def received(self, request: ExportLogsServiceRequest) -> dict[str, Any]:
        row: dict[str, Any] = decode(request, 1_700_000_000_000_000_000).to_pylist()[0]
        return row

    def stored(self, request: ExportLogsServiceRequest) -> dict[str, Any]:
        batch = decode(request, 1_700_000_000_000_000_000)
        row: dict[str, Any] = self._receiver.apply(batch, "acme").to_pylist()[0]
        return row


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ends]:
    made = Ends(tmp_path_factory.mktemp("keys"))
    yield made
    made.redacting.close()
    made.trusting.close()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_an_event_is_stored_alike_whether_the_app_redacts_it_or_not(ends: Ends, seed: int) -> None:
    event = SecretEvents(seed).event()
    redacted = ends.stored(ends.redacting.request(event))
    plain = ends.stored(ends.trusting.request(event))
    assert {name: redacted[name] for name in TEXTS} == {name: plain[name] for name in TEXTS}
    assert {hit["rule"] for hit in redacted["redactions"] or ()} == {
        hit["rule"] for hit in plain["redactions"] or ()
    }


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_the_receiver_changes_nothing_more_of_what_an_app_has_redacted(ends: Ends, seed: int) -> None:
    request = ends.redacting.request(SecretEvents(seed).event())
    came, kept = ends.received(request), ends.stored(request)
    assert {name: kept[name] for name in TEXTS} == {name: came[name] for name in TEXTS}


def shape(value: Any, other: Any) -> None:
    """Fail unless `other` has the names' number, order and types of `value` wherever nothing was hidden."""
    if isinstance(value, dict) and isinstance(other, dict):
        for (name, item), (shown, left) in zip(value.items(), other.items(), strict=True):
            assert name == shown or is_hidden(shown)
            shape(item, left)
        return
    if isinstance(value, list) and isinstance(other, list):
        for item, left in zip(value, other, strict=True):
            shape(item, left)
        return
    if other != value or type(other) is not type(value):
        assert isinstance(other, str)
        assert is_hidden(other)


def is_hidden(text: str) -> bool:
    return any(mark in text for mark in ("[REDACTED:", "•", "…"))


@pytest.mark.parametrize("engine", [RE, RE2], ids=["re", "re2"])
@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32))
def test_trees_keep_order_and_types_of_what_is_untouched_and_stay_when_redacted_again(
    engine: Redactor, seed: int
) -> None:
    tree = SecretEvents(seed).tree()
    once, _ = engine.tree(tree, personal=True, field="attributes")
    shape(tree, once)
    assert json.loads(json.dumps(once)) == once
    assert engine.tree(once, personal=True, field="attributes") == (once, {})


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32))
def test_the_json_of_a_stored_event_is_valid_and_stays_as_it_is(ends: Ends, seed: int) -> None:
    row = ends.stored(ends.trusting.request(SecretEvents(seed).event()))
    for name in ("changes", "attributes", "otel_resource"):
        if row[name] is not None:
            document = parse_json(row[name])
            assert list(json.loads(row[name])) == list(document)
            assert "invalid_json" not in document
            assert RE.tree(json.loads(row[name]), personal=True, field=name)[1] == {}
