"""Search, one event, correlation: paging against a full sort, over files that overlap and hot rows."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from otel_audit.exporter.store.schema import COLUMN_NAMES, VIEW
from otel_audit.exporter.store.snapshot import Damage, Snapshot
from otel_audit.query_service import search as search_module
from otel_audit.query_service.app.maintenance import _MERGES_A_ROUND
from otel_audit.query_service.correlate import by_request, by_trace
from otel_audit.query_service.engine import Engine, FilesChanged
from otel_audit.query_service.filters import FilterError, Filters
from otel_audit.query_service.position import InvalidPosition
from otel_audit.query_service.search import SNAPSHOT_TRIES, get_event, search
from tests.support.events import DiskStore, event_row, event_rows, table_of

START = datetime(2026, 3, 1, tzinfo=UTC)
NOW = START + timedelta(days=10)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine(memory_limit="256MB")
    yield engine
    engine.close()


def chosen(*items: tuple[str, str], now: datetime = NOW) -> Filters:
    return Filters.parse([("range", "30d"), *items], now=now)


def overlapping(root: Path, files: int = 12, rows: int = 40) -> tuple[DiskStore, list[dict[str, Any]]]:
    """Files of random, overlapping times with many equal times, and some hot rows."""
    draw, store, everything = random.Random(5), DiskStore(root), list[dict[str, Any]]()
    seq = 1
    for part in range(files + 1):
        made = []
        for _ in range(rows):
            at = START + timedelta(hours=draw.randrange(48), microseconds=draw.randrange(3))
            event_id = f"{draw.getrandbits(40):08x}-0000-7000-8000-000000000000"[-36:]
            category = draw.choice(["system", "security"])
            made.append(event_row(seq=seq, time=at, event_id=event_id, category=category, date="2026-03-01"))
            seq += 1
        everything += made
        (store.add_hot if part == files else store.add)(table_of(made))
    return store, everything


def pages(engine: Engine, store: DiskStore, filters: Filters, limit: int) -> list[int]:
    seqs: list[int] = []
    page = search(engine, store, "acme", filters, limit=limit)
    for _ in range(1000):
        seqs += [event["seq"] for event in page.events]
        if page.next is None:
            return seqs
        page = search(engine, store, "acme", filters, limit=limit, cursor=page.next)
    raise AssertionError("paging does not end")


@pytest.mark.parametrize("limit", [1, 7, 100, 1000])
@pytest.mark.parametrize("first_group", [1, 100, 60_000])
def test_pages_joined_are_the_full_sort(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, first_group: int
) -> None:
    monkeypatch.setattr(search_module, "_FIRST_GROUP_ROWS", first_group)
    store, rows = overlapping(tmp_path, files=6, rows=8 if limit == 1 else 40)
    wanted = sorted(rows, key=lambda r: (r["time"], r["event_id"], r["writer"], r["seq"]), reverse=True)
    expected = [row["seq"] for row in wanted if row["category"] == "security"]
    assert pages(engine, store, chosen(("category", "security")), limit) == expected


def test_a_page_is_whole_events_as_stored(engine: Engine, tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    row = event_row(
        seq=3,
        time=datetime(2026, 3, 5, 1, 2, 3, 4, tzinfo=UTC),
        user_roles=["admin", "x"],
        changes='{"roles": {"before": [], "after": ["admin"]}}',
        attributes='{"n": 12345678901234567890123, "t": "é"}',
        otel_resource="not json",
        redactions=[{"rule": "jwt", "field": "message", "count": 2}],
        retention="rag",
        http_status=200,
    )
    store.add(table_of([row]))
    store.add_hot(table_of([row | {"seq": 4}]))
    sealed, hot = search(engine, store, "acme", chosen()).events[::-1]
    assert sealed | {"seq": 4} == hot
    assert list(sealed) == [*COLUMN_NAMES, "retention", "date"] == VIEW.names
    assert sealed["time"] == sealed["received_time"] == "2026-03-05T01:02:03.000004Z"
    assert sealed["changes"] == {"roles": {"before": [], "after": ["admin"]}}
    assert sealed["attributes"] == {"n": 12345678901234567890123, "t": "é"}
    assert sealed["otel_resource"] == "not json"
    assert sealed["redactions"] == [{"rule": "jwt", "field": "message", "count": 2}]
    assert (sealed["retention"], sealed["date"], sealed["user_id"]) == ("rag", "2026-03-05", None)


def test_later_pages_do_not_see_what_came_after_the_first(engine: Engine, tmp_path: Path) -> None:
    store, rows = overlapping(tmp_path)
    first = search(engine, store, "acme", chosen(), limit=300)
    late = [event_row(seq=10_000 + n, time=START + timedelta(hours=n % 48)) for n in range(30)]
    store.add_hot(table_of(late[:10]))
    # Sealed together with rows the first page may see, so only (writer, seq) tells them apart.
    store.seal("acme")
    store.add(table_of(late[10:]))
    store.add_hot(table_of([event_row(seq=1, writer="w2", time=START)]))
    second = search(engine, store, "acme", chosen(), limit=1000, cursor=first.next)
    seqs = [event["seq"] for page in (first, second) for event in page.events]
    assert sorted(seqs) == sorted(row["seq"] for row in rows)
    again = search(engine, store, "acme", chosen(), limit=300, as_of=first.as_of)
    assert [event["seq"] for event in again.events] == seqs[:300]
    assert again.as_of == second.as_of == first.as_of
    fresh = search(engine, store, "acme", chosen(), limit=1000)
    assert len(fresh.events) == len(rows) + 31


def test_a_range_stays_where_the_first_page_put_it(engine: Engine, tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    store.add(table_of([event_row(seq=n, time=NOW - timedelta(minutes=60 - n)) for n in range(1, 6)]))
    first = search(engine, store, "acme", Filters.parse([("range", "1h")], now=NOW), limit=2)
    later = Filters.parse([("range", "1h")], now=NOW + timedelta(minutes=30))
    rest = search(engine, store, "acme", later, cursor=first.next)
    assert [event["seq"] for event in first.events + rest.events] == [5, 4, 3, 2, 1]


def test_two_events_of_one_id_and_time_are_both_paged(engine: Engine, tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    store.add(table_of([event_row(seq=1), event_row(seq=2), event_row(seq=9, writer="v")]))
    assert pages(engine, store, chosen(), 1) == [2, 1, 9]


class Shifting(DiskStore):
    """Replaces a file right after each of the first snapshots, as compaction may."""

    left = 0

    def snapshot(self, tenant: str, **options: Any) -> Snapshot:
        snapshot = super().snapshot(tenant, **options)
        if self.left:
            self.left -= 1
            old = self.files[tenant][0]
            rows = pq.ParquetFile(old.path).read()
            rows = rows.append_column("retention", pa.array([old.retention] * rows.num_rows))
            rows = rows.append_column("date", pa.array([old.date] * rows.num_rows))
            self.replace(tenant, old, rows.cast(VIEW))
        return snapshot


@pytest.mark.parametrize("times", [1, 4, _MERGES_A_ROUND + 1])
def test_a_file_replaced_during_a_search_changes_nothing(engine: Engine, tmp_path: Path, times: int) -> None:
    store = Shifting(tmp_path)
    store.add(event_rows(300, start=START, end=START + timedelta(hours=5)))
    before = search(engine, store, "acme", chosen(), limit=1000).events
    store.left = times
    assert search(engine, store, "acme", chosen(), limit=1000).events == before


def test_files_that_keep_going_away_end_the_search_with_an_error(engine: Engine, tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    (ref,) = store.add(table_of([event_row(seq=1)]))
    ref.path.unlink()
    with pytest.raises(FilesChanged):
        search(engine, store, "acme", chosen())
    assert store.snapshots == SNAPSHOT_TRIES


def test_an_old_file_with_fewer_columns_reads_as_null(engine: Engine, tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    early = list(COLUMN_NAMES[: COLUMN_NAMES.index("user_agent")])
    store.add(table_of([event_row(seq=1, user_agent="gone")]), columns=early)
    (event,) = search(engine, store, "acme", chosen()).events
    assert event["user_agent"] is None
    assert search(engine, store, "acme", chosen(("q", "gone"))).events == []


def test_damage_is_told_with_every_page(engine: Engine, tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    store.damaged = (Damage("x.parquet", "its SHA-256 differs", START, START + timedelta(hours=1)),)
    assert search(engine, store, "acme", chosen()).partial == [
        {
            "file": "x.parquet",
            "reason": "its SHA-256 differs",
            "from": "2026-03-01T00:00:00.000000Z",
            "to": "2026-03-01T01:00:00.000000Z",
        }
    ]


def test_a_folder_with_pattern_characters_is_read_literally(engine: Engine, tmp_path: Path) -> None:
    store, decoy = DiskStore(tmp_path / "it's [a]*?"), DiskStore(tmp_path / "it's a")
    store.add(table_of([event_row(seq=1)]))
    decoy.add(table_of([event_row(seq=2)]))
    assert [event["seq"] for event in search(engine, store, "acme", chosen()).events] == [1]


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_limit_out_of_range_is_refused(engine: Engine, tmp_path: Path, limit: int) -> None:
    with pytest.raises(FilterError, match="limit"):
        search(engine, DiskStore(tmp_path), "acme", chosen(), limit=limit)


def test_a_cursor_of_another_as_of_is_refused(engine: Engine, tmp_path: Path) -> None:
    store, _ = overlapping(tmp_path, files=2)
    first = search(engine, store, "acme", chosen(), limit=1)
    store.add_hot(table_of([event_row(seq=9_999)]))
    other = search(engine, store, "acme", chosen(), limit=1)
    with pytest.raises(InvalidPosition):
        search(engine, store, "acme", chosen(), cursor=first.next, as_of=other.as_of)


def test_one_event_is_found_by_id_wherever_it_is(engine: Engine, tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    rows = event_rows(200, start=START, end=START + timedelta(days=3))
    late = event_row(seq=900, event_id="01000000-0000-7000-8000-000000000001", time=START)
    version4 = event_row(seq=901, event_id="7d444840-9dc0-41d1-b245-5ffdce74fad2", time=START)
    store.add(rows)
    store.add(table_of([late]))
    store.add_hot(table_of([version4]))
    for event_id, seq in (
        (rows["event_id"][7].as_py(), rows["seq"][7].as_py()),
        (late["event_id"].upper(), 900),
        (version4["event_id"].replace("-", ""), 901),
    ):
        found = get_event(engine, store, "acme", event_id)
        assert found is not None
        assert found["seq"] == seq
    assert get_event(engine, store, "acme", "7d444840-9dc0-41d1-b245-5ffdce74fad3") is None
    assert get_event(engine, store, "acme", "' OR 1=1 --") is None


def test_related_events_come_in_order_across_services_and_files(engine: Engine, tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    shared: Mapping[str, Any] = {"request_id": "0190a1b2-0000-7000-8000-00000000000a", "trace_id": "ab" * 16}
    made = [
        event_row(seq=n, time=NOW - timedelta(seconds=n), service_name=f"s{n}", **shared) for n in (1, 2, 3)
    ]
    store.add(table_of(made[:1]))
    store.add_hot(table_of([*made[1:], event_row(seq=4, time=NOW)]))
    for found in (
        by_request(engine, store, "acme", "0190A1B2-0000-7000-8000-00000000000A"),
        by_trace(engine, store, "acme", "AB" * 16),
    ):
        assert [event["service_name"] for event in found["events"]] == ["s3", "s2", "s1"]
        assert (found["truncated"], found["partial"]) == (False, [])
    with pytest.raises(FilterError):
        by_trace(engine, store, "acme", "nope")
