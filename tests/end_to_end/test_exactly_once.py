"""Every acknowledged event exactly once: through independent clients, and through kill -9."""

from __future__ import annotations

import csv
import io
import os
import random
import time
from collections import Counter
from pathlib import Path

import duckdb
import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from otel_audit.instrumentation.ids import uuid7
from tests.support.api_client import admin, tenant_with_key
from tests.support.node import js_send
from tests.support.process import Serve, find_bytes, run
from tests.support.sender import Sender

LONG = os.environ.get("FAULTS") == "long"


def send_with_python_sdk(exporter: HttpExporter | GrpcExporter, count: int) -> list[str]:
    """What any app with the stock SDK does; returns the record ids."""
    provider = LoggerProvider(resource=Resource({"service.name": "python-client"}), shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter, max_queue_size=count + 1))
    logger = provider.get_logger("tests")
    ids = [uuid7() for _ in range(count)]
    for record_id in ids:
        logger.emit(
            timestamp=time.time_ns(),
            severity_number=SeverityNumber.INFO,
            event_name="audit.data_access.read",
            body="read a file",
            attributes={
                "audit.record.id": record_id,
                "audit.category": "data_access",
                "audit.action": "read",
                "user.id": "u-1",
            },
        )
    assert provider.force_flush(60_000)
    provider.shutdown()
    return ids


@pytest.mark.node
def test_ten_thousand_events_of_two_independent_clients_are_each_found_once(tmp_path: Path) -> None:
    with Serve(tmp_path / "data") as server:
        key = tenant_with_key(server)
        headers = {"authorization": f"Bearer {key}"}
        http, grpc = server.url("", "otlp_http"), server.url("", "otlp_grpc")
        ids = send_with_python_sdk(HttpExporter(endpoint=f"{http}/v1/logs", headers=headers), 2_500)
        ids += send_with_python_sdk(GrpcExporter(endpoint=grpc, headers=headers, insecure=True), 2_500)
        js_send("http/protobuf", http, key, 1_700)
        js_send("http/json", http, key, 1_700)
        js_send("grpc", grpc, key, 1_600)
        api = admin(server)

        events = api.all_events(service=["python-client", "js-client"])
        assert len(events) == 10_000
        assert len({event["event_id"] for event in events}) == 10_000
        assert set(ids) <= {event["event_id"] for event in events}
        from_js = [event for event in events if event["service_name"] == "js-client"]
        assert len(from_js) == 5_000
        assert all(len(event["trace_id"]) == 32 and int(event["trace_id"], 16) for event in from_js)
        assert all(len(event["span_id"]) == 16 and int(event["span_id"], 16) for event in from_js)

        answer = api.http.get(f"{api.prefix}/export", params={"format": "csv"})
        rows = [
            row for row in csv.DictReader(io.StringIO(answer.text)) if row["service_name"].endswith("-client")
        ]
        assert Counter(row["event_id"] for row in rows) == Counter(event["event_id"] for event in events)

        run(server.data_dir, "files", "--tenant", "acme", "--seal")
        found = duckdb.execute(
            "SELECT count(*), count(DISTINCT event_id) FROM "
            f"read_parquet('{server.data_dir}/store/tenant=acme/*/*/*.parquet', hive_partitioning = true) "
            "WHERE service_name IN ('python-client', 'js-client')"
        ).fetchall()
        assert found == [(10_000, 10_000)]
        assert run(server.data_dir, "verify", "--tenant", "acme").returncode == 0


def test_kill_9_at_random_moments_under_load_loses_and_doubles_nothing(tmp_path: Path) -> None:
    # A short seal interval: the kills then fall on sealing and on dropping log segments too.
    server = Serve(tmp_path / "data", OTEL_AUDIT__STORE__SEAL_INTERVAL_S="1").start()
    key = tenant_with_key(server)
    api = admin(server)
    senders = [Sender(server.addresses["otlp_http"], key) for _ in range(4)]
    for sender in senders:
        sender.start()
    for _ in range(100 if LONG else 10):
        time.sleep(random.uniform(0.05, 1.2))
        ports = server.ports
        server.kill()
        server.start(ports)
    for sender in senders:
        sender.finish.set()
    for sender in senders:
        sender.join(90)
        assert not sender.is_alive()
    acknowledged = [i for sender in senders for i in sender.acknowledged]
    assert sum(sender.repeats for sender in senders) > 0, "no kill hit a request: the test shows nothing"
    events = api.all_events(service="tests")
    assert Counter(event["event_id"] for event in events) == Counter(acknowledged)
    numbers = sorted(event["seq"] for event in api.all_events())
    assert numbers == list(range(1, len(numbers) + 1))
    assert server.stop() == 0
    assert run(server.data_dir, "verify", "--tenant", "acme").returncode == 0
    assert find_bytes(tmp_path / "data", [key.encode()]) == []
