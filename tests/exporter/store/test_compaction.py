"""Merging files changes no row, and readers notice nothing of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from otel_audit.exporter.store.ledger.entry import ManifestFile
from otel_audit.exporter.store.ledger.verify import verify_tenant
from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.reader import StoreReader
from otel_audit.exporter.store.snapshot import FileRef, Snapshot
from otel_audit.exporter.store.store import Store
from otel_audit.exporter.store.upkeep.compaction import FAN_IN, FILE_BYTES_MAX, FILES_MAX, merged, plan
from otel_audit.exporter.store.upkeep.held import NUMBERS, Held
from otel_audit.exporter.store.upkeep.pins import PINNED_S, pin_files
from otel_audit.exporter.store.upkeep.removal import RETIRED_S
from otel_audit.exporter.store.upkeep.retention import DEFAULT_MONTHS
from tests.support.events import event_rows
from tests.support.rows import batch, row

DAY = datetime(2026, 3, 2, tzinfo=UTC)
LATER = (DAY + timedelta(days=5)).timestamp()


class Clock:
    """A store's time, set by the test."""

    def __init__(self) -> None:
        self.now = LATER

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def root(tmp_path: Path) -> RegionRoot:
    return RegionRoot(tmp_path / "data")


@pytest.fixture
def store(root: RegionRoot, clock: Clock) -> Iterator[Store]:
    opened = Store(root, now=clock)
    yield opened
    opened.close()


def rows_of(snapshot: Snapshot) -> pa.Table:
    """All rows, ascending by sequence number."""
    tables = [pq.read_table(ref.path, partitioning=None).drop_columns("tenant") for ref in snapshot.files]
    hot = snapshot.hot.drop_columns(["tenant", "retention", "date"])
    return pa.concat_tables([*tables, hot], promote_options="default").sort_by("seq")


def fill(store: Store, seals: int, rows: int = 40) -> None:
    """`seals` files a class, their times interleaved."""
    for seed in range(seals):
        made = event_rows(rows, start=DAY, end=DAY + timedelta(hours=20), seed=seed)
        names = [name for name in made.column_names if name not in ("tenant", "writer", "seq")]
        store.append({"acme": made.select(names).combine_chunks().to_batches()[0]})
        store.seal()


def ref(
    name: str, day: str, size: int = 1_000, retention: str = "standard", writer: str = "w1"
) -> ManifestFile:
    at = datetime.fromisoformat(day).replace(tzinfo=UTC)
    path = Path(name)
    return ManifestFile(FileRef(path, path, retention, day, 1, size, at, at, writer, 1, 1, ""), "a", "b")


def test_a_closed_day_becomes_one_file_a_class_and_every_row_stays_what_it_was(
    store: Store, root: RegionRoot
) -> None:
    fill(store, 7)
    before = rows_of(store.snapshot("acme"))
    assert len(store.snapshot("acme").files) == 14
    assert store.compact() == 2
    snapshot = store.snapshot("acme")
    assert [file.retention for file in snapshot.files] == ["rag", "standard"]
    assert rows_of(snapshot).equals(before)
    assert rows_of(StoreReader(root).snapshot("acme")).equals(before)
    for file in snapshot.files:
        sorted_by = pq.read_table(file.path, columns=["time", "event_id"], partitioning=None)
        assert sorted_by.equals(sorted_by.sort_by([("time", "ascending"), ("event_id", "ascending")]))
    assert verify_tenant(root, "acme").problems == []
    assert store.compact() == 0


def test_a_merge_reads_files_piece_by_piece_and_keeps_their_order_also_at_equal_times(
    store: Store,
) -> None:
    draw = random.Random(5)
    for _ in range(5):
        times = [DAY + timedelta(seconds=draw.randrange(4)) for _ in range(60)]
        store.append({"acme": batch(*(row(time=time) for time in times))})
        store.seal()
    snapshot = store.snapshot("acme")
    pieces = list(merged(snapshot.files, batch_rows=7))
    assert len(pieces) > 20
    joined = pa.concat_tables(pieces)
    assert joined.num_rows == 300
    assert joined.equals(joined.sort_by([("time", "ascending"), ("event_id", "ascending")]))
    wanted = pa.array([3, 77, 299], pa.int64())
    assert sorted(pa.concat_tables(merged(snapshot.files, wanted, batch_rows=7))["seq"].to_pylist()) == [
        3,
        77,
        299,
    ]


def test_repeats_are_known_after_a_merge_and_after_a_restart(root: RegionRoot, clock: Clock) -> None:
    store = Store(root, now=clock)
    again = [row(time=DAY) for _ in range(4)]
    for one in again:
        store.append({"acme": batch(one)})
        store.seal()
    assert store.compact() == 1
    store.append({"acme": batch(*again)})
    store.close()
    store = Store(root, now=clock)
    store.append({"acme": batch(*again, row(time=DAY))})
    assert rows_of(store.snapshot("acme"))["seq"].to_pylist() == [1, 2, 3, 4, 5]
    store.close()


def test_replaced_files_wait_an_hour_outside_of_what_engines_read(
    store: Store, root: RegionRoot, clock: Clock
) -> None:
    fill(store, 3)
    replaced = {file.path.name for file in store.snapshot("acme").files}
    store.compact()
    assert {path.name for path in root.retired("acme").iterdir()} == replaced
    assert len(list(root.tenant("acme").glob("retention=*/date=*/*.parquet"))) == 2
    assert len(list(root.index("acme").iterdir())) == 2
    clock.now = max(path.stat().st_ctime for path in root.retired("acme").iterdir())
    store.tidy()
    assert {path.name for path in root.retired("acme").iterdir()} == replaced
    clock.now += RETIRED_S
    store.tidy()
    assert list(root.retired("acme").iterdir()) == []


def test_files_of_a_list_stay_in_place_for_an_hour(store: Store, root: RegionRoot, clock: Clock) -> None:
    fill(store, 2)
    listed = [file.path for file in store.snapshot("acme").files]
    pin_files(root, listed, clock.now)
    clock.now += PINNED_S - 1
    assert store.compact() == 0
    assert all(path.exists() for path in listed)
    clock.now += 1
    assert store.compact() == 2
    assert list((root.run / "pins").iterdir()) == []


def test_a_damaged_file_is_not_merged_into_a_whole_one(store: Store) -> None:
    fill(store, 2)
    [first, *_] = [file for file in store.snapshot("acme").files if file.retention == "standard"]
    data = first.path.read_bytes()
    first.path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    assert store.compact() == 1  # the other class
    assert first.path.exists()


def test_an_open_day_is_merged_by_sixteens_and_a_closed_one_whole() -> None:
    today = date(2026, 3, 10)
    opened = [ref(f"a{n}", "2026-03-08", 1_000 + n) for n in range(FAN_IN)]
    assert plan(opened[1:], today) == []
    assert plan(opened, today) == [opened]
    large = ref("large", "2026-03-08", 1 << 20)
    [group] = plan([large, *opened], today)
    assert large not in group
    closed = [ref("b1", "2026-03-07"), ref("b2", "2026-03-07")]
    assert plan(closed, today) == [closed]
    assert plan(closed[:1], today) == []


def test_a_merge_joins_one_partition_of_one_writer_and_stays_within_its_size() -> None:
    today = date(2026, 3, 10)
    apart = [
        ref("a", "2026-03-01"),
        ref("b", "2026-03-01", retention="rag"),
        ref("c", "2026-03-01", writer="w2"),
        ref("d", "2026-03-02"),
    ]
    assert plan(apart, today) == []
    large = [ref(str(n), "2026-03-01", FILE_BYTES_MAX // 3 + 1) for n in range(5)]
    groups = plan(large, today)
    assert [len(group) for group in groups] == [2, 2]
    assert plan([ref("x", "2026-03-01", FILE_BYTES_MAX), ref("y", "2026-03-01")], today) == []


def test_a_partition_that_is_held_in_part_is_rewritten_to_its_held_rows(
    store: Store, root: RegionRoot
) -> None:
    fill(store, 3)
    before = rows_of(store.snapshot("acme"))
    keep = before.filter(pc.equal(before["user_id"], before["user_id"][5]))
    numbers = keep.select(["writer", "seq"]).cast(NUMBERS).sort_by("seq").combine_chunks()
    when = datetime(2027, 3, 1, tzinfo=UTC)

    def held(tenant: str, refs: object, now: datetime) -> Held:
        assert isinstance(refs, list)
        names = pa.concat_tables(
            pq.read_table(file.path, columns=["writer", "seq"], partitioning=None) for file in refs
        )
        mine = numbers.filter(pc.is_in(numbers["seq"], names["seq"].combine_chunks()))
        return Held(mine, names=("case-7",)) if mine.num_rows else Held()

    def run() -> int:
        gone = store.run_retention(lambda *_: DEFAULT_MONTHS, now=when, actor="test", held=held)
        return sum(partition.rows for partition in gone)

    assert run() == before.num_rows - keep.num_rows
    assert rows_of(store.snapshot("acme")).equals(keep)
    assert run() == 0
    assert verify_tenant(root, "acme").problems == []


def test_a_hold_that_came_during_the_run_keeps_everything(store: Store) -> None:
    fill(store, 1)
    when = datetime(2027, 3, 1, tzinfo=UTC)
    gone = store.run_retention(
        lambda *_: DEFAULT_MONTHS, now=when, actor="test", held=lambda *_: Held(is_current=lambda: False)
    )
    assert gone == []
    assert rows_of(store.snapshot("acme")).num_rows == 40


def test_a_merge_opens_a_bounded_number_of_files_at_once() -> None:
    many = [ref(f"f{n:04d}", "2026-03-01") for n in range(2 * FILES_MAX + 1)]
    assert [len(group) for group in plan(many, date(2026, 3, 10))] == [FILES_MAX, FILES_MAX]


def test_a_tenant_with_much_to_merge_keeps_no_other_waiting(store: Store) -> None:
    def files(tenant: str) -> int:
        return len(store.snapshot(tenant).files)

    for _ in range(2):
        days = [row(time=DAY - timedelta(days=day)) for day in range(5)]
        store.append({"acme": batch(*days), "globex": batch(row(time=DAY)), "zeta": batch(row(time=DAY))})
        store.seal()
    for _ in range(3):
        assert store.compact(merges_max=1) == 1
    assert (files("acme"), files("globex"), files("zeta")) == (9, 1, 1)
    store.compact()
    assert files("acme") == 5
