from __future__ import annotations

import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from opentelemetry import trace
from opentelemetry._logs import get_logger_provider
from opentelemetry.instrumentation.utils import is_http_instrumentation_enabled
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from otel_audit.exporter import otlp
from otel_audit.exporter.otlp import PrivateProvider, QueueFull, ShippingProcessor
from otel_audit.instrumentation import audit
from otel_audit.instrumentation.config import ExporterConfig
from otel_audit.instrumentation.ids import uuid7
from tests.support.otlp_sink import OtlpSink, attributes_of, grpc_sink

Configure = Callable[..., None]


def test_an_event_arrives_as_an_otel_log_record_with_key_resource_and_nested_changes(
    sink: OtlpSink, configure: Configure, ingest_key: str
) -> None:
    configure(tenant="acme")
    with audit.context(user_id="u-1", user_email="ann@example.com"):
        record_id = audit.record(
            "data_access", "update", target=("file", "f-81", "Q3.xlsx"),
            time_unix_nano=1_772_323_200_000_000_001,
            changes={"name": ("Q3.xlsx", None),
                     "acl": ({"read": ["a", "b"]}, {"read": ["a"], "write": {"n": 1}})},
        )  # fmt: skip
    assert audit.flush()
    (record,) = sink.wait_for(1)
    assert sink.paths == ["/v1/logs"]
    assert sink.headers[0]["authorization"] == f"Bearer {ingest_key}"
    assert sink.headers[0]["content-encoding"] == "gzip"
    assert sink.resource["service.name"] == "shop"
    assert record.event_name == "audit.data_access.update"
    assert (record.time_unix_nano, record.severity_number, record.severity_text) == (
        1_772_323_200_000_000_001, 9, "info",
    )  # fmt: skip
    assert record.body.string_value == "Updated file Q3.xlsx"
    attributes = attributes_of(record)
    assert attributes["audit.record.id"] == record_id
    assert attributes["audit.change.before"] == {"name": "Q3.xlsx", "acl": {"read": ["a", "b"]}}
    assert attributes["audit.change.after"] == {"acl": {"read": ["a"], "write": {"n": 1}}}
    assert (attributes["audit.actor.id"], attributes["audit.tenant.id"]) == ("u-1", "acme")


def test_severities_leave_as_their_opentelemetry_numbers(sink: OtlpSink, configure: Configure) -> None:
    configure()
    for severity in ("info", "warning", "error", "critical"):
        audit.record("system", "integration", severity=severity)
    assert audit.flush()
    assert [record.severity_number for record in sink.records] == [9, 13, 17, 21]


def test_an_event_carries_the_active_span_sampled_or_not(sink: OtlpSink, configure: Configure) -> None:
    configure()
    tracer = TracerProvider(sampler=ALWAYS_OFF).get_tracer("test")
    with tracer.start_as_current_span("work") as span:
        audit.record("data_access", "read")
    assert audit.flush()
    context = span.get_span_context()
    assert sink.records[0].trace_id == context.trace_id.to_bytes(16, "big")
    assert sink.records[0].span_id == context.span_id.to_bytes(8, "big")


def test_every_attribute_survives_whatever_limits_the_app_has_set(
    sink: OtlpSink, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_ATTRIBUTE_COUNT_LIMIT", "5")
    monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3")
    monkeypatch.setenv("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "5")
    configure()
    audit.record("data_access", "read", attributes={f"extra.{n}": f"value {n}" for n in range(400)})
    assert audit.flush()
    attributes = attributes_of(sink.records[0])
    assert all(attributes[f"extra.{n}"] == f"value {n}" for n in range(400))
    assert attributes["audit.category"] == "data_access"
    assert sink.records[0].dropped_attributes_count == 0


def test_events_are_numbered_per_tenant_and_class(sink: OtlpSink, configure: Configure) -> None:
    configure()
    tenants = [f"t-{uuid7()}", f"t-{uuid7()}"]
    for tenant in (*tenants, *tenants):
        audit.record("data_access", "read", tenant=tenant)
        audit.record("data_access", "retrieve", tenant=tenant)
    assert audit.flush()
    seen = [attributes_of(record) for record in sink.records]
    assert len({a["audit.emitter.id"] for a in seen}) == 1
    numbers: dict[tuple[str, str], list[int]] = {}
    for a in seen:
        numbers.setdefault((a["audit.tenant.id"], a["audit.retention.class"]), []).append(
            a["audit.sequence.number"]
        )
    assert numbers == {(tenant, kind): [1, 2] for tenant in tenants for kind in ("standard", "rag")}


def test_ten_thousand_events_at_once_all_arrive_once(sink: OtlpSink, configure: Configure) -> None:
    configure()
    ids = [audit.record("data_access", "read") for _ in range(10_000)]
    assert audit.flush(timeout_s=60)
    assert sorted(attributes_of(r)["audit.record.id"] for r in sink.records) == sorted(map(str, ids))


def test_grpc_carries_the_same_events(ingest_key: str) -> None:
    with grpc_sink() as sink:
        audit.configure(endpoint=sink.url, key=ingest_key, protocol="grpc", headers={"X-One": "1"})
        try:
            audit.record("security", "key_create", changes={"name": (None, "ci")})
            assert audit.flush()
        finally:
            audit.shutdown()
        assert attributes_of(sink.records[0])["audit.change.after"] == {"name": "ci"}
        assert sink.headers[0]["authorization"] == f"Bearer {ingest_key}"
        assert sink.headers[0]["x-one"] == "1"


def test_the_apps_own_otlp_settings_reach_neither_protocol(
    sink: OtlpSink, configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    vendor = secrets.token_hex(12)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"x-vendor-key={vendor}")
    monkeypatch.setenv(
        "OTEL_EXPORTER_OTLP_LOGS_HEADERS", f"x-vendor-key={vendor},authorization=Basic%20{vendor}"
    )
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such.pem")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "deflate")
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login me password {vendor}\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    configure()
    audit.record("data_access", "read")
    assert audit.flush()
    with grpc_sink() as other:
        configure(endpoint=other.url, protocol="grpc", key="")
        audit.record("data_access", "read")
        assert audit.flush()
        audit.shutdown()
    assert vendor not in repr(sink.headers + other.headers)
    assert sink.headers[0]["authorization"].startswith("Bearer ")
    assert sink.headers[0]["content-encoding"] == "gzip"


def test_a_receiver_that_cannot_answer_now_gets_the_events_later(
    sink: OtlpSink, configure: Configure
) -> None:
    configure(timeout_s=0.3)
    sink.statuses = [503, 401, 429]
    record_id = audit.record("data_access", "read")
    assert audit.flush(timeout_s=20)
    assert [attributes_of(record)["audit.record.id"] for record in sink.records] == [record_id]
    assert len(sink.paths) == 4


def test_a_redirect_is_no_acceptance(sink: OtlpSink, configure: Configure) -> None:
    configure()
    sink.statuses = [302]
    audit.record("data_access", "read")
    assert audit.flush(timeout_s=20)
    assert len(sink.records) == 1
    assert sink.paths == ["/v1/logs", "/v1/logs"]


def test_one_record_that_no_receiver_can_take_does_not_take_its_neighbours_with_it(
    sink: OtlpSink, configure: Configure
) -> None:
    sink.refuses = lambda request: "poison" in str(request)
    configure(schedule_delay_ms=60_000)
    ids = [audit.record("data_access", "read", message="poison" if n == 7 else "fine") for n in range(20)]
    assert audit.flush(timeout_s=20) is False
    assert {attributes_of(r)["audit.record.id"] for r in sink.records} == {*ids} - {ids[7]}


def test_huge_events_travel_in_requests_a_receiver_takes(sink: OtlpSink, configure: Configure) -> None:
    configure(schedule_delay_ms=60_000)
    for _ in range(60):
        audit.record("data_access", "read", attributes={str(n): "x" * 60_000 for n in range(4)})
    assert audit.flush(timeout_s=30)
    assert len(sink.records) == 60
    assert max(request.ByteSize() for request in sink.requests) < 4 << 20


def test_flush_tells_the_truth_about_a_dead_receiver(configure: Configure) -> None:
    configure(endpoint="http://127.0.0.1:9", timeout_s=0.2)
    audit.record("data_access", "read")
    assert audit.flush(timeout_s=0.3) is False


class Stuck:
    """An exporter whose receiver never answers until let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def export(self, batch: Any) -> LogRecordExportResult:
        self.let_go.wait(30)
        return LogRecordExportResult.SUCCESS

    def shutdown(self) -> None:
        self.let_go.set()


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    exporter = Stuck()
    yield exporter
    exporter.let_go.set()


def test_a_full_queue_refuses_the_new_event_and_keeps_the_older_ones(stuck: Stuck) -> None:
    processor = ShippingProcessor(stuck, 1, waiting_max=5)  # type: ignore[arg-type]
    provider = PrivateProvider(ExporterConfig(endpoint="http://unused"), processor)
    for n in range(5):
        provider.logger.emit(body=str(n))
    with pytest.raises(QueueFull):
        provider.logger.emit(body="one too many")
    stuck.let_go.set()
    assert provider.flush(10)
    provider.logger.emit(body="room again")
    assert provider.flush(10)
    provider.shutdown(1)
    with pytest.raises(QueueFull):
        provider.logger.emit(body="after the end")


def test_the_requests_of_the_trail_are_not_traced(
    sink: OtlpSink, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced: list[bool] = []
    original = requests.Session.send

    def instrumented(self: requests.Session, request: Any, **kwargs: Any) -> requests.Response:
        traced.append(is_http_instrumentation_enabled())
        return original(self, request, **kwargs)

    monkeypatch.setattr(requests.Session, "send", instrumented)
    configure()
    with trace.use_span(trace.NonRecordingSpan(trace.SpanContext(1, 1, is_remote=False))):
        audit.record("data_access", "read")
        assert audit.flush()
    assert traced == [False]


def test_the_apps_own_telemetry_and_the_trail_never_meet(sink: OtlpSink, configure: Configure) -> None:
    configure()
    assert not isinstance(get_logger_provider(), LoggerProvider)
    get_logger_provider().get_logger("app").emit(body="the app's own log line")
    audit.record("data_access", "read")
    assert audit.flush()
    assert [record.event_name for record in sink.records] == ["audit.data_access.read"]


def run(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=clean | environ, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip


RECORD = """
import logging; logging.basicConfig()
from otel_audit.instrumentation import audit
print(audit.record("system", "task_completed"), audit.record("system", "task_completed"))
"""


def test_an_app_configured_by_environment_alone_sends_what_waits_when_it_ends(
    sink: OtlpSink, tmp_path: Path, ingest_key: str
) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(f"{ingest_key}\n")
    ended = run(
        RECORD,
        OTEL_AUDIT_ENDPOINT=sink.url, OTEL_AUDIT_KEY_FILE=str(key_file), OTEL_AUDIT_TENANT="acme",
        OTEL_SERVICE_NAME="batch", OTEL_RESOURCE_ATTRIBUTES="service.version=1.2",
    )  # fmt: skip
    assert [attributes_of(record)["audit.record.id"] for record in sink.records] == ended.stdout.split()
    assert (sink.resource["service.name"], sink.resource["service.version"]) == ("batch", "1.2")
    assert attributes_of(sink.records[0])["audit.tenant.id"] == "acme"
    assert sink.headers[0]["authorization"] == f"Bearer {ingest_key}"


def test_a_disabled_sdk_records_nothing_and_says_so_once(sink: OtlpSink) -> None:
    ended = run(RECORD, OTEL_AUDIT_ENDPOINT=sink.url, OTEL_SDK_DISABLED="true")
    assert ended.stdout.split() == ["None", "None"]
    assert ended.stderr.count("OTEL_SDK_DISABLED") == 1
    assert sink.paths == []


def test_a_misspelt_setting_is_said_and_does_not_stop_the_app(sink: OtlpSink) -> None:
    ended = run(RECORD, OTEL_AUDIT_ENDPOINT=sink.url, OTEL_AUDIT_PROTOCOL="htttp")
    assert ended.stdout.split() == ["None", "None"]
    assert "protocol" in ended.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_sends_its_own_events_and_not_its_parents(sink: OtlpSink) -> None:
    code = """
import os, warnings
warnings.simplefilter("ignore")
from otel_audit.instrumentation import audit
audit.configure(schedule_delay_ms=60_000)
audit.record("data_access", "read")
child = os.fork()
audit.record("data_access", "update" if child else "delete")
assert audit.flush()
if child:
    assert os.waitpid(child, 0)[1] == 0
else:
    os._exit(0)
"""
    run(code, OTEL_AUDIT_ENDPOINT=sink.url)
    seen = [attributes_of(record) for record in sink.records]
    assert sorted(a["audit.action"] for a in seen) == ["delete", "read", "update"]
    assert len({(a["audit.emitter.id"], a["audit.sequence.number"]) for a in seen}) == 3
    assert len({a["audit.emitter.id"] for a in seen}) == 2


def test_the_entry_point_of_the_distribution_is_this_exporter() -> None:
    from otel_audit.instrumentation.emitter import find_exporter

    assert find_exporter("otlp") is otlp.make_processor
