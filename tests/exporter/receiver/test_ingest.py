from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_audit.exporter.receiver.errors import AdmissionUnavailable, TooLarge
from otel_audit.exporter.receiver.keys import KEY_PATTERN, IngestKey
from otel_audit.exporter.store.errors import StoreUnavailable
from tests.support.otlp_client import record, request
from tests.support.receiver import Receiver, smaller

ACME, GLOBEX = "acme", "globex"


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    made = Receiver(tmp_path / "root")
    yield made
    made.close()


def key_of(receiver: Receiver, *tenants: str, **options: Any) -> IngestKey:
    match = KEY_PATTERN.fullmatch(receiver.key(*tenants, **options))
    assert match is not None
    found = receiver.control.keys.find_key(match[1])
    assert found is not None
    return found


def anonymous(**attributes: Any) -> Any:
    """A record without an id."""
    made = record(time_ns=1_790_000_000_123_456_789, **attributes)
    kept = [pair for pair in made.attributes if pair.key != "audit.record.id"]
    del made.attributes[:]
    made.attributes.extend(kept)
    return made


def test_a_plain_key_writes_to_its_tenant_whatever_the_payload_says(receiver: Receiver) -> None:
    key = key_of(receiver, ACME)
    receiver.control.tenants.add(GLOBEX)
    sent = [record(audit__tenant__id=GLOBEX, x=1), record(audit__tenant__id='a"*'), record()]
    assert receiver.ingest.accept(request(sent), key) == 3
    attributes = [json.loads(row["attributes"]) for row in receiver.rows(ACME)]
    assert attributes == [
        {"audit.tenant.claimed": GLOBEX, "x": 1},
        {"audit.tenant.claimed": 'a"*'},
        {},
    ]
    assert all(row["flags"] == [] for row in receiver.rows(ACME))
    assert receiver.rows(GLOBEX) == receiver.rows("operator") == []


def test_a_forwarder_key_is_routed_by_id_or_alias_and_denied_to_the_operator(receiver: Receiver) -> None:
    receiver.control.tenants.add(ACME, aliases=["ACME Inc."])
    receiver.control.tenants.add("initech")
    key = key_of(receiver, ACME, GLOBEX)
    claims = [ACME, GLOBEX, "ACME Inc.", "initech", "unknown", "../x", "operator", ""]
    sent = [record(audit__tenant__id=claim, claim=claim) for claim in claims]
    assert receiver.ingest.accept(request(sent), key) == len(sent)

    def claimed(tenant: str) -> list[tuple[str, list[str]]]:
        return [(json.loads(row["attributes"])["claim"], row["flags"]) for row in receiver.rows(tenant)]

    assert claimed(ACME) == [(ACME, []), ("ACME Inc.", [])]
    assert claimed(GLOBEX) == [(GLOBEX, [])]
    assert claimed("initech") == []
    assert claimed("operator") == [
        *((name, ["tenant_denied"]) for name in ("initech", "unknown", "../x", "operator")),
        ("", ["tenant_missing"]),
    ]
    denied = json.loads(receiver.rows("operator")[0]["attributes"])
    assert denied["audit.tenant.claimed"] == "initech"


def test_the_resource_may_name_the_tenant_for_all_its_records(receiver: Receiver) -> None:
    key = key_of(receiver, ACME, GLOBEX)
    receiver.ingest.accept(request([record(), record(audit__tenant__id=ACME)], audit__tenant__id=GLOBEX), key)
    assert (len(receiver.rows(ACME)), len(receiver.rows(GLOBEX))) == (1, 1)


def test_a_key_for_all_tenants_creates_one_only_when_it_may(receiver: Receiver) -> None:
    sent = request([record(audit__tenant__id="newcomer"), record(audit__tenant__id="No Id")])
    receiver.ingest.accept(sent, key_of(receiver))
    assert [row["flags"] for row in receiver.rows("operator")] == [["tenant_denied"]] * 2
    receiver.ingest.accept(sent, key_of(receiver, create_tenants=True))
    assert len(receiver.rows("newcomer")) == 1
    assert receiver.control.tenants.exists("newcomer")
    # The denied one is a repeat of what the operator has already.
    assert len(receiver.rows("operator")) == 2


def test_a_tenant_lookup_that_fails_stores_nothing(receiver: Receiver, tmp_path: Path) -> None:
    key = key_of(receiver, ACME, GLOBEX)
    receiver.control.db.close()
    (tmp_path / "root" / "control.sqlite").unlink()
    (tmp_path / "root" / "control.sqlite").mkdir()
    with pytest.raises(AdmissionUnavailable):
        receiver.ingest.accept(request([record(audit__tenant__id=ACME)]), key)
    assert receiver.rows(ACME) == receiver.rows("operator") == []


def test_ids_are_derived_from_time_content_and_occurrence_so_a_repeat_is_stored_once(
    receiver: Receiver,
) -> None:
    key = key_of(receiver, ACME)
    sent = request([anonymous(x=1), anonymous(x=1), anonymous(x=2), record(record_id="0" * 32)])
    receiver.ingest.accept(sent, key)
    receiver.ingest.accept(sent, key)
    rows = receiver.rows(ACME)
    ids = [row["event_id"] for row in rows]
    assert len(ids) == len(set(ids)) == 4
    assert ids[3] == "00000000-0000-0000-0000-000000000000"
    for text in ids[:3]:
        made = uuid.UUID(text)
        assert (made.version, made.variant, str(made)) == (8, uuid.RFC_4122, text)
        assert made.int >> 80 == 1_790_000_000_123
    digests = [row["content_digest"] for row in rows]
    assert digests[0] == digests[1] != digests[2]


def test_records_without_any_time_are_two_events_when_they_come_in_two_requests(receiver: Receiver) -> None:
    timeless = anonymous()
    timeless.time_unix_nano = 0
    for _ in range(2):
        receiver.ingest.accept(request([timeless]), key_of(receiver, ACME))
    assert len({row["event_id"] for row in receiver.rows(ACME)}) == 2


def test_a_record_id_that_is_no_uuid_still_tells_repeats(receiver: Receiver) -> None:
    key = key_of(receiver, ACME)
    time_ns = 1_790_000_000_000_000_000
    for text, extra in (("evt-1", 1), ("evt-1", 1), ("evt-1", 2), ("evt-2", 1)):
        receiver.ingest.accept(request([record(record_id=text, x=extra, time_ns=time_ns)]), key)
    rows = receiver.rows(ACME)
    assert rows[0]["event_id"] == rows[1]["event_id"] != rows[2]["event_id"]
    assert ["id_conflict" in row["flags"] for row in rows] == [False, True, False]
    assert json.loads(rows[0]["attributes"])["audit.record.id"] == "evt-1"


def test_digests_of_two_tenants_cannot_be_compared(receiver: Receiver) -> None:
    sent = request([anonymous()])
    receiver.ingest.accept(sent, key_of(receiver, ACME))
    receiver.ingest.accept(sent, key_of(receiver, GLOBEX))
    first, second = receiver.rows(ACME)[0], receiver.rows(GLOBEX)[0]
    assert first["event_id"] == second["event_id"]
    assert first["content_digest"] != second["content_digest"]
    assert len(first["content_digest"]) == 32


def test_secrets_are_gone_and_the_session_hashed_before_anything_is_written(
    receiver: Receiver, tmp_path: Path
) -> None:
    secret = "hunter2-" + uuid.uuid4().hex
    session = uuid.uuid4().hex
    receiver.ingest.accept(
        request([record(body=f"password={secret}", session__id=session, app={"password": secret})]),
        key_of(receiver, ACME),
    )
    row = receiver.rows(ACME)[0]
    assert row["session_id"].startswith("sh_")
    assert row["redactions"]
    assert row["policy_version"]
    stored = b"".join(path.read_bytes() for path in (tmp_path / "root").rglob("*") if path.is_file())
    assert row["event_id"].encode() in stored
    assert secret.encode() not in stored
    assert session.encode() not in stored


def test_a_batch_is_refused_whole_when_one_row_cannot_be_stored(receiver: Receiver) -> None:
    receiver.store.full = True
    with pytest.raises(StoreUnavailable):
        receiver.ingest.accept(request([record(), record()]), key_of(receiver, ACME))
    assert receiver.rows(ACME) == []


def test_too_many_records_are_refused_whole(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path / "root", smaller(records_max=2))
    with pytest.raises(TooLarge):
        receiver.ingest.accept(request([record()] * 3), key_of(receiver, ACME))
    assert receiver.rows(ACME) == []
    receiver.close()


def test_own_events_go_to_the_tenant_they_are_about(receiver: Receiver) -> None:
    assert receiver.ingest.accept_own("operator", request([record(audit__tenant__id=ACME)])) == 1
    assert receiver.rows("operator")[0]["flags"] == []
    assert receiver.ingest.accept_own(ACME, request([])) == 0
    assert receiver.rows(ACME) == []
