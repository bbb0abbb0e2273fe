from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from otel_audit.instrumentation.event import AuditEvent
from otel_audit.instrumentation.ids import uuid7
from otel_audit.query_service.auth.principal import Principal
from otel_audit.query_service.auth.refusals import NAMES_MAX, RefusalCounter
from otel_audit.query_service.control.outbox import event_from_json, event_to_json
from otel_audit.query_service.self_audit import AuditUnavailable, RequestFacts, SelfAudit
from tests.support.process import wait_for
from tests.support.receiver import Receiver

MINUTE_NS = 60_000_000_000
ADA = Principal("ada@example.com", "acme", "admin", "token", uuid7())
FACTS = RequestFacts(uuid7(), "192.0.2.7", "tests/1", "GET", "/api/v1/orgs/{org}/events")


class Room:
    """SelfAudit over the real pipeline, on a clock that a test moves."""

    def __init__(self, folder: Path) -> None:
        self.receiver = Receiver(folder)
        self.control = self.receiver.control
        self.control.tenants.add("acme")
        self.control.tenants.add("other")
        # Near the receiver's own clock, as events in this test are not about late ones.
        self.now_ns = time.time_ns() // MINUTE_NS * MINUTE_NS
        self.audit = SelfAudit(self.receiver.ingest, self.control.db, lambda: self.now_ns)

    def rows(self, tenant: str, action: str) -> list[dict[str, Any]]:
        return [row for row in self.receiver.rows(tenant) if row["action"] == action]

    def full(self, full: bool) -> None:
        self.receiver.store.full = full


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path / "root")


def attributes(row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(row["attributes"])
    return found


def counts(rows: list[dict[str, Any]]) -> list[int]:
    return [attributes(row)["count"] for row in rows]


def test_a_search_is_an_event_of_the_organization_before_it_is_answered(room: Room) -> None:
    room.audit.read("acme", ADA, FACTS, "search", {"filters": [["category", "security"]], "limit": 100})
    (row,) = room.rows("acme", "search")
    assert (row["category"], row["outcome"], row["severity"]) == ("system", "success", "info")
    assert (row["user_id"], row["user_email"], row["user_roles"]) == (ADA.user, ADA.user, ["admin"])
    assert (row["client_address"], row["http_route"]) == ("192.0.2.7", FACTS.route)
    assert row["request_id"] == FACTS.request_id
    assert row["service_name"] == "otel-audit"
    assert row["flags"] == []
    assert attributes(row)["otel_audit.filters"] == [["category", "security"]]


@pytest.mark.parametrize(
    ("action", "category", "stored"),
    [
        ("search", "system", "search"),
        ("read", "data_access", "read"),
        ("export", "system", "export"),
        ("stream", "system", "stream"),
    ],
)
def test_every_way_of_reading_has_its_event(room: Room, action: str, category: str, stored: str) -> None:
    event_id = uuid7()
    room.audit.read("acme", ADA, FACTS, action, {"event_id": event_id} if action == "read" else {})
    (row,) = room.rows("acme", stored)
    assert row["category"] == category
    expected = ("audit_event", event_id) if action == "read" else ("audit_trail", "acme")
    assert (row["resource_type"], row["resource_id"]) == expected
    assert row["http_status"] == (None if action == "stream" else 200)


def test_looking_for_an_event_that_is_not_there_is_told_with_its_404(room: Room) -> None:
    room.audit.read("acme", ADA, FACTS, "read", {"event_id": uuid7(), "found": False})
    (row,) = room.rows("acme", "read")
    assert row["http_status"] == 404


def test_a_read_on_the_command_line_has_no_status(room: Room) -> None:
    room.audit.read("acme", ADA, RequestFacts(None, None, None, None, None), "search", {})
    (row,) = room.rows("acme", "search")
    assert row["http_status"] is None


def test_what_somebody_searched_for_is_redacted_like_everything_else(room: Room) -> None:
    secret = "AKIA" + uuid7().replace("-", "").upper()[:16]
    room.audit.read("acme", ADA, FACTS, "search", {"filters": [["q", f"password={secret}"]]})
    (row,) = room.rows("acme", "search")
    assert secret not in row["attributes"]


def test_a_read_that_cannot_be_recorded_does_not_happen(room: Room) -> None:
    room.full(True)
    with pytest.raises(AuditUnavailable) as raised:
        room.audit.read("acme", ADA, FACTS, "search", {}, "key")
    assert raised.value.retry_after_s == 7
    room.full(False)
    room.audit.read("acme", ADA, FACTS, "search", {}, "key")
    assert len(room.rows("acme", "search")) == 1


def test_reads_of_one_key_are_one_event_for_each_person_and_organization(room: Room) -> None:
    eve = Principal("eve@example.com", "acme", "auditor", "token", uuid7())
    for _ in range(3):
        room.audit.read("acme", ADA, FACTS, "search", {}, "as-of-1")
    room.audit.read("acme", eve, FACTS, "search", {}, "as-of-1")
    room.audit.read("acme", ADA, FACTS, "search", {}, "as-of-2")
    room.audit.read("acme", ADA, FACTS, "export", {}, "as-of-1")
    room.audit.read("other", ADA, FACTS, "search", {}, "as-of-1")
    assert [row["user_id"] for row in room.rows("acme", "search")] == [ADA.user, eve.user, ADA.user]
    assert len(room.rows("acme", "export")) == 1
    assert len(room.rows("other", "search")) == 1


def test_simultaneous_reads_of_one_key_all_wait_for_the_one_event(room: Room) -> None:
    seen: list[int] = []
    barrier = threading.Barrier(8)

    def read() -> None:
        barrier.wait()
        room.audit.read("acme", ADA, FACTS, "search", {}, "key")
        seen.append(len(room.rows("acme", "search")))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 8


def test_the_first_refusal_is_told_at_once_and_its_repeats_with_a_count(room: Room) -> None:
    for _ in range(5):
        room.audit.refused("acme", ADA, FACTS, 403, "role too low")
    (first,) = room.rows("acme", "access_denied")
    assert (first["category"], first["outcome"], first["severity"]) == ("security", "denied", "warning")
    assert (first["http_status"], first["user_id"], first["resource_id"]) == (403, ADA.user, "acme")
    room.audit.flush_refusals()
    assert len(room.rows("acme", "access_denied")) == 1, "the minute is not over"
    room.now_ns += MINUTE_NS
    room.audit.flush_refusals()
    rows = room.rows("acme", "access_denied")
    assert counts(rows) == [1, 4]
    assert rows[1]["user_id"] == ADA.user
    room.audit.flush_refusals(everything=True)
    assert len(room.rows("acme", "access_denied")) == 2


def test_refusals_differ_by_caller_route_status_reason_and_minute(room: Room) -> None:
    elsewhere = RequestFacts(None, "192.0.2.8", None, "GET", FACTS.route)
    export = RequestFacts(None, "192.0.2.7", None, "GET", "/api/v1/orgs/{org}/export")
    for _ in range(2):
        room.audit.refused("acme", ADA, FACTS, 403, "role too low")
        room.audit.refused("acme", "bob@example.com", FACTS, 403, "role too low")
        room.audit.refused("acme", None, FACTS, 401, "no valid credential")
        room.audit.refused("acme", "anonymous", FACTS, 401, "no valid credential")
        room.audit.refused("acme", None, elsewhere, 401, "no valid credential")
        room.audit.refused("acme", None, export, 401, "no valid credential")
        room.now_ns += MINUTE_NS
    rows = room.rows("acme", "access_denied")
    assert len(rows) == 10
    assert {(row["user_id"], row["user_type"]) for row in rows} == {
        (ADA.user, "user"),
        ("bob@example.com", "user"),
        (None, "anonymous"),
    }


def test_refusals_for_an_unknown_organization_go_to_the_operator_with_what_was_asked(room: Room) -> None:
    for number in range(NAMES_MAX + 5):
        room.audit.refused(f"guess-{number}\x1b[31m\n", None, FACTS, 404, "no such organization")
    room.audit.flush_refusals(everything=True)
    rows = room.rows("operator", "access_denied")
    assert counts(rows) == [1, NAMES_MAX + 4]
    names = attributes(rows[1])["otel_audit.organizations"]
    assert len(names) == NAMES_MAX
    assert names[0] == "guess-1?[31m?"
    assert rows[0]["resource_id"] == "guess-0?[31m?"
    assert room.receiver.rows("acme") == []


def test_refusals_stay_counted_while_the_store_is_away(room: Room) -> None:
    room.full(True)
    with pytest.raises(AuditUnavailable):
        room.audit.refused("acme", ADA, FACTS, 403, "role too low")
    for _ in range(3):
        room.audit.refused("acme", ADA, FACTS, 403, "role too low")
    room.now_ns += MINUTE_NS
    room.audit.flush_refusals()
    assert room.rows("acme", "access_denied") == []
    room.full(False)
    room.audit.flush_refusals()
    assert counts(room.rows("acme", "access_denied")) == [4]


def test_a_flood_from_many_callers_is_bounded_and_counted_whole(room: Room) -> None:
    few = RefusalCounter(open_max=10)
    audit = SelfAudit(room.receiver.ingest, room.control.db, lambda: room.now_ns, refusals=few)
    for number in range(100):
        facts = RequestFacts(None, f"192.0.2.{number}", None, "GET", FACTS.route)
        audit.refused("acme", None, facts, 401, "no valid credential")
    audit.flush_refusals(everything=True)
    rows = room.rows("acme", "access_denied")
    assert len(rows) == 12
    assert sum(counts(rows)) == 100


def test_changes_reach_the_trail_in_order_and_leave_the_outbox(room: Room) -> None:
    room.control.tenants.set("acme", export_rate="5/h")
    room.control.keys.create(["acme"])
    assert room.audit.drain_outbox() == 8
    assert room.control.outbox.waiting(10) == []
    mine = room.receiver.rows("acme")
    assert [row["action"] for row in mine] == ["config_change", "config_change", "key_create"]
    assert json.loads(mine[1]["changes"]) == {"export_rate": {"before": "10/h", "after": "5/h"}}
    assert len(room.receiver.rows("operator")) == 4


def test_an_event_waits_in_the_outbox_until_it_is_durable(room: Room) -> None:
    waiting = [row.seq for row in room.control.outbox.waiting(10)]
    room.full(True)
    with pytest.raises(AuditUnavailable):
        room.audit.drain_outbox()
    assert [row.seq for row in room.control.outbox.waiting(10)] == waiting
    room.full(False)
    assert room.audit.drain_outbox() == len(waiting)


def test_an_event_sent_again_after_a_crash_is_stored_once(room: Room) -> None:
    waiting = room.control.outbox.waiting(1)[0]
    room.audit.record(waiting.tenant, waiting.event)
    room.audit.drain_outbox()
    stored = [row["event_id"] for row in room.receiver.rows("acme")]
    assert stored.count(waiting.event.record_id) == 1


def test_the_thread_drains_what_other_processes_change_and_survives_an_outage(room: Room) -> None:
    room.full(True)
    room.audit.start()
    room.full(False)
    wait_for(lambda: not room.control.outbox.waiting(1))
    room.control.tenants.set("other", export_rate="5/h")
    wait_for(lambda: len(room.receiver.rows("other")) == 2)
    room.audit.stop()


def test_stopping_tells_the_counts_and_drains_the_outbox(room: Room) -> None:
    room.audit.start()
    for _ in range(3):
        room.audit.refused("acme", ADA, FACTS, 403, "role too low")
    room.control.tenants.set("other", export_rate="5/h")
    room.audit.stop()
    assert counts(room.rows("acme", "access_denied")) == [1, 2]
    assert room.control.outbox.waiting(1) == []


def test_an_event_is_the_same_after_the_outbox() -> None:
    event = AuditEvent(
        record_id=uuid7(),
        time_unix_nano=time.time_ns(),
        category="security",
        action="permission_change",
        user_roles=("a", "b"),
        changes={"roles": (["a"], None), "map": (None, {"x": {"y": 1.5}})},
        attributes={"flag": True, "list": [1, "two"], "text": "é\u2028"},
        http_status=200,
    )
    again = event_from_json(event_to_json(event))
    assert again == event
    assert again.to_attributes() == event.to_attributes()
