"""`/readyz` names damaged files of a running server, and forgets them when they are whole again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.api_client import admin, tenant_with_key
from tests.support.otlp_client import record, send
from tests.support.process import Serve, wait_for

# The server looks every ten seconds; the rest is for a busy machine.
NOTICED_S = 40.0
DIFFERS = "it is in quarantine: its SHA-256 differs from the manifest's"
SEAL_AT_ONCE = {"OTEL_AUDIT__STORE__SEAL_ROWS": "1"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Serve]:
    with Serve(tmp_path / "data", **SEAL_AT_ONCE) as serve:
        yield serve


def degraded(server: Serve) -> list[str]:
    """What /readyz names; it stays 200, because events are still acknowledged."""
    answered = httpx.get(server.url("/readyz"))
    assert answered.status_code == 200
    named: list[str] = answered.json()["degraded"]
    return named


def sealed_files(server: Serve, key: str, count: int) -> list[Path]:
    """One event a file; the files."""
    store = server.data_dir / "store" / "tenant=acme"
    found: set[Path] = set()
    while len(found) < count:
        send(server.addresses["otlp_http"], key, [record("security", "damage_test")])
        seen = found
        found = wait_for(lambda seen=seen: (now := set(store.glob("*/*/*.parquet"))) > seen and now)
    return sorted(found)[:count]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def test_every_damage_is_named_and_forgotten_when_the_file_is_whole_again(server: Serve) -> None:
    missing, shorter, changed = paths = sealed_files(server, tenant_with_key(server), 3)
    api = admin(server)
    whole = {path: path.read_bytes() for path in paths}
    assert degraded(server) == []
    missing.unlink()
    cut(shorter)
    wait_for(lambda: len(degraded(server)) == 2, NOTICED_S)
    flip(changed)
    # The same size: only who reads the bytes can know, and a query does before it answers.
    partial = api.get("/events", action="damage_test")["partial"]
    assert {each["file"] for each in partial} == {path.name for path in paths}
    assert sorted(degraded(server)) == sorted(
        f"{path.name}: {'the file is missing' if path == missing else DIFFERS}" for path in paths
    )
    for path, data in whole.items():
        path.write_bytes(data)
    wait_for(lambda: degraded(server) == [], NOTICED_S)
    page = api.get("/events", action="damage_test")
    assert (len(page["events"]), page["partial"]) == (3, [])
