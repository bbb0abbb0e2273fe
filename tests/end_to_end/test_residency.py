"""A tenant pinned to a region: no byte of its events outside of that region's root."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from tests.support.otlp_client import post, record, request, send
from tests.support.process import Serve, find_bytes, run, secret, wait_for


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with_server = Place(tmp_path)
    yield with_server
    if with_server.server.process is not None:
        with_server.server.stop()


class Place:
    """A server with the regions eu and us, acme in one and globex in the other."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data, self.eu, self.us = (
            folder,
            folder / "data",
            folder / "eu",
            folder / "us",
        )
        self.regions = {
            "OTEL_AUDIT__REGIONS__EU": str(self.eu),
            "OTEL_AUDIT__REGIONS__US": str(self.us),
            "OTEL_AUDIT__REGIONS__DEFAULT": "us",
        }
        self.server = Serve(self.data, **self.regions).start()
        self.run("tenant", "add", "acme", "--region", "eu", "--alias", "Acme Corp")
        self.run("tenant", "add", "globex")
        self.canaries: list[bytes] = []
        self.backup = folder / "backup"

    def is_home(self, path: Path) -> bool:
        """Whether a path is of region eu: under its root, or under its part of a backup."""
        return path.is_relative_to(self.eu) or path.is_relative_to(self.backup / "regions" / "eu")

    def run(self, *arguments: str, check: bool = True) -> str:
        done = run(self.data, *arguments, check=check, **self.regions)
        return done.stdout if check else done.stderr

    def canary(self) -> str:
        self.canaries.append(f"canary{secrets.token_hex(12)}".encode())
        return self.canaries[-1].decode()

    def key(self, *tenants: str) -> str:
        named = [part for tenant in tenants for part in ("--tenant", tenant)]
        return secret(self.data, "key", "create", *named)

    def admin(self) -> str:
        """A token of acme's administrator."""
        person = ("--user", "ada@acme.example", "--role", "admin")
        return secret(self.data, "token", "create", "--org", "acme", *person)

    def leaks(self) -> list[Any]:
        """Canaries outside of eu, in every file there is, the server's log included."""
        return [hit for hit in find_bytes(self.folder, self.canaries) if not self.is_home(Path(hit[0]))]

    def foreign_rows(self) -> list[str]:
        """Parquet files outside of eu with a row of acme: their pages are compressed."""
        paths = [path for path in self.folder.rglob("*.parquet") if not self.is_home(path)]
        return [str(p) for p in paths if "acme" in pq.read_table(p, columns=["tenant"])["tenant"].to_pylist()]


def test_a_tenant_pinned_to_a_region_leaves_no_byte_outside_of_its_root(place: Place) -> None:
    http, plain, forwarder = (
        place.server.addresses["otlp_http"],
        place.key("acme"),
        place.key("acme", "globex"),
    )
    send(http, plain, [record(body=place.canary(), user__id=place.canary()) for _ in range(5)])
    mixed = [
        record(audit__tenant__id=tenant, body=body, audit__target__name=body)
        for tenant, body in [("Acme Corp", place.canary()), ("globex", "its own"), ("acme", place.canary())]
    ]
    send(http, forwarder, mixed)
    assert len(find_bytes(place.eu, place.canaries)) >= len(place.canaries), "the search can find them"
    _read_everywhere(place)
    assert place.leaks() == []

    place.run("files", "--tenant", "acme", "--seal")
    place.run("files", "--tenant", "globex", "--seal")
    assert find_bytes(place.eu / "store", place.canaries), "the search finds them in files too"
    assert (place.leaks(), place.foreign_rows()) == ([], [])
    assert list((place.us / "store" / "tenant=globex").rglob("*.parquet"))

    place.server.kill()
    place.run("verify", "--tenant", "acme")
    place.server.start()
    found = place.run("search", "--tenant", "acme", "--service", "tests", "--format", "ndjson")
    assert len(found.splitlines()) == 7
    assert (place.leaks(), place.foreign_rows()) == ([], [])

    # A backup has a folder a region, so that each can be kept where its region is.
    place.run("backup", "--to", str(place.backup))
    assert find_bytes(place.backup / "regions" / "eu", place.canaries), "the backup holds them"
    assert (place.leaks(), place.foreign_rows()) == ([], [])


def _read_everywhere(place: Place) -> None:
    """What people look for is part of the trail: by the API, by commands, hot."""
    headers = {"authorization": f"Bearer {place.admin()}"}
    for params in ({"user": place.canary()}, {"resource_id": place.canary()}):
        url = place.server.url("/api/v1/orgs/acme/events")
        assert httpx.get(url, params=params, headers=headers).status_code == 200
    place.run("search", "--tenant", "acme", "--user", place.canary())
    place.run("export", "--tenant", "acme", "--resource-id", place.canary(), "-o", str(place.eu / "out.csv"))
    place.run("tenant", "export", "acme", "--to", str(place.eu / "handed-over"))
    # All of it has been taken into the trail, so nothing waits any more.
    wait_for(lambda: not list((place.eu / "reads").glob("*.json")))


def test_an_export_goes_where_the_user_says_but_not_into_another_region(place: Place) -> None:
    send(place.server.addresses["otlp_http"], place.key("acme"), [record(user__id=place.canary())])
    outside = place.folder / "usb"
    place.run("tenant", "export", "acme", "--to", str(outside))
    assert {Path(hit[0]).relative_to(place.folder).parts[0] for hit in place.leaks()} == {"usb"}
    assert "is not an empty folder" in place.run(
        "tenant", "export", "acme", "--to", str(outside), check=False
    )
    refused = place.run("tenant", "export", "acme", "--to", str(place.us / "x"), check=False)
    assert "lies under the root of region us" in refused
    assert not (place.us / "x").exists()


def test_readyz_and_doctor_say_where_the_bytes_are_and_find_a_stray_folder(place: Place) -> None:
    send(place.server.addresses["otlp_http"], place.key("acme"), [record()])
    place.run("files", "--tenant", "acme", "--seal")
    operator = secret(place.data, "token", "create", "--operator")
    headers = {"authorization": f"Bearer {operator}"}

    def acme() -> dict[str, Any]:
        answer = httpx.get(place.server.url("/readyz"), headers=headers).json()
        [found] = [item for item in answer["tenants"] if item["tenant"] == "acme"]
        return dict(found)

    found = acme()
    assert (found["region"], found["root"], found["elsewhere"]) == ("eu", str(place.eu), [])
    assert found["files"] >= 1
    assert found["bytes"] > 0
    assert f"acme: region eu at {place.eu}" in place.run("doctor")
    stray = place.us / "store" / "tenant=acme"
    stray.mkdir(parents=True)
    assert acme()["elsewhere"] == [str(stray)]
    assert run(place.data, "doctor", check=False, **place.regions).returncode == 1
    done = run(place.data, "verify", "--tenant", "acme", check=False, **place.regions)
    assert done.returncode == 1
    assert str(stray) in done.stderr
    open_to_all = wait_for(lambda: httpx.get(place.server.url("/readyz")).json()["degraded"])
    assert "acme" not in str(open_to_all)
    anybody = {"authorization": f"Bearer {place.admin()}"}
    assert "tenants" not in httpx.get(place.server.url("/readyz"), headers=anybody).json()


def test_a_deletion_beside_the_server_leaves_no_byte_and_is_in_the_operators_trail(place: Place) -> None:
    http, key, both = place.server.addresses["otlp_http"], place.key("acme"), place.key("acme", "globex")
    send(http, key, [record(user__id=place.canary(), body=place.canary()) for _ in range(3)])
    send(http, both, [record(audit__tenant__id="globex")])
    assert "nothing was deleted" in place.run("tenant", "delete", "acme", "--yes", "acmee", check=False)
    assert json.loads(place.run("tenant", "delete", "acme", "--yes", "acme", "--json"))["rows"] >= 3
    assert find_bytes(place.folder, place.canaries) == []
    assert [p.name for p in place.eu.rglob("*acme*")] == ["acme.json"], "the receipt, which holds counts"
    # What its own key sends stays with the sender; what a forwarder sends for it is nobody's.
    assert post(http, key, request([record()]).SerializeToString())[0] == 503
    send(http, both, [record(audit__tenant__id="acme"), record(audit__tenant__id="globex")])
    assert not (place.eu / "store" / "tenant=acme").exists()
    rows = {tenant: _events(place, tenant) for tenant in ("operator", "globex")}
    assert sum(event["service_name"] == "tests" for event in rows["globex"]) == 2
    assert any("tenant_denied" in (event["flags"] or []) for event in rows["operator"])
    told = [event for event in rows["operator"] if event["message"] == "organization acme was deleted"]
    assert len(told) == 1
    assert told[0]["user_id"].startswith("os:")
    assert told[0]["attributes"]["otel_audit.files"] >= 1
    assert "there is no organization" in place.run("search", "--tenant", "acme", check=False)
    assert "ids are never used twice" in place.run("tenant", "add", "acme", check=False)
    place.run("tenant", "add", "acme-2", "--alias", "acme")
    assert place.server.stop() == 0
    place.server.start()
    assert find_bytes(place.folder, place.canaries) == []


def _events(place: Place, tenant: str) -> list[dict[str, Any]]:
    output = place.run("search", "--tenant", tenant, "--format", "ndjson", "--limit", "1000")
    return [json.loads(line) for line in output.splitlines()]


def test_a_move_with_the_service_stopped_takes_everything_along(place: Place) -> None:
    send(place.server.addresses["otlp_http"], place.key("acme"), [record(user__id=place.canary())])
    move = ("tenant", "move", "acme", "--region", "us")
    assert "another process" in place.run(*move, check=False)
    assert "tenant move" in place.run("tenant", "set", "acme", "--region", "us", check=False)
    place.server.stop()
    place.run(*move)
    place.run(*move)  # a repeat changes nothing
    assert find_bytes(place.eu, place.canaries) == []
    assert "region us" in place.run("verify", "--tenant", "acme")
    with Serve(place.data, **place.regions):
        found = _events(place, "acme")
    assert sum(event["service_name"] == "tests" for event in found) == 1
    assert any("moved to another region" in event["message"] for event in found)


def test_a_command_without_the_servers_regions_refuses_instead_of_guessing(place: Place) -> None:
    place.server.stop()
    listeners = [f"--{name}=127.0.0.1:0" for name in ("otlp-grpc", "otlp-http", "http", "metrics")]
    for arguments in (("search", "--tenant", "acme"), ("serve", *listeners)):
        done = run(place.data, *arguments, check=False)
        assert done.returncode == 1
        assert "not configured" in done.stderr
    (place.data / "config.toml").write_text(f'[regions]\neu = "{place.eu}"\nus = "{place.us}"\n')
    run(place.data, "search", "--tenant", "acme")
    swapped = {"OTEL_AUDIT__REGIONS__EU": str(place.us), "OTEL_AUDIT__REGIONS__US": str(place.eu)}
    done = run(place.data, "search", "--tenant", "acme", check=False, **swapped)
    assert "is the root of region us, not of eu" in done.stderr
