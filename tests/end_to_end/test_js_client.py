"""OpenTelemetry's JavaScript SDK against the real receiver: an emitter that shares no code with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.node import js_send
from tests.support.receiver import Receiver, running

PROTOCOLS = ("http/protobuf", "http/json", "grpc")


@pytest.mark.node
def test_every_event_of_the_javascript_sdk_arrives_once_with_hex_ids(tmp_path: Path) -> None:
    with running(Receiver(tmp_path / "root")) as receiver:
        key = receiver.key("acme")
        sent: dict[str, tuple[str, str]] = {}
        for number, protocol in enumerate(PROTOCOLS):
            address = receiver.grpc if protocol == "grpc" else receiver.http
            receiver.store.fail(number)
            listing = tmp_path / "events.ndjson"
            line = js_send(
                protocol,
                f"http://{address}",
                key,
                300,
                "--run",
                protocol,
                "--list",
                str(listing),
            )
            assert (line["sent"], line["exported"]) == (300, 300)
            for event in map(json.loads, listing.read_text().splitlines()):
                sent[event["record_id"]] = (event["trace_id"], event["span_id"])
        rows = receiver.rows()
        assert len(rows) == len(sent) == 900
        assert {row["event_id"]: (row["trace_id"], row["span_id"]) for row in rows} == sent
        for row in rows:
            assert (row["category"], row["action"], row["flags"]) == ("data_access", "read", [])
            attributes = json.loads(row["attributes"])
            assert attributes["test.nested"] == {"list": ["a", 1, True], "text": "é ✓"}
            assert (row["message"], row["http_status"]) == (f"read document {attributes['test.number']}", 200)
