from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from otel_audit.exporter.receiver.keys import KEY_PATTERN
from otel_audit.query_service.control.database import ControlUnavailable
from otel_audit.query_service.control.ingest_keys import InvalidKey, NoSuchKey
from otel_audit.query_service.control.tenants import NoSuchTenant
from tests.support.control import DAY_S, Control

REVOKE = """
import sys
from pathlib import Path
from otel_audit.query_service.control.database import ControlDatabase
from otel_audit.query_service.control.ingest_keys import IngestKeys
IngestKeys(ControlDatabase.open(Path(sys.argv[1]))).revoke(sys.argv[2])
"""


def made(tmp_path: Path) -> Control:
    control = Control(tmp_path)
    for tenant in ("acme", "other"):
        control.tenants.add(tenant)
    return control


def test_a_key_is_found_by_its_id_and_proved_by_its_secret(tmp_path: Path) -> None:
    control = made(tmp_path)
    issued = control.keys.create(["acme"], name="web")
    match = KEY_PATTERN.fullmatch(issued.text)
    assert match is not None
    found = control.keys.find_key(match[1])
    assert found is not None
    assert found.tenants == frozenset({"acme"})
    assert not found.forwards
    assert found.matches(match[2])
    assert not found.matches(match[2][::-1])
    assert control.keys.find_key("0" * 12) is None


def test_a_secret_is_kept_as_its_hash_only(tmp_path: Path) -> None:
    control = made(tmp_path)
    issued = control.keys.create(["acme"])
    secret = issued.text.rsplit("_", 1)[1]
    control.db.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert secret.encode() not in kept
    assert hashlib.sha256(secret.encode()).digest() in kept
    assert secret not in repr(issued)
    assert all(secret not in str(row) for row in control.outbox.waiting(100))


def test_a_key_for_several_or_all_tenants_forwards(tmp_path: Path) -> None:
    control = made(tmp_path)
    several = control.keys.create(["other", "acme", "acme"]).info
    control.clock.seconds += 1
    everything = control.keys.create(None, create_tenants=True).info
    assert several.tenants == ("acme", "other")
    found = [control.keys.find_key(info.key_id) for info in (several, everything)]
    assert [key is not None and key.forwards for key in found] == [True, True]
    assert found[1] is not None
    assert found[1].tenants is None
    assert found[1].create_tenants
    assert [k.key_id for k in control.keys.list("acme")] == [several.key_id, everything.key_id]


def test_what_a_key_cannot_be_is_refused(tmp_path: Path) -> None:
    control = made(tmp_path)
    with pytest.raises(NoSuchTenant):
        control.keys.create(["nobody"])
    with pytest.raises(InvalidKey):
        control.keys.create([])
    with pytest.raises(InvalidKey):
        control.keys.create(["acme"], create_tenants=True)
    with pytest.raises(InvalidKey):
        control.keys.create(["operator"])
    with pytest.raises(InvalidKey):
        control.keys.create(["acme"], ttl_s=0)
    assert control.keys.list() == []


def test_a_rotated_key_ends_after_the_overlap_and_its_follower_lives_as_long(tmp_path: Path) -> None:
    control = made(tmp_path)
    old = control.keys.create(["acme"], name="web", ttl_s=90 * DAY_S).info
    control.clock.seconds += 80 * DAY_S
    new = control.keys.rotate(old.key_id, overlap_s=7 * DAY_S).info
    ended = {k.key_id: k.expires_at for k in control.keys.list()}
    assert ended == {
        old.key_id: control.clock() + 7 * DAY_S,
        new.key_id: control.clock() + 90 * DAY_S,
    }
    assert (new.name, new.tenants, new.rotated_from) == ("web", ("acme",), old.key_id)
    control.clock.seconds += 5 * DAY_S
    control.keys.rotate(old.key_id, overlap_s=30 * DAY_S)
    assert control.keys.list()[0].expires_at == ended[old.key_id], "an overlap never prolongs a key"


def test_a_revoked_key_stays_known_and_cannot_be_rotated(tmp_path: Path) -> None:
    control = made(tmp_path)
    key_id = control.keys.create(["acme"]).info.key_id
    first = control.keys.revoke(key_id)
    control.clock.seconds += 60
    assert control.keys.revoke(key_id) == first
    found = control.keys.find_key(key_id)
    assert found is not None
    assert found.revoked_at == first.revoked_at
    assert not found.compromised
    with pytest.raises(InvalidKey):
        control.keys.rotate(key_id, overlap_s=60)
    compromised = control.keys.revoke(key_id, compromised=True)
    assert (compromised.compromised, compromised.revoked_at) == (True, first.revoked_at)
    with pytest.raises(NoSuchKey):
        control.keys.revoke("0" * 12)


def test_an_error_never_repeats_a_whole_key_typed_for_its_id(tmp_path: Path) -> None:
    control = made(tmp_path)
    text = control.keys.create(["acme"]).text
    with pytest.raises(NoSuchKey) as raised:
        control.keys.revoke(text)
    assert text.rsplit("_", 1)[1] not in f"{raised.value} {raised.value.hint}"


def test_key_events_go_to_each_tenant_and_the_operator(tmp_path: Path) -> None:
    control = made(tmp_path)
    key_id = control.keys.create(["acme", "other"]).info.key_id
    control.keys.revoke(key_id, compromised=True)
    for tenant in ("acme", "other", "operator"):
        created, revoked = (e for e in control.recorded(tenant) if e.category == "security")
        assert (created.action, created.target_type, created.target_id) == (
            "key_create",
            "ingest_key",
            key_id,
        )
        assert created.attributes["otel_audit.ingest.tenants"] == ["acme", "other"]
        assert (revoked.action, revoked.changes) == ("key_revoke", {"status": ("active", "compromised")})


def test_a_revocation_by_another_process_counts_within_a_second(tmp_path: Path) -> None:
    control = made(tmp_path)
    key_id = control.keys.create(["acme"]).info.key_id
    assert control.keys.find_key(key_id) is not None
    subprocess.run([sys.executable, "-c", REVOKE, str(control.db.path), key_id], check=True, timeout=60)
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        found = control.keys.find_key(key_id)
        if found is not None and found.revoked_at is not None:
            return
        time.sleep(0.02)
    pytest.fail("the revocation was not seen")


def test_a_lookup_that_fails_raises_and_never_says_unknown(tmp_path: Path) -> None:
    control = made(tmp_path)
    key_id = control.keys.create(["acme"]).info.key_id
    control.db.close()
    for path in tmp_path.glob("control.sqlite*"):
        path.unlink()
    control.db.path.mkdir()
    with pytest.raises(ControlUnavailable):
        control.keys.find_key(key_id)


def test_a_forwarder_may_create_tenants_of_valid_names_only(tmp_path: Path) -> None:
    control = made(tmp_path)
    assert control.keys.create_tenant("fresh") == "fresh"
    assert control.keys.create_tenant("fresh") == "fresh"
    assert control.keys.resolve_tenant("fresh") == "fresh"
    assert control.keys.create_tenant("../evil") is None
    added = control.recorded("fresh")
    assert [(e.user_id, e.user_type) for e in added] == [("otel-audit", "system")]


def test_keys_are_drawn_from_their_whole_alphabet(tmp_path: Path) -> None:
    control = made(tmp_path)
    texts = [control.keys.create(["acme"]).text for _ in range(30)]
    assert len(set(texts)) == 30
    assert all(re.fullmatch(r"oak_[0-9a-z]{12}_[0-9A-Za-z]{43}", text) for text in texts)
