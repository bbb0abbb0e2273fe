"""What a retention run costs: its entries and syncs do not grow with the partitions that go."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from otel_audit.exporter.store.ledger.verify import verify_tenant
from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.snapshot import FileRef
from otel_audit.exporter.store.store import Store
from otel_audit.exporter.store.upkeep.held import NUMBERS, Held
from otel_audit.exporter.store.upkeep.retention import DEFAULT_MONTHS
from tests.support.counted_files import CountedFiles
from tests.support.rows import batch, row

NOW = datetime(2028, 1, 1, tzinfo=UTC)
FIRST_DAY = datetime(2026, 3, 1, 12, tzinfo=UTC)


def filled(root: RegionRoot, days: int) -> tuple[Store, CountedFiles]:
    fs = CountedFiles()
    store = Store(root, fs=fs)
    store.append({"acme": batch(*(row(time=FIRST_DAY + timedelta(days=day)) for day in range(days)))})
    for _ in range(2):  # the second time the log's segment goes
        store.seal()
    fs.calls.clear()
    return store, fs


def entries(root: RegionRoot) -> list[dict[str, object]]:
    found = sorted(root.ledger("acme").glob("w*/*.json"))
    return [
        entry for path in found if (entry := msgspec.json.decode(path.read_bytes()))["kind"] == "retention"
    ]


@pytest.mark.parametrize("days", [2, 90])
def test_partitions_that_are_due_go_by_one_entry_and_as_many_syncs_for_ninety_as_for_two(
    tmp_path: Path, days: int
) -> None:
    root = RegionRoot(tmp_path / "data")
    store, fs = filled(root, days)
    gone = store.run_retention(lambda *_: DEFAULT_MONTHS, now=NOW, actor="test")
    assert [each.date for each in gone] == sorted({each.date for each in gone})
    assert (len(gone), store.live_files) == (days, 0)
    [entry] = entries(root)
    assert entry["facts"] == {
        "actor": "test", "months": dict(DEFAULT_MONTHS), "as_of": NOW.isoformat(), "rows": days, "holds": [],
        "event": store.untold_deletions()[0].event_id,
    }  # fmt: skip
    # The note with its new folder, the entry; then those from which the days' and sidecars' folders went.
    assert (fs.calls["sync"], fs.calls["sync_folder"]) == (2, 5)
    assert not list(root.tenant("acme").glob("retention=*/*"))
    assert verify_tenant(root, "acme").problems == []
    store.close()


def test_an_entry_deletes_a_hundred_partitions_at_most(tmp_path: Path) -> None:
    root = RegionRoot(tmp_path / "data")
    store, _ = filled(root, 101)
    assert len(store.run_retention(lambda *_: DEFAULT_MONTHS, now=NOW, actor="test")) == 101
    assert [entry["facts"]["rows"] for entry in entries(root)] == [100, 1]  # type: ignore[index]
    assert verify_tenant(root, "acme").problems == []
    store.close()


def test_a_hold_that_comes_at_the_last_moment_keeps_its_partition_and_no_other(tmp_path: Path) -> None:
    root = RegionRoot(tmp_path / "data")
    store, _ = filled(root, 0)
    for day in range(3):
        at = FIRST_DAY + timedelta(days=day)
        store.append({"acme": batch(row(time=at), row(time=at))})
    store.seal()
    [writer] = {ref.writer for ref in store.snapshot("acme").files}
    asked: list[str] = []

    def held(tenant: str, refs: Sequence[FileRef], now: datetime) -> Held:
        [ref] = refs
        first = pa.table([pa.array([writer]), pa.array([ref.seq_min])], schema=NUMBERS)

        def is_current() -> bool:
            asked.append(ref.date)
            # Asked before its held rows are written, then right before the entry.
            return not (ref.date == "2026-03-02" and asked.count(ref.date) == 2)

        return Held(rows=first, names=("h",), is_current=is_current)

    gone = store.run_retention(lambda *_: DEFAULT_MONTHS, now=NOW, actor="test", held=held)
    assert [(each.date, each.rows) for each in gone] == [("2026-03-01", 1), ("2026-03-03", 1)]
    kept = {ref.date: ref.rows for ref in store.snapshot("acme").files}
    assert kept == {"2026-03-01": 1, "2026-03-02": 2, "2026-03-03": 1}
    lying = set(root.tenant("acme").glob("retention=*/date=*/*"))
    assert lying == {ref.path for ref in store.snapshot("acme").files}
    assert verify_tenant(root, "acme").problems == []
    store.close()
