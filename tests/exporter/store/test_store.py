"""The store through its front door: append, restart, seal, read, expire."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from otel_audit.exporter.store.errors import InvalidTenant, ManifestBroken, StoreLocked, StoreUnavailable
from otel_audit.exporter.store.files.verified import VerifiedFiles
from otel_audit.exporter.store.ledger.entry import encode_entry
from otel_audit.exporter.store.ledger.verify import verify_tenant
from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.reader import StoreReader
from otel_audit.exporter.store.schema import COLUMN_NAMES
from otel_audit.exporter.store.snapshot import Damage, FileRef, Snapshot, SnapshotSource
from otel_audit.exporter.store.store import Store
from otel_audit.exporter.store.upkeep.retention import DEFAULT_MONTHS
from tests.support.rows import batch, row


@pytest.fixture
def root(tmp_path: Path) -> RegionRoot:
    return RegionRoot(tmp_path / "data")


@pytest.fixture
def store(root: RegionRoot) -> Iterator[Store]:
    opened = Store(root)
    yield opened
    opened.close()


def ids(source: SnapshotSource | Snapshot, tenant: str = "acme") -> list[str]:
    snapshot = source if isinstance(source, Snapshot) else source.snapshot(tenant)
    found = snapshot.hot["event_id"].to_pylist()
    for ref in snapshot.files:
        found += pq.read_table(ref.path, columns=["event_id"], partitioning=None)["event_id"].to_pylist()
    return sorted(found)


def seqs(source: SnapshotSource, tenant: str = "acme") -> list[int]:
    snapshot = source.snapshot(tenant)
    found = snapshot.hot["seq"].to_pylist()
    for ref in snapshot.files:
        found += pq.read_table(ref.path, columns=["seq"], partitioning=None)["seq"].to_pylist()
    return sorted(found)


def test_what_was_appended_is_in_the_next_snapshot(store: Store) -> None:
    rows = [row() for _ in range(3)]
    store.append({"acme": batch(*rows)})
    assert ids(store) == sorted(r["event_id"] for r in rows)


def test_a_restart_keeps_hot_rows_and_goes_on_numbering(root: RegionRoot) -> None:
    first = Store(root)
    first.append({"acme": batch(row(), row())})
    first.close()
    second = Store(root)
    second.append({"acme": batch(row())})
    assert seqs(second) == [1, 2, 3]
    second.close()


def test_sealing_moves_rows_to_files_without_doubling_or_missing_one(store: Store, root: RegionRoot) -> None:
    for _ in range(3):
        store.append({"acme": batch(row(), row(retention="rag")), "other": batch(row())})
        store.seal("acme")
    store.append({"acme": batch(row())})
    assert seqs(store) == list(range(1, 8))
    assert seqs(StoreReader(root)) == list(range(1, 8))
    assert store.snapshot("acme").hot.num_rows == 1
    assert store.snapshot("other").hot.num_rows == 3
    folders = {path.parent.parent.name for path in root.tenant("acme").glob("retention=*/date=*/*.parquet")}
    assert folders == {"retention=standard", "retention=rag"}


def test_a_restart_after_sealing_reads_no_row_twice(root: RegionRoot) -> None:
    first = Store(root)
    first.append({"acme": batch(row(), row()), "other": batch(row())})
    first.seal("acme")
    first.close()
    second = Store(root)
    assert seqs(second) == [1, 2]
    assert seqs(second, "other") == [1]
    second.close()


def test_a_repeat_changes_nothing_hot_sealed_or_after_a_restart(root: RegionRoot) -> None:
    store = Store(root)
    again = row()
    store.append({"acme": batch(again, again)})
    store.append({"acme": batch(again, row())})
    store.seal()
    store.append({"acme": batch(again)})
    store.close()
    store = Store(root)
    store.append({"acme": batch(again)})
    assert seqs(store) == [1, 2]
    store.close()


def test_a_repeat_is_found_when_its_sidecar_is_gone_or_damaged(store: Store, root: RegionRoot) -> None:
    again = row()
    store.append({"acme": batch(again)})
    store.seal()
    [sidecar] = root.index("acme").iterdir()
    sidecar.write_bytes(b"x")
    store.append({"acme": batch(again)})
    assert seqs(store) == [1]


def test_the_same_id_with_other_content_is_kept_and_flagged(store: Store) -> None:
    first = row()
    other = first | {"message": "something else", "content_digest": "f" * 32}
    store.append({"acme": batch(first)})
    store.seal()
    store.append({"acme": batch(other)})
    store.append({"acme": batch(other)})
    snapshot = store.snapshot("acme")
    assert snapshot.hot["flags"].to_pylist() == [["id_conflict"]]
    assert ids(snapshot) == [first["event_id"]] * 2


def test_the_second_writer_is_refused_with_a_hint(store: Store, root: RegionRoot) -> None:
    with pytest.raises(StoreLocked) as refusal:
        Store(root)
    assert "--data-dir" in refusal.value.hint


def test_a_segment_leaves_the_log_only_when_all_its_rows_are_in_files(store: Store, root: RegionRoot) -> None:
    store.append({"acme": batch(row()), "other": batch(row())})
    store.seal("acme")
    store.wal.roll()
    store.seal("acme")
    assert len(store.wal.segments()) == 2
    store.seal()
    assert len(store.wal.segments()) == 1
    assert seqs(StoreReader(root), "other") == [1]


def test_a_reader_at_an_earlier_position_does_not_see_later_rows(store: Store) -> None:
    store.append({"acme": batch(row())})
    position = store.snapshot("acme").position
    store.append({"acme": batch(row())})
    assert store.snapshot("acme", as_of=position).hot["seq"].to_pylist() == [1]


def test_the_order_of_columns_in_a_file_is_the_contract(store: Store, root: RegionRoot) -> None:
    store.append({"acme": batch(row())})
    store.seal()
    [path] = root.tenant("acme").glob("retention=*/date=*/*.parquet")
    schema = pq.read_schema(path)
    assert tuple(schema.names) == COLUMN_NAMES
    assert schema.metadata[b"otel_audit.schema_version"] == b"1"


@pytest.mark.parametrize(("rows", "codec"), [(30, "SNAPPY"), (63, "SNAPPY"), (64, "ZSTD"), (1_000, "ZSTD")])
def test_only_a_file_of_many_rows_pays_for_zstd_and_dictionaries(
    store: Store, root: RegionRoot, rows: int, codec: str
) -> None:
    store.append({"acme": batch(*(row() for _ in range(rows)))})
    store.seal()
    [path] = root.tenant("acme").glob("retention=*/date=*/*.parquet")
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = [group.column(at) for at in range(group.num_columns)]
    assert {column.compression for column in columns} == {codec}
    encoded = {column.path_in_schema for column in columns if "RLE_DICTIONARY" in column.encodings}
    assert encoded == {"tenant"} if codec == "SNAPPY" else encoded > {"tenant", "action", "user_email"}


def test_a_seal_writes_one_sorted_file_a_day_and_class(store: Store) -> None:
    noon = datetime(2026, 11, 1, 12, tzinfo=UTC)
    made = [
        row(time=noon + timedelta(hours=hour * 7 % 48), retention=("standard", "rag")[hour % 2])
        for hour in range(48)
    ]
    store.append({"acme": batch(*made)})
    store.seal()
    expected: dict[tuple[str, str], list[tuple[datetime, str]]] = {}
    for each in sorted(made, key=lambda each: (each["time"], each["event_id"])):
        expected.setdefault((each["date"], each["retention"]), []).append((each["time"], each["event_id"]))
    files = store.snapshot("acme").files
    assert {(ref.date, ref.retention) for ref in files} == set(expected)
    for ref in files:
        rows = pq.read_table(ref.path, partitioning=None)
        mine = expected[ref.date, ref.retention]
        assert list(zip(rows["time"].to_pylist(), rows["event_id"].to_pylist(), strict=True)) == mine
        assert (ref.time_min, ref.time_max, ref.rows) == (mine[0][0], mine[-1][0], len(mine))
        seqs_of = rows["seq"].to_pylist()
        assert (ref.seq_min, ref.seq_max) == (min(seqs_of), max(seqs_of))


def test_any_engine_reads_the_folder_as_one_table(store: Store, root: RegionRoot) -> None:
    store.append({"a1": batch(row(), row(retention="rag")), "a01": batch(row())})
    store.seal()
    table = pq.read_table(root.store)
    assert sorted(table["tenant"].to_pylist()) == ["a01", "a1", "a1"]
    counted = duckdb.execute(
        f"SELECT tenant, retention, count(*) FROM read_parquet('{root.store}/*/*/*/*.parquet', "
        "hive_partitioning = true, hive_types_autocast = false) GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    assert counted == [("a01", "standard", 1), ("a1", "rag", 1), ("a1", "standard", 1)]


@pytest.mark.parametrize(
    ("retention", "day", "last_day_kept"),
    [
        ("standard", "2026-05-10", "2026-11-10"),
        ("rag", "2026-05-10", "2026-08-10"),
        ("standard", "2026-08-31", "2027-02-28"),
        ("rag", "2026-11-30", "2027-02-28"),
        ("standard", "2027-08-29", "2028-02-29"),
    ],
)
def test_a_partition_goes_the_day_after_its_period_and_not_before(
    store: Store, root: RegionRoot, retention: str, day: str, last_day_kept: str
) -> None:
    moment = datetime.fromisoformat(day).replace(hour=23, minute=59, tzinfo=UTC)
    store.append({"acme": batch(row(time=moment, retention=retention))})
    last = datetime.fromisoformat(last_day_kept).replace(tzinfo=UTC)

    def run(now: datetime, dry_run: bool = False) -> int:
        months = lambda tenant, at: DEFAULT_MONTHS  # noqa: E731
        return len(store.run_retention(months, now=now, actor="test", dry_run=dry_run))

    assert run(last + timedelta(hours=23, minutes=59, seconds=59)) == 0
    assert run(last + timedelta(days=1), dry_run=True) == 1
    assert len(ids(store)) == 1
    assert run(last + timedelta(days=1)) == 1
    assert ids(store) == []
    assert not list(root.tenant("acme").glob("retention=*/date=*"))
    assert verify_tenant(root, "acme").problems == []


def test_what_retention_deleted_stays_deleted_after_a_crash_before_the_unlink(root: RegionRoot) -> None:
    store = Store(root)
    store.append({"acme": batch(row())})
    store.seal()
    [path] = root.tenant("acme").glob("retention=*/date=*/*.parquet")
    data = path.read_bytes()
    store.run_retention(lambda *_: DEFAULT_MONTHS, now=datetime(2028, 1, 1, tzinfo=UTC), actor="test")
    store.close()
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    store = Store(root)
    assert ids(store) == []
    assert not path.exists()
    store.close()


def test_a_file_without_a_manifest_entry_is_written_again_from_the_log(root: RegionRoot) -> None:
    store = Store(root)
    rows = [row(), row()]
    store.append({"acme": batch(*rows)})
    store.seal("acme")
    [entry] = root.ledger("acme").glob("*/*.json")
    store.close()
    entry.unlink()  # as if the crash had come between file and entry; the active segment is still there
    store = Store(root)
    assert ids(store) == sorted(r["event_id"] for r in rows)
    store.seal()
    assert verify_tenant(root, "acme").problems == []
    store.close()


def test_verify_finds_a_changed_row_a_missing_file_and_a_foreign_one(store: Store, root: RegionRoot) -> None:
    store.append({"acme": batch(row())})
    store.seal()
    store.append({"acme": batch(row())})
    store.seal()
    first, second = sorted(root.tenant("acme").glob("retention=*/date=*/*.parquet"))
    assert verify_tenant(root, "acme").problems == []
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(data)
    second.unlink()
    problems = " ".join(verify_tenant(root, "acme").problems)
    assert f"{first.name}: its SHA-256 differs" in problems
    assert f"{second.name}: the file is missing" in problems
    damaged = store.snapshot("acme").damaged
    assert {d.file for d in damaged} == {first.name, second.name}


def test_an_edited_manifest_entry_breaks_the_chain(root: RegionRoot) -> None:
    store = Store(root)
    for _ in range(2):
        store.append({"acme": batch(row())})
        store.seal()
    store.close()
    entry = min(root.ledger("acme").glob("*/*.json"))
    data = json.loads(entry.read_text())
    del data["crc32"]
    data["add"][0]["sha256"] = "0" * 64
    entry.write_bytes(encode_entry(data))
    assert "does not follow" in verify_tenant(root, "acme").problems[0]
    with pytest.raises(ManifestBroken):
        Store(root)


@pytest.mark.parametrize("tenant", ["", "*", "../x", "a/../b", "007", "A", "a" * 64, "a b", "ä", "a\n"])
def test_nothing_but_a_tenant_id_reaches_a_path(store: Store, tenant: str) -> None:
    with pytest.raises(InvalidTenant):
        store.append({tenant: batch(row())})
    with pytest.raises(InvalidTenant):
        store.snapshot(tenant)


def test_a_damage_is_known_from_the_start_and_forgotten_when_the_file_is_restored(root: RegionRoot) -> None:
    store = Store(root)
    store.append({"acme": batch(row())})
    store.seal()
    store.close()
    [path] = root.tenant("acme").glob("retention=*/date=*/*.parquet")
    data = path.read_bytes()
    path.unlink()
    store = Store(root)
    assert store.damages == [f"{path.name}: the file is missing"]
    path.write_bytes(data)
    store.look_at_files()
    assert store.damages == []
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert store.snapshot("acme").damaged
    assert "differs" in store.damages[0]
    assert [file.name for file in root.quarantine("acme").iterdir()] == [path.name]
    path.write_bytes(data)
    store.look_at_files()
    assert (store.damages, store.snapshot("acme").damaged) == ([], ())
    store.close()


class Interrupted(VerifiedFiles):
    """Lets something happen between the choice of files and the first look at one."""

    def __init__(self) -> None:
        super().__init__()
        self.before_check: Callable[[], object] | None = None

    def check(self, ref: FileRef) -> Damage | None:
        happening, self.before_check = self.before_check, None
        if happening is not None:
            happening()
        return super().check(ref)


class InterruptedGlance(VerifiedFiles):
    """Lets something happen just before a file is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.before_glance: Callable[[], object] | None = None

    def glance(self, ref: FileRef) -> Damage | None:
        happening, self.before_glance = self.before_glance, None
        if happening is not None:
            happening()
        return super().glance(ref)


def test_a_file_that_retention_takes_during_a_look_is_no_damage(root: RegionRoot) -> None:
    verified = InterruptedGlance()
    store = Store(root, verified=verified)
    store.append({"acme": batch(row(retention="rag"))})
    store.seal()
    when = datetime(2027, 3, 1, tzinfo=UTC)
    verified.before_glance = lambda: store.run_retention(lambda *_: DEFAULT_MONTHS, now=when, actor="test")
    store.look_at_files()
    assert store.damages == []
    store.close()


@pytest.mark.parametrize("reads", ["store", "reader"])
def test_a_file_that_retention_takes_during_a_snapshot_is_no_damage(root: RegionRoot, reads: str) -> None:
    verified = Interrupted()
    store = Store(root, verified=verified)
    source = store if reads == "store" else StoreReader(root, verified=verified)
    store.append({"acme": batch(row(), row(retention="rag"))})
    store.seal()
    when = datetime(2027, 3, 1, tzinfo=UTC)  # past the three months of `rag`, within the six of `standard`
    verified.before_check = lambda: store.run_retention(lambda *_: DEFAULT_MONTHS, now=when, actor="test")
    snapshot = source.snapshot("acme")
    assert [ref.retention for ref in snapshot.files] == ["standard"]
    assert snapshot.damaged == ()
    assert store.damages == []
    store.close()


def test_a_file_that_cannot_be_read_is_one_problem_of_verify_and_stops_no_start(root: RegionRoot) -> None:
    store = Store(root)
    for _ in range(2):
        store.append({"acme": batch(row())})
        store.seal()
    first, second = sorted(ref.path for ref in store.snapshot("acme").files)
    store.close()
    first.unlink()
    first.symlink_to(first)  # every call on it fails with ELOOP
    [problem] = verify_tenant(root, "acme").problems
    assert problem.startswith(f"{first.name}: it cannot be read")
    store = Store(root)
    assert [line.partition(":")[0] for line in store.damages] == [first.name]
    assert [ref.path for ref in store.snapshot("acme").files] == [second]
    store.close()


def test_rows_in_memory_beyond_their_bound_refuse_senders_and_are_told_until_they_are_sealed(
    root: RegionRoot,
) -> None:
    store = Store(root, hot_bytes_max=1_000)
    store.append({"acme": batch(*(row() for _ in range(10)))})
    assert store.damages == ["too many rows wait to be sealed"]
    assert store.failure is None
    with pytest.raises(StoreUnavailable, match="too many rows"):
        store.append({"acme": batch(row())})
    store.seal()
    assert store.damages == []
    store.append({"acme": batch(row())})
    store.close()
