"""What retention is told to keep, judged over real Parquet files."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from otel_audit.exporter.store.snapshot import FileRef
from otel_audit.exporter.store.upkeep.held import NUMBERS, Held
from otel_audit.query_service.engine import Engine
from otel_audit.query_service.filters import NAMES, Filters
from otel_audit.query_service.held_rows import HeldRows
from otel_audit.query_service.search import search
from tests.support.control import DAY_S, Control
from tests.support.events import DiskStore, event_row, event_rows, table_of

DAY = datetime(2026, 3, 1, tzinfo=UTC)
NOW = DAY + timedelta(days=365)


class Trail:
    """Files of one partition a tenant, holds over them, and a judge on them."""

    def __init__(self, folder: Path) -> None:
        self.control = Control(folder / "control")
        self.store = DiskStore(folder / "store")
        self.judge = self.new_judge()
        for tenant in ("acme", "globex"):
            self.control.tenants.add(tenant)

    def new_judge(self, **given: Any) -> HeldRows:
        return HeldRows(self.control.holds, lambda: Engine(memory_limit="256MB", threads=1), **given)

    def fill(self, count: int = 600, tenant: str = "acme", **given: Any) -> list[FileRef]:
        rows = event_rows(count, start=DAY, end=DAY + timedelta(days=1), tenant=tenant, **given)
        one = pa.repeat(pa.scalar("standard"), count)
        return self.store.add(rows.set_column(rows.column_names.index("retention"), "retention", one))

    def hold(self, name: str = "a", tenant: str = "acme", **filters: str) -> None:
        self.control.holds.add(tenant, name, "because", [(k.rstrip("_"), v) for k, v in filters.items()])

    def held(self, tenant: str = "acme", now: datetime = NOW, judge: HeldRows | None = None) -> Held:
        return (judge or self.judge)(tenant, self.store.files[tenant], now)

    def rows(self, wanted: Callable[[dict[str, Any]], bool], tenant: str = "acme") -> list[tuple[str, int]]:
        """What plain Python chooses."""
        found = []
        for ref in self.store.files[tenant]:
            events = pq.read_table(ref.path, partitioning=None).to_pylist()
            found += [(event["writer"], event["seq"]) for event in events if wanted(event)]
        return sorted(found)


@pytest.fixture
def trail(tmp_path: Path) -> Iterator[Trail]:
    made = Trail(tmp_path)
    yield made
    made.judge.close()


def numbers(held: Held) -> list[tuple[str, int]]:
    assert held.rows is not None
    assert held.rows.schema.equals(NUMBERS)
    return list(zip(held.rows["writer"].to_pylist(), held.rows["seq"].to_pylist(), strict=True))


def spoil(ref: FileRef) -> None:
    data = bytearray(ref.path.read_bytes())
    data[len(data) // 2] ^= 1
    ref.path.write_bytes(data)


def test_a_hold_over_a_user_keeps_exactly_that_users_rows(trail: Trail) -> None:
    trail.fill(seed=1)
    trail.fill(seed=2, seq_from=601)
    trail.fill(seed=3, writer="w0", seq_from=5)
    trail.hold(user="U-0003")
    held = trail.held()
    expected = trail.rows(lambda event: event["user_id"] == "u-0003")
    assert len(expected) > 3
    assert len({writer for writer, _ in expected}) == 2
    assert numbers(held) == expected
    assert (held.names, held.nothing, held.problem) == (("a",), False, "")


def test_rows_under_several_holds_are_kept_once_and_every_hold_is_named(trail: Trail) -> None:
    trail.fill()
    trail.hold("one", user="u-0001")
    trail.hold("other", outcome="denied")
    trail.hold("nobody", user="nobody")
    held = trail.held()
    assert numbers(held) == trail.rows(lambda e: e["user_id"] == "u-0001" or e["outcome"] == "denied")
    assert held.names == ("one", "other")


def test_without_a_hold_nothing_stays_and_no_file_is_read(trail: Trail) -> None:
    [ref] = trail.fill(10)
    ref.path.unlink()
    assert trail.held().nothing
    trail.hold(tenant="globex")
    assert trail.held().nothing


def test_a_hold_without_filters_keeps_everything_even_what_cannot_be_read(trail: Trail) -> None:
    [ref] = trail.fill(10)
    ref.path.unlink()
    trail.hold("one", user="ada")
    trail.hold("all")
    held = trail.held()
    assert held == Held(everything=True, names=("all",))
    assert trail.judge.problems == {}


def test_a_time_frame_holds_from_its_first_to_before_its_last_microsecond(trail: Trail) -> None:
    start, end = DAY + timedelta(hours=3), DAY + timedelta(hours=4)
    tick = timedelta(microseconds=1)
    times = [start - tick, start, start + tick, end - tick, end]
    trail.store.add(table_of(event_row(time=moment, seq=number) for number, moment in enumerate(times)))
    trail.hold(from_="2026-03-01T03:00:00Z", to="2026-03-01T04:00:00Z")
    assert numbers(trail.held()) == [("w1", 1), ("w1", 2), ("w1", 3)]


@pytest.mark.parametrize(
    ("filters", "everything"),
    [
        ({"from_": "2026-03-01"}, True),
        ({"from_": "2026-03-02"}, False),
        ({"to": "2026-03-02"}, True),
        ({"to": "2026-03-01"}, False),
        ({"from_": "2026-03-01", "to": "2026-03-02"}, True),
        ({"from_": "2027-01-01", "user": "u-0001"}, False),
    ],
)
def test_a_time_frame_that_takes_in_all_or_nothing_needs_no_reading(
    trail: Trail, filters: dict[str, str], everything: bool
) -> None:
    [ref] = trail.fill(10)
    ref.path.unlink()
    trail.hold(**filters)
    held = trail.held()
    assert (held.everything, held.nothing, held.problem) == (everything, not everything, "")


VALUES = {
    "from": "2026-03-01T12:00:00Z",
    "to": "2026-03-01T12:00:00Z",
    "category": "security",
    "severity": "warning",
    "action": "read",
    "outcome": "denied",
    "resource_type": "file",
    "service": "auth",
    "min_severity": "error",
    "user": "user-2@EXAMPLE.org",
    "ip": "10.1.0.0/16",
    "session": f"sh_{3:032x}",
    "request": f"{0:08x}-0000-4000-8000-{7:012x}",
    "trace": f"{0:08x}000040008000{7:012x}",
    "resource_id": "f-12",
    "q": "REPORT 1",
}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "range"])
def test_a_hold_by_any_filter_keeps_what_a_search_by_it_finds(trail: Trail, name: str) -> None:
    trail.fill(400)
    extra = event_row(time=DAY, seq=1001, resource_id="f-12", user_id="new", session_id=f"sh_{3:032x}")
    trail.store.add(table_of([extra]))
    value = VALUES[name.removeprefix("not.")]
    trail.control.holds.add("acme", "a", "because", [(name, value)])
    times = [("from", "2026-01-01"), ("to", "2026-12-31")]
    asked = [(name, value), *(pair for pair in times if pair[0] != name)]
    engine = Engine(memory_limit="256MB", threads=1)
    found = search(engine, trail.store, "acme", Filters.parse(asked, now=NOW), limit=1000).events
    engine.close()
    assert 0 < len(found) < 401
    assert numbers(trail.held()) == sorted((event["writer"], event["seq"]) for event in found)


def test_holds_that_together_take_in_every_row_keep_everything(trail: Trail) -> None:
    trail.fill(300)
    trail.hold("one", category="data_access")
    trail.control.holds.add("acme", "rest", "because", [("not.category", "data_access")])
    assert trail.held() == Held(everything=True, names=("one", "rest"))


def test_what_is_held_wholly_is_not_read_again_until_there_is_another_hold(trail: Trail) -> None:
    [ref] = trail.fill(50)
    trail.hold("one", q="of")
    whole: set[bytes] = set()
    assert trail.held(judge=trail.new_judge(whole=whole)).everything
    spoil(ref)
    assert trail.held(judge=trail.new_judge(whole=whole)) == Held(everything=True, names=("one",))
    trail.hold("two", user="u-0001")
    assert trail.held(judge=trail.new_judge(whole=whole)).problem


@pytest.mark.parametrize("harm", [spoil, lambda ref: ref.path.unlink()], ids=["damaged", "missing"])
def test_a_file_that_cannot_be_believed_keeps_everything_of_its_organization(
    trail: Trail, harm: Callable[[FileRef], None]
) -> None:
    [ref] = trail.fill(50)
    trail.fill(50, tenant="globex")
    trail.hold(user="u-0001")
    trail.hold(tenant="globex", user="u-0001")
    harm(ref)
    held = trail.held()
    assert held.everything
    assert "hold a needs" in held.problem
    # Also partitions of it that could be judged: what else is wrong there is not known.
    assert trail.judge("acme", [], NOW).everything
    assert not trail.held("globex").everything
    assert trail.judge.problems == {"acme": held.problem}


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE holds",
        """UPDATE holds SET filters = '[["colour","red"]]'""",
        "UPDATE holds SET filters = 'nonsense'",
        "UPDATE holds SET filters = '7'",
        "UPDATE holds SET filters = 'null'",
        "UPDATE holds SET filters = '[[]]'",
    ],
)
def test_holds_that_cannot_be_read_keep_everything(trail: Trail, statement: str) -> None:
    trail.fill(50)
    trail.hold(user="nobody")
    assert trail.held().nothing
    with sqlite3.connect(trail.control.db.path) as raw:
        raw.execute(statement)
    raw.close()
    held = trail.held()
    assert held.everything
    assert held.problem
    assert str(trail.control.db.path) not in held.problem


def test_a_query_that_fails_keeps_everything(trail: Trail) -> None:
    trail.fill(50)
    trail.hold(user="u-0001")

    def broken() -> Engine:
        engine = Engine(memory_limit="256MB", threads=1)
        engine.close()
        return engine

    held = HeldRows(trail.control.holds, broken)("acme", trail.store.files["acme"], NOW)
    assert held.everything
    assert held.problem


def test_a_release_lets_rows_go_at_its_moment_and_not_before(trail: Trail) -> None:
    trail.fill()
    trail.hold(user="u-0001")
    trail.control.holds.release("a", "settled")
    end = datetime.fromtimestamp(trail.control.clock() + 7 * DAY_S, UTC)
    assert numbers(trail.held(now=end - timedelta(microseconds=1)))
    assert trail.held(now=end).nothing


def test_a_hold_that_came_after_the_judgement_is_noticed_before_anything_goes(trail: Trail) -> None:
    trail.fill()
    trail.hold(user="u-0001")
    now = datetime.fromtimestamp(trail.control.clock(), UTC)
    held = trail.held(now=now)
    assert held.is_current()
    trail.control.holds.release("a", "settled")
    assert held.is_current()
    trail.hold("b", tenant="globex")
    assert held.is_current()
    trail.hold("b", user="u-0002")
    assert not held.is_current()
    held = trail.held(now=now)
    with sqlite3.connect(trail.control.db.path) as raw:
        raw.execute("DROP TABLE holds")
    raw.close()
    assert not held.is_current()
