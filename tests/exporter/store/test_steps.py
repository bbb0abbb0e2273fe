"""Sealing, compaction and retention as steps: what one leaves undone, the next one finishes."""

from __future__ import annotations

import contextlib
import errno
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from otel_audit.exporter.store.errors import StoreLocked, StoreUnavailable
from otel_audit.exporter.store.files.blobs import LocalBlobs
from otel_audit.exporter.store.files.sidecar import Sidecars
from otel_audit.exporter.store.ledger.history import PACK_ENTRIES, numbered, pack
from otel_audit.exporter.store.ledger.manifest import Manifest
from otel_audit.exporter.store.ledger.verify import verify_tenant
from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.reader import StoreReader
from otel_audit.exporter.store.store import Store
from otel_audit.exporter.store.upkeep.retention import DEFAULT_MONTHS
from tests.support.rows import batch, row
from tests.support.store_operations import (
    HELD,
    NOW,
    OLD,
    OPERATIONS,
    TENANT,
    append,
    check_folder,
    event_id,
    found_ids,
    held_of,
    open_store,
)
from tests.support.wal_files import FastFiles, FaultyFiles


@pytest.fixture
def root(tmp_path: Path) -> RegionRoot:
    return RegionRoot(tmp_path / "root")


def numbers(store: Store) -> list[int]:
    return sorted(int(name[:8], 16) for name in found_ids(store))


def expire(store: Store) -> int:
    gone = store.run_retention(lambda *_: DEFAULT_MONTHS, now=NOW, actor="test", held=held_of)
    return sum(partition.rows for partition in gone)


def test_a_file_whose_rows_are_all_held_stays_as_it_is(root: RegionRoot) -> None:
    store = open_store(root)
    append(store, 1, 2, day=OLD, message=HELD)
    store.seal()
    [before] = store.snapshot(TENANT).files
    append(store, 3, day=OLD)
    store.seal()
    assert expire(store) == 1
    assert numbers(store) == [1, 2]
    assert store.snapshot(TENANT).files == (before,)
    assert expire(store) == 0
    store.close()
    store = open_store(root)
    assert numbers(store) == [1, 2]
    assert verify_tenant(root, TENANT).problems == []
    store.close()


def test_nothing_of_a_partition_goes_while_a_hold_keeps_rows_of_a_damaged_file(root: RegionRoot) -> None:
    store = open_store(root)
    append(store, 1, day=OLD)
    store.seal()
    [path] = [ref.path for ref in store.snapshot(TENANT).files]
    append(store, 2, 3, day=OLD, message=HELD)
    append(store, 4, day=OLD)
    store.seal()
    data = path.read_bytes()
    held = held_of(TENANT, store.snapshot(TENANT).files, NOW)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    gone = store.run_retention(lambda *_: DEFAULT_MONTHS, now=NOW, actor="test", held=lambda *_: held)
    assert gone == []
    path.write_bytes(data)
    assert numbers(store) == [1, 2, 3, 4]
    assert expire(store) == 2
    assert numbers(store) == [2, 3]
    store.close()


def test_a_damaged_file_in_quarantine_goes_when_its_period_is_over(root: RegionRoot) -> None:
    store = open_store(root)
    append(store, 1, day=OLD)
    store.seal()
    [path] = [ref.path for ref in store.snapshot(TENANT).files]
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert store.snapshot(TENANT).damaged
    assert [each.name for each in root.quarantine(TENANT).iterdir()] == [path.name]
    store.run_retention(lambda *_: DEFAULT_MONTHS, now=NOW, actor="test")
    assert list(root.quarantine(TENANT).iterdir()) == []
    store.close()


class Paused(FastFiles):
    """Stops at a sync until it may go on. syncs_until_pause: 0 never, 1 the next one."""

    def __init__(self) -> None:
        self.syncs_until_pause = 0
        self.waiting, self.go_on = threading.Event(), threading.Event()

    def sync(self, descriptor: int) -> None:
        self.syncs_until_pause -= 1
        if self.syncs_until_pause == 0:
            self.waiting.set()
            assert self.go_on.wait(30)


def test_a_segment_stays_while_a_row_in_it_waits_for_the_rest_of_its_group(root: RegionRoot) -> None:
    fs = Paused()
    store = open_store(root, fs)
    append(store, 1)
    # Two records of one group. The second one needs a segment of its own: its syncs are the second and third.
    large = batch(*(row(message=str(number) * 400) for number in range(200)))
    request = {TENANT: batch(row(event_id=event_id(2))), "other": large}
    fs.syncs_until_pause = 3
    appending = threading.Thread(target=store.append, args=(request,))
    appending.start()
    assert fs.waiting.wait(30)
    assert len(store.wal.segments()) == 2
    store.seal()
    in_the_log = found_ids(StoreReader(root))
    fs.go_on.set()
    appending.join(30)
    store.close()
    assert event_id(2) in in_the_log


def test_rows_are_sealed_in_time_after_the_clock_was_set_back(root: RegionRoot) -> None:
    clock = [NOW]
    store = Store(root, fs=FastFiles(), now=lambda: clock[0].timestamp())
    append(store, 1)
    clock[0] -= timedelta(days=400)

    def due(rows: int, size: int, age_s: float) -> bool:
        return age_s >= 600

    assert store.seal(due=due) == 0
    clock[0] += timedelta(seconds=600)
    assert store.seal(due=due) == 1
    store.close()


def test_one_tenants_trouble_does_not_keep_the_others_from_being_sealed(root: RegionRoot) -> None:
    store = open_store(root)
    store.append({name: batch(row()) for name in ("aaa", "bbb", "ccc")})
    # A file where the folder should be: no permission bit stops the tests' root.
    blocker = root.tenant("bbb")
    blocker.parent.mkdir(exist_ok=True)
    blocker.write_bytes(b"")
    with pytest.raises(OSError, match=r"bbb"):
        store.seal()
    assert store.hot_rows == 1
    blocker.unlink()
    assert store.seal() == 1
    store.close()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_seals_that_fail_for_want_of_room_leave_nothing_behind(root: RegionRoot, code: int) -> None:
    fs = FaultyFiles(1, code, for_ever=True, only=frozenset())
    store = open_store(root, fs)
    for number in range(1, 6):
        append(store, number)
        # The files can be written; the manifest entry cannot.
        fs.calls, fs.nth, fs.only = 0, 2, frozenset({"link"})
        with pytest.raises(OSError):
            store.seal()
        fs.heal()
        lying = [path for path in root.tenant(TENANT).rglob("*") if path.is_file()]
        assert lying == [], number
    assert store.seal() == 5
    assert numbers(store) == [1, 2, 3, 4, 5]
    store.close()


def test_a_tenant_whose_files_cannot_be_read_is_refused_and_its_neighbours_are_not(root: RegionRoot) -> None:
    store = open_store(root)
    append(store, 1)
    store.seal()
    [path] = [ref.path for ref in store.snapshot(TENANT).files]
    data = path.read_bytes()
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreUnavailable):
        store.append({TENANT: batch(row(event_id=event_id(1))), "other": batch(row())})
    assert store.snapshot("other").hot.num_rows == 1
    path.rmdir()
    path.write_bytes(data)
    append(store, 1, 2)
    assert numbers(store) == [1, 2]
    store.close()


class PackedMeanwhile(LocalBlobs):
    """The writer packs a chain's entries between a reader's listing and its first look at one."""

    def get(self, key: str) -> bytes:
        folder = key.rpartition("/")[0]
        if key.endswith(numbered(1)):
            pack(LocalBlobs(self.root, FastFiles()), folder, PACK_ENTRIES)
        return super().get(key)


def test_a_reader_follows_entries_that_are_packed_while_it_reads(root: RegionRoot) -> None:
    OPERATIONS["pack"].fill(root)
    store = open_store(root)
    store.seal()
    expected = Manifest(root, LocalBlobs(root.path)).replay(TENANT)
    [packed] = root.ledger(TENANT).glob("w*/*.ndjson")
    for number, line in enumerate(packed.read_bytes().splitlines(), 1):
        (packed.parent / numbered(number)).write_bytes(line)
    packed.unlink()
    assert Manifest(root, PackedMeanwhile(root.path)).replay(TENANT) == expected
    assert not (packed.parent / numbered(1)).exists()
    store.close()


@pytest.mark.parametrize("code", [errno.EIO, errno.EMFILE])
def test_while_an_entry_is_in_doubt_no_file_it_may_list_is_touched(root: RegionRoot, code: int) -> None:
    fs = FaultyFiles(1, code, for_ever=True, only=frozenset())
    store = open_store(root, fs)
    append(store, 1)
    store.seal()
    append(store, 2)
    # One link is the file's; the folder of the second, the entry's, cannot be synced.
    fs.link_then_break = 2
    with pytest.raises(StoreUnavailable):
        store.seal()
    [entry] = root.ledger(TENANT).glob(f"*/{numbered(2)}")
    before = {path: path.stat().st_ino for path in root.tenant(TENANT).rglob("*.parquet")}
    with pytest.raises(StoreUnavailable):
        append(store, 3)
    with pytest.raises(StoreUnavailable):
        store.seal()
    assert numbers(store) == [1, 2]
    fs.heal()
    if code == errno.EIO:
        with pytest.raises(StoreUnavailable):
            store.seal()
        assert {path: path.stat().st_ino for path in root.tenant(TENANT).rglob("*.parquet")} == before
        store.close()
        store = open_store(root)
    else:
        assert store.seal() == 1
    assert entry.exists()
    append(store, 3)
    assert numbers(store) == [1, 2, 3]
    check_folder(store, code, tidied=True)
    store.close()


def test_sealing_one_tenant_asks_too_whether_it_is_due(root: RegionRoot) -> None:
    store = open_store(root)
    store.append({name: batch(row()) for name in (TENANT, "other")})
    assert store.seal(TENANT, due=lambda rows, size, age_s: rows > 1) == 0
    assert store.seal(TENANT, due=lambda rows, size, age_s: rows == 1) == 1
    assert store.hot_rows == 1
    store.close()


class OneLeaves(Store):
    """A tenant whose removal begins when its rows are in the queue already."""

    def next_seq(self, tenant: str) -> int:
        if tenant == TENANT:
            raise StoreUnavailable("it is being deleted")
        return super().next_seq(tenant)


def test_a_tenant_that_leaves_refuses_no_neighbour_in_its_group(root: RegionRoot) -> None:
    store = OneLeaves(root, fs=FastFiles())
    with pytest.raises(StoreUnavailable):
        store.append({TENANT: batch(row()), "other": batch(row())})
    assert store.snapshot("other").hot.num_rows == 1
    store.close()


def test_whoever_appends_while_the_store_closes_gets_an_answer(root: RegionRoot) -> None:
    store, begun = open_store(root), threading.Barrier(9)

    def send() -> None:
        begun.wait()
        with contextlib.suppress(StoreUnavailable):
            while True:
                store.append({TENANT: batch(row())})

    senders = [threading.Thread(target=send, daemon=True) for _ in range(8)]
    for sender in senders:
        sender.start()
    begun.wait()
    store.close()
    for sender in senders:
        sender.join(10)
    assert not any(sender.is_alive() for sender in senders)


def test_no_step_begins_in_a_closed_store_and_one_under_way_is_waited_for(root: RegionRoot) -> None:
    fs = Paused()
    store = open_store(root, fs)
    append(store, 1)
    fs.syncs_until_pause = 1
    sealing = threading.Thread(target=store.seal)
    sealing.start()
    assert fs.waiting.wait(30)
    closing = threading.Thread(target=store.close)
    closing.start()
    closing.join(0.2)
    with pytest.raises(StoreLocked):
        Store(root)
    fs.go_on.set()
    sealing.join(30)
    closing.join(30)
    with pytest.raises(StoreUnavailable):
        store.seal()
    store = open_store(root)
    assert (store.hot_rows, numbers(store)) == (0, [1])
    store.close()


def test_what_retention_entered_is_told_when_its_bytes_cannot_be_deleted(root: RegionRoot) -> None:
    fs = FaultyFiles(1, errno.EROFS, for_ever=True, only=frozenset())
    store = open_store(root, fs)
    append(store, 1, 2, day=OLD)
    store.seal()
    [ref] = store.snapshot(TENANT).files
    # The entry is a link; what it removes are unlinks after it, but for the entry's own temporary name.
    fs.calls, fs.nth, fs.only = 0, 2, frozenset({"unlink"})
    assert expire(store) == 2
    assert ref.path.exists()
    assert store.snapshot(TENANT).files == ()
    fs.heal()
    store.tidy()
    assert not ref.path.exists()
    store.close()


def test_two_threads_that_miss_one_sidecar_both_find_the_repeat(root: RegionRoot) -> None:
    store = open_store(root)
    append(store, 1)
    store.seal()
    [ref] = store.snapshot(TENANT).files
    found: list[object] = []
    for _ in range(20):
        ref.index.unlink()
        sidecars, begun = Sidecars(root, LocalBlobs(root.path, FastFiles())), threading.Barrier(2)

        def rebuild(sidecars: Sidecars = sidecars, begun: threading.Barrier = begun) -> None:
            begun.wait()
            found.append(sidecars.rebuild(ref).fingerprints.tolist())

        threads = [threading.Thread(target=rebuild) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [found[0]] * 40
    store.close()
