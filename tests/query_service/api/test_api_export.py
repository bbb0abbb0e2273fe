"""Exports over HTTP: files, their rate, and what a client sees when one breaks off."""

from __future__ import annotations

import csv
import io
import json
import re
import socket
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pyarrow.parquet as pq

from otel_audit.exporter.store.schema import COLUMN_NAMES
from tests.support.server import QueryServer


def _export(client: httpx.Client, org: str, file_format: str = "csv", **filters: str) -> httpx.Response:
    return client.get(f"/api/v1/orgs/{org}/export", params={"format": file_format, **filters})


def test_a_csv_holds_every_column_and_only_the_filter(server: QueryServer, org: str) -> None:
    ids = server.ingest(org, 3, message="=HYPERLINK(1)")
    server.ingest(org, category="security", action="key_create")
    with server.client(server.token(org)) as client:
        answered = _export(client, org, action="read", category="data_access")
    assert answered.status_code == 200
    assert answered.headers["content-type"].startswith("text/csv; charset=utf-8")
    assert re.fullmatch(
        rf'attachment; filename="audit-{org}-[0-9]{{8}}T[0-9]{{6}}Z\.csv"',
        answered.headers["content-disposition"],
    )
    rows = list(csv.DictReader(io.StringIO(answered.text)))
    assert tuple(rows[0]) == COLUMN_NAMES
    assert [row["event_id"] for row in rows] == ids
    assert rows[0]["message"].startswith("'=")


def test_ndjson_and_parquet_hold_the_same_rows(server: QueryServer, org: str) -> None:
    ids = server.ingest(org, 4)
    with server.client(server.token(org)) as client:
        lines = _export(client, org, "ndjson", action="read", category="data_access").text.splitlines()
        table = pq.read_table(
            io.BytesIO(_export(client, org, "parquet", action="read", category="data_access").content)
        )
    assert [json.loads(line)["event_id"] for line in lines] == ids
    assert table["event_id"].to_pylist() == ids


def test_an_export_is_recorded_before_its_first_byte(server: QueryServer, org: str) -> None:
    with (
        server.client(server.token(org)) as client,
        client.stream(
            "GET", f"/api/v1/orgs/{org}/export", params={"format": "csv", "action": "read"}
        ) as answered,
    ):
        assert answered.status_code == 200
        [found] = server.trail(org, ("action", "export"))
        answered.read()
    assert found["user_id"] == "ada@example.com"
    assert found["attributes"]["otel_audit.format"] == "csv"
    assert found["attributes"]["otel_audit.filters"] == {"action": ["read"]}


def test_the_eleventh_export_of_an_hour_is_refused_with_the_time_to_wait(
    server: QueryServer, org: str
) -> None:
    with server.client(server.token(org)) as client:
        answers = [_export(client, org) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429]
    refused = answers[-1]
    assert 0 < int(refused.headers["retry-after"]) <= 3600
    assert refused.headers["content-type"] == "application/problem+json"
    [found] = [e for e in server.trail(org, ("action", "access_denied")) if e["http_status"] == 429]
    assert found["user_id"] == "ada@example.com"


def test_an_unusable_export_counts_nothing(server: QueryServer, org: str) -> None:
    server.core.tenants.set(org, export_rate="1/h")
    with server.client(server.token(org)) as client:
        assert client.get(f"/api/v1/orgs/{org}/export").json()["parameter"] == "format"
        assert _export(client, org, "xlsx").status_code == 400
        assert _export(client, org, category="nonsense").status_code == 400
        assert _export(client, org).status_code == 200
        assert _export(client, org).status_code == 429


START = datetime.now(UTC) - timedelta(hours=2)


def test_a_client_that_leaves_cancels_its_export_and_it_does_not_count(server: QueryServer, org: str) -> None:
    server.core.tenants.set(org, export_rate="1/h")
    server.fill(org, 20_000, START)
    host, port = server.address.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as raw:
        raw.sendall(
            f"GET /api/v1/orgs/{org}/export?format=ndjson HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {server.token(org)}\r\n\r\n".encode()
        )
        assert raw.recv(64).startswith(b"HTTP/1.1 200")
    deadline = time.monotonic() + 20
    with server.client(server.token(org)) as client:
        while (again := _export(client, org, q="nothing like this")).status_code == 429:
            assert time.monotonic() < deadline, "the export that was left still counts"
            time.sleep(0.05)
    assert again.status_code == 200


def test_an_export_that_fails_midway_is_cut_off_and_says_nothing_in_its_body(
    server: QueryServer, org: str
) -> None:
    server.core.tenants.set(org, export_rate="1/h")
    server.fill(org, 45_000, START)
    server.core.seal(org)
    first = set(_files(server, org))
    server.fill(org, 5_000, START + timedelta(minutes=30))
    server.core.seal(org)
    [last] = set(_files(server, org)) - first
    with server.client(server.token(org)) as client:
        body = _read_until_cut(client, org, last)
        complete = body[: body.rindex(b"\n")].splitlines()
        assert 0 < len(complete) < 50_000
        assert all(json.loads(line)["action"] == "read" for line in complete[:: len(complete) // 50])
        # It did not count.
        assert _export(client, org, to="2020-01-01").status_code == 200
        assert _export(client, org, to="2020-01-01").status_code == 429


def _read_until_cut(client: httpx.Client, org: str, to_damage: Path) -> bytearray:
    """What arrives of an export one of whose files is damaged after its first bytes came."""
    body = bytearray()
    asked = {"format": "ndjson", "action": "read"}
    with client.stream("GET", f"/api/v1/orgs/{org}/export", params=asked) as answered:
        assert answered.status_code == 200
        try:
            for chunk in answered.iter_raw():
                if not body:
                    _damage(to_damage)
                body += chunk
        except httpx.RemoteProtocolError:
            return body
    raise AssertionError("the export ended as if it were whole")


def _files(server: QueryServer, org: str) -> list[Path]:
    return [
        p
        for p in (server.core.root.path / "store" / f"tenant={org}").rglob("*.parquet")
        if "_" not in p.parts
    ]


def _damage(path: Path) -> None:
    """Turn a file's data into zeros where it lies."""
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
