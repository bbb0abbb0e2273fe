"""A tenant's redaction policy across processes: set beside a server, searched, rotated, handed over."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_audit.exporter.redaction.actions import TOKEN
from tests.support.api_client import Api, admin, tenant_with_key
from tests.support.otlp_client import record, send
from tests.support.process import Serve, find_bytes, run, wait_for

ADA, BOB = "ada@example.com", "bob@example.com"
POLICY = """
[fields]
user_id = "tokenise"
user_email = "tokenise"
on_behalf_of = "tokenise"
client_address = "tokenise"
resource_id = "tokenise"
"changes.email" = "tokenise"
user_name = "redact"
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Serve]:
    with Serve(tmp_path / "data") as serve:
        yield serve


def set_policy(server: Serve, text: str, *extra: str) -> dict[str, Any]:
    """`tenant set --redaction`, and until it must be in force."""
    path = server.data_dir.parent / "policy.toml"
    path.write_text(text)
    done = run(server.data_dir, "tenant", "set", "acme", "--redaction", str(path), "--json", *extra)
    time.sleep(1)  # the promise itself: in force within a second
    return dict(json.loads(done.stdout)["redaction"])


def act(server: Serve, key: str, user: str, action: str = "read", **attributes: Any) -> None:
    given = {"user__id": user, "user__email": user, "client__address": "192.0.2.7"} | attributes
    send(server.addresses["otlp_http"], key, [record("data_access", action, body="opened", **given)])


def of(api: Api, **query: Any) -> list[dict[str, Any]]:
    """Events of the app, not of readers."""
    return [event for event in api.all_events(**query) if event["message"] == "opened"]


def test_a_policy_set_beside_a_server_tokenises_and_its_people_are_still_found(server: Serve) -> None:
    key = tenant_with_key(server)
    api = admin(server)
    act(server, key, ADA)
    shown = set_policy(server, POLICY)
    act(server, key, ADA.upper(), "update", user__name="Ada", audit__target__id="doc-7",
        audit__actor__on_behalf_of=BOB, audit__change__after={"email": ADA})  # fmt: skip
    run(server.data_dir, "tenant", "rotate-token-key", "acme")
    time.sleep(1)
    act(server, key, ADA, "delete")
    act(server, key, BOB, "create")

    found = of(api, user=ADA)
    assert [event["action"] for event in found] == ["delete", "update", "read"]
    third, second, first = found
    assert first["user_id"] == ADA
    assert second["user_id"].startswith("tok_1_")
    assert third["user_id"].startswith("tok_2_")
    assert second["user_id"] == second["user_email"] == second["changes"]["email"]["after"]
    assert second["user_name"] == "[REDACTED:policy]"
    assert TOKEN.fullmatch(second["on_behalf_of"])
    assert second["policy_version"].endswith("-" + shown["version"])
    assert not first["policy_version"].endswith(shown["version"])
    rules = {(hit["rule"], hit["field"]) for hit in second["redactions"]}
    assert {("policy_tokenise", "user_id"), ("policy_redact", "user_name")} <= rules

    assert len(of(api, user=second["user_id"])) == 1
    assert len(of(api, ip="192.0.2.7")) == 4
    assert len(of(api, resource_id="DOC-7")) == 1
    lines = run(server.data_dir, "search", "--tenant", "acme", "--user", ADA, "--format", "ndjson").stdout
    assert lines.count('"opened"') == 3
    export = server.data_dir.parent / "ada.csv"
    run(server.data_dir, "export", "--tenant", "acme", "--user", ADA, "-o", str(export))
    assert export.read_text().count('"opened"') == 3
    facets = api.get("/facets", user=ADA)["facets"]["user"]
    assert {second["user_id"], third["user_id"]} <= {value["value"] for value in facets}


def test_what_cannot_match_tokens_says_so(server: Serve) -> None:
    key = tenant_with_key(server)
    api = admin(server)
    assert "notes" not in api.get("/events", q="x", ip="192.0.2.0/24")
    set_policy(server, POLICY)
    act(server, key, ADA)
    answer = api.get("/events", q=ADA, ip="192.0.2.0/24")
    assert answer["events"] == []
    assert len(answer["notes"]) == 2
    assert "notes" not in api.get("/events", user=ADA)
    shown = run(server.data_dir, "search", "--tenant", "acme", "--q", "ada")
    assert "note: q does not match tokenised values" in shown.stderr


def test_the_change_is_an_event_with_both_versions_and_what_the_policy_said(server: Serve) -> None:
    tenant_with_key(server)
    first = set_policy(server, POLICY)["version"]
    second = set_policy(server, '[fields]\nuser_name = "mask"')["version"]
    assert first != second
    default = json.loads(
        run(server.data_dir, "tenant", "set", "acme", "--redaction", "default", "--json").stdout
    )
    assert default["redaction"] == {"version": "default", "policy": {}}
    api = admin(server)

    def changes() -> list[Any]:
        events = api.all_events(action="config_change")
        told = [e["changes"]["redaction"] for e in events if "redaction" in (e["changes"] or {})]
        return told if len(told) >= 4 else []

    told = wait_for(changes)
    assert [(change["before"], change["after"]) for change in reversed(told)][1:] == [
        ("default", first),
        (first, second),
        (second, "default"),
    ]
    newest = api.get("/events", action="config_change", limit=3)["events"]
    said = [event["attributes"].get("otel_audit.redaction_policy") for event in newest]
    assert {"fields": {"user_name": "mask"}} in said


def test_a_bad_policy_changes_nothing_and_names_what_is_near(server: Serve) -> None:
    tenant_with_key(server)
    path = server.data_dir.parent / "bad.toml"
    path.write_text('[fields]\nuser_nme = "mask"\n')
    done = run(server.data_dir, "tenant", "set", "acme", "--redaction", str(path), check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no field 'user_nme'\nhint: did you mean user_name or ")
    missing = run(server.data_dir, "tenant", "set", "acme", "--redaction", str(path) + "x", check=False)
    assert missing.returncode == 2
    shown = json.loads(run(server.data_dir, "tenant", "show", "acme", "--json").stdout)
    assert shown["redaction"]["version"] == "default"


def test_the_stream_finds_tokens_and_no_plain_value_reaches_a_disk(server: Serve) -> None:
    key = tenant_with_key(server)
    set_policy(server, POLICY)
    person = "grace-hopper-1906"
    act(server, key, person, user__email=f"{person}@example.com")
    api = admin(server)
    assert len(of(api, user=person)) == 1
    # The search itself is an event, and quotes no plain value either.
    wait_for(lambda: api.get("/events", action="search")["events"])
    run(server.data_dir, "files", "--tenant", "acme", "--seal")
    assert find_bytes(server.data_dir, [person.encode()]) == []


def test_a_search_without_a_server_writes_down_only_what_the_policy_lets_be(tmp_path: Path) -> None:
    data_dir, policy = tmp_path / "data", tmp_path / "policy.toml"
    policy.write_text(POLICY)
    run(data_dir, "tenant", "add", "acme", "--redaction", str(policy))
    with Serve(data_dir):
        pass  # makes the store
    run(data_dir, "search", "--tenant", "acme", "--user", "grace-hopper-1906", "--ip", "192.0.2.117")
    (waiting,) = (data_dir / "reads").glob("acme.*.json")
    asked = json.loads(waiting.read_text())["attributes"]["otel_audit.filters"]
    assert all(TOKEN.fullmatch(value) for name in ("user", "ip") for value in asked[name])
    assert find_bytes(data_dir, [b"grace-hopper-1906", b"192.0.2.117"]) == []


def test_keys_are_in_a_backup_never_handed_over_and_go_with_the_organization(server: Serve) -> None:
    key = tenant_with_key(server)
    set_policy(server, POLICY)
    act(server, key, ADA)
    data_dir = server.data_dir
    keys = data_dir / "keys" / "tokens" / "acme"
    secret = json.loads((keys / "1.json").read_text())["key"]
    handed, backup = data_dir.parent / "handed", data_dir.parent / "backup"
    run(data_dir, "tenant", "export", "acme", "--to", str(handed))
    assert find_bytes(handed, [secret.encode(), bytes.fromhex(secret)]) == []
    run(data_dir, "backup", "--to", str(backup))
    assert (backup / "keys" / "tokens" / "acme" / "1.json").read_text() == (keys / "1.json").read_text()
    run(data_dir, "tenant", "delete", "acme", "--yes", "acme")
    assert not keys.exists()


def test_a_hold_on_a_person_keeps_what_is_tokenised(server: Serve) -> None:
    key = tenant_with_key(server)
    set_policy(server, POLICY)
    act(server, key, ADA)
    act(server, key, BOB)
    run(server.data_dir, "files", "--tenant", "acme", "--seal")
    run(server.data_dir, "hold", "add", "--tenant", "acme", "--name", "m1", "--reason", "r", "--user", ADA)
    far = time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime(time.time() + 400 * 86400))
    run(server.data_dir, "retention", "run", "--now", far)
    api = admin(server)
    assert len(of(api, user=ADA, range="2d")) == 1
    assert of(api, user=BOB, range="2d") == []


def test_an_organization_that_moves_takes_its_keys_along(tmp_path: Path) -> None:
    data_dir, policy = tmp_path / "data", tmp_path / "policy.toml"
    eu, us = tmp_path / "eu", tmp_path / "us"
    policy.write_text(POLICY)

    def command(*arguments: str) -> str:
        return run(
            data_dir, *arguments, OTEL_AUDIT__REGIONS__EU=str(eu), OTEL_AUDIT__REGIONS__US=str(us)
        ).stdout

    with Serve(data_dir, OTEL_AUDIT__REGIONS__EU=str(eu), OTEL_AUDIT__REGIONS__US=str(us)) as server:
        command("tenant", "add", "acme", "--region", "us", "--redaction", str(policy))
        act(server, command("key", "create", "--tenant", "acme").strip(), ADA)
    command("tenant", "move", "acme", "--region", "eu")
    assert (eu / "keys" / "tokens" / "acme" / "1.json").exists()
    assert not (us / "keys" / "tokens" / "acme").exists()
    found = command("search", "--tenant", "acme", "--user", ADA, "--format", "ndjson")
    assert found.count('"opened"') == 1
