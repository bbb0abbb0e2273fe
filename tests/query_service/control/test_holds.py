"""Legal holds in the control database: who may be held by what name, until when, and what is recorded."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from otel_audit.instrumentation.vocabulary import Severity
from otel_audit.query_service.auth.request_facts import RequestFacts
from otel_audit.query_service.control.database import ControlDatabase, ControlUnavailable
from otel_audit.query_service.control.holds import (
    HOLDS_MAX,
    IN_FORCE_MAX,
    HoldExists,
    HoldReleased,
    Holds,
    InvalidHold,
    NoSuchHold,
    TooManyHolds,
)
from otel_audit.query_service.control.outbox import Actor, Outbox, os_actor
from otel_audit.query_service.control.tenants import NoSuchTenant
from otel_audit.query_service.filters import FilterError
from tests.support.control import DAY_S, Control

ADD_AND_RELEASE = """
import sys
from pathlib import Path
from otel_audit.query_service.control.database import ControlDatabase
from otel_audit.query_service.control.holds import Holds
holds = Holds(ControlDatabase.open(Path(sys.argv[1])))
for number in range(100_000):
    name = f"{sys.argv[2]}-{number}"
    holds.add("acme", name, "because")
    print("added", name, flush=True)
    holds.release(name, "enough")
    print("released", name, flush=True)
"""


@pytest.fixture
def control(tmp_path: Path) -> Control:
    made = Control(tmp_path)
    made.tenants.add("acme")
    made.tenants.add("globex")
    return made


def changes(control: Control, tenant: str = "acme") -> list[str]:
    return [event.message or "" for event in control.recorded(tenant) if event.action == "hold_change"]


def test_a_hold_is_in_force_at_once_and_so_is_its_event_of_the_organization(control: Control) -> None:
    facts = RequestFacts(
        "0190a1b2-0000-7000-8000-00000000000a", "10.0.0.9", "curl", "POST", "/api/v1/orgs/{org}/holds"
    )
    filters = [("user", "Ada@example.com"), ("category", "security"), ("category", "system")]
    made = control.holds.add(
        "acme", "matter-42", " letter of 1 March ", filters, actor=Actor("bo@example.com"), facts=facts
    )
    assert control.holds.active("acme", control.clock()) == [made]
    assert control.holds.active("globex", control.clock()) == []
    assert (made.reason, made.created_by) == ("letter of 1 March", "bo@example.com")
    [event] = [event for event in control.recorded("acme") if event.action == "hold_change"]
    assert (event.category, event.severity, event.outcome) == ("system", Severity.WARNING, "success")
    assert (event.user_id, event.target_type, event.target_id) == ("bo@example.com", "hold", "matter-42")
    assert event.changes is not None
    assert event.changes["filters"] == (
        None,
        {"user": ["A•••@example.com"], "category": ["security", "system"]},
    )
    assert event.attributes == {"otel_audit.reason": "letter of 1 March"}
    assert (event.request_id, event.client_address) == (facts.request_id, facts.client_address)
    assert (event.http_method, event.http_route) == (facts.method, facts.route)
    assert changes(control, "operator") == changes(control, "globex") == []


def test_without_a_user_named_the_operating_systems_is_recorded(control: Control) -> None:
    control.holds.add("acme", "a", "because")
    released = control.holds.release("a", "enough")
    assert released.created_by == released.released_by == os_actor().user_id
    assert changes(control) == ["legal hold a added", "legal hold a released"]


@pytest.mark.parametrize(
    ("items", "parameter"),
    [
        ([("range", "7d")], "range"),
        ([("user", "")], "user"),
        ([("user", "  ")], "user"),
        ([("q", "x"), ("category", "")], "category"),
        ([("colour", "red")], "colour"),
        ([("not.user", "ada")], "not.user"),
        ([("from", "yesterday")], "from"),
        ([("from", "2026-03-02"), ("to", "2026-03-01")], "from"),
        ([("user", "a"), ("user", "b")], "user"),
    ],
)
def test_a_filter_that_would_hold_something_else_than_meant_is_refused(
    control: Control, items: list[tuple[str, str]], parameter: str
) -> None:
    with pytest.raises(FilterError) as refused:
        control.holds.add("acme", "a", "because", items)
    assert refused.value.parameter == parameter
    assert refused.value.hint
    assert control.holds.list() == []
    assert changes(control) == []


@pytest.mark.parametrize("name", ["", " ", "a b", "../x", "a/b", ".a", "-a", "a\n", "é", "a" * 64, "a?b"])
def test_a_name_that_an_address_would_not_carry_is_refused(control: Control, name: str) -> None:
    with pytest.raises(InvalidHold) as refused:
        control.holds.add("acme", name, "because")
    assert refused.value.hint


@pytest.mark.parametrize("reason", ["", "  ", "two\nlines", "\x1b[31m", "x" * 1001])
def test_both_changes_need_a_reason_of_one_line(control: Control, reason: str) -> None:
    with pytest.raises(InvalidHold):
        control.holds.add("acme", "a", reason)
    control.holds.add("acme", "a", "because")
    with pytest.raises(InvalidHold):
        control.holds.release("a", reason)
    assert control.holds.list()[0].released_at is None


def test_an_organization_that_does_not_exist_cannot_be_held(control: Control) -> None:
    with pytest.raises(NoSuchTenant):
        control.holds.add("nobody", "a", "because")
    assert control.outbox.waiting(100)[-1].event.action != "hold_change"


def test_a_released_hold_holds_for_seven_days_to_the_microsecond(control: Control) -> None:
    control.holds.add("acme", "a", "because")
    control.clock.seconds += DAY_S
    released = control.holds.release("a", "settled")
    end = control.clock() + 7 * DAY_S
    assert released.effective_at == end
    for now, names in ((end - 1e-6, ["a"]), (end, []), (end + 1, [])):
        assert [hold.name for hold in control.holds.active("acme", now)] == names
    assert [released.status(now) for now in (end - 1e-6, end)] == ["releasing", "released"]
    assert control.holds.list() == [released]


def test_the_delay_is_a_setting(control: Control) -> None:
    holds = Holds(control.db, now=control.clock, release_delay_s=90.0)
    holds.add("acme", "a", "because")
    assert holds.release("a", "settled").effective_at == control.clock() + 90.0


def test_a_hold_counts_also_for_a_moment_before_it_was_made(control: Control) -> None:
    control.holds.add("acme", "a", "because")
    assert len(control.holds.active("acme", control.clock() - 3650 * DAY_S)) == 1


def test_a_second_release_changes_nothing(control: Control) -> None:
    control.holds.add("acme", "a", "because")
    first = control.holds.release("a", "settled")
    control.clock.seconds -= 30 * DAY_S
    with pytest.raises(HoldReleased, match="released"):
        control.holds.release("a", "sooner")
    assert control.holds.list() == [first]
    assert len(changes(control)) == 2


def test_a_name_means_one_hold_of_its_organization_for_ever(control: Control) -> None:
    control.holds.add("acme", "a", "because", [("user", "ada")])
    with pytest.raises(HoldExists):
        control.holds.add("acme", "a", "again")
    control.holds.release("a", "settled")
    control.clock.seconds += 30 * DAY_S
    with pytest.raises(HoldExists):
        control.holds.add("acme", "a", "again")
    control.holds.add("globex", "a", "another's")
    assert [hold.tenant for hold in control.holds.list()] == ["acme", "globex"]
    assert [hold.tenant for hold in control.holds.list("globex")] == ["globex"]


def test_a_release_says_whose_hold_is_meant_where_the_name_does_not(control: Control) -> None:
    for tenant in ("acme", "globex"):
        control.holds.add(tenant, "a", "because")
    with pytest.raises(InvalidHold) as refused:
        control.holds.release("a", "settled")
    assert "--tenant: acme, globex" in refused.value.hint
    assert control.holds.release("a", "settled", tenant="globex").tenant == "globex"
    # One is left that can be meant.
    assert control.holds.release("a", "settled").tenant == "acme"
    for whose in (None, "globex"):
        with pytest.raises(NoSuchHold):
            control.holds.release("b", "settled", tenant=whose)


def test_another_process_sees_a_change_at_once(control: Control) -> None:
    other = Holds(ControlDatabase.open(control.db.path), now=control.clock)
    other.add("acme", "a", "because")
    assert [hold.name for hold in control.holds.active("acme", control.clock())] == ["a"]


def test_a_change_whose_event_cannot_be_kept_does_not_happen(control: Control) -> None:
    control.holds.add("acme", "kept", "because")
    with control.db.write() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER full BEFORE INSERT ON outbox BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )
    with pytest.raises(ControlUnavailable):
        control.holds.add("acme", "new", "because")
    with pytest.raises(ControlUnavailable):
        control.holds.release("kept", "settled")
    [kept] = control.holds.list()
    assert (kept.name, kept.released_at) == ("kept", None)


def test_a_kill_at_any_moment_leaves_no_change_without_its_event_and_loses_none(control: Control) -> None:
    told: set[tuple[str, str]] = set()
    for run in range(6):
        command = [sys.executable, "-c", ADD_AND_RELEASE, str(control.db.path), f"run{run}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            told.add(_words(process.stdout.readline()))
            # Not for something to happen: to be at another point of the loop in each run.
            time.sleep(0.007 * run)
            process.kill()
            told |= {_words(line) for line in process.stdout if line.endswith("\n")}
    done = {("added", hold.name) for hold in control.holds.list()}
    done |= {("released", hold.name) for hold in control.holds.list() if hold.released_at is not None}
    recorded = {_words(" ".join(reversed(message.split()[2:]))) for message in changes(control)}
    assert told <= done
    assert done == recorded


def _words(line: str) -> tuple[str, str]:
    done, name = line.split()
    return done, name


def test_an_organization_has_no_more_holds_than_retention_can_ask(control: Control) -> None:
    def fill(count: int, effective_at: float | None) -> None:
        with sqlite3.connect(control.db.path) as raw:
            raw.execute("DELETE FROM holds")
            raw.executemany(
                "INSERT INTO holds VALUES ('acme', ?, 'r', '[]', 0, 'u', NULL, ?, NULL, NULL)",
                [(f"h{number}", effective_at) for number in range(count)],
            )
        raw.close()

    for count, effective_at in ((IN_FORCE_MAX, None), (HOLDS_MAX, 1.0)):
        fill(count, effective_at)
        with pytest.raises(TooManyHolds):
            control.holds.add("acme", "one-more", "because")
        control.holds.add("globex", f"of-another-{count}", "because")
    fill(IN_FORCE_MAX, 1.0)
    control.holds.add("acme", "one-more", "because")


def test_times_are_kept_as_absolute_and_filters_as_canonical(control: Control) -> None:
    items = [("to", "2026-03-05"), ("trace", "AB" * 16), ("from", "2026-03-01T01:00:00+01:00")]
    made = control.holds.add("acme", "a", "because", items)
    assert json.loads(made.filters) == [
        ["from", "2026-03-01T00:00:00.000000Z"],
        ["to", "2026-03-05"],
        ["trace", "ab" * 16],
    ]
    assert made.scope == control.holds.list()[0].scope


def test_a_session_is_kept_as_its_hash_only(control: Control) -> None:
    made = control.holds.add("acme", "a", "because", [("session", "session-" + "7" * 20)])
    assert "7777" not in made.filters
    assert "7777" not in str(Outbox(control.db).waiting(100))
