"""Backup and restore of a region root: what is in a copy, what is refused, and what a copy goes on with."""

from __future__ import annotations

import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from otel_audit.exporter.store.backups.backup import back_up
from otel_audit.exporter.store.backups.backup_list import BackupList, read_list
from otel_audit.exporter.store.backups.restore import restore
from otel_audit.exporter.store.errors import BackupError, WrongRegion
from otel_audit.exporter.store.ledger.verify import verify_tenant
from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.reader import StoreReader
from otel_audit.exporter.store.regions.keyring import Keyring
from otel_audit.exporter.store.regions.stores import RegionStores
from otel_audit.exporter.store.snapshot import SnapshotSource
from otel_audit.exporter.store.store import Store
from otel_audit.exporter.store.upkeep.retention import DEFAULT_MONTHS
from tests.support.process import wait_for
from tests.support.rows import batch, row

NOW = datetime(2026, 11, 20, tzinfo=UTC)
# Past the three months of `rag`, within the six of `standard`.
RAG_IS_OVER = datetime(2027, 3, 1, tzinfo=UTC)


@pytest.fixture
def root(tmp_path: Path) -> RegionRoot:
    return RegionRoot(tmp_path / "data")


@pytest.fixture
def store(root: RegionRoot) -> Iterator[Store]:
    opened = Store(root)
    yield opened
    opened.close()


def control_into(folder: Path) -> Path:
    """Stands in the place of the control database, which is not the store's."""
    path = folder / "control.sqlite"
    path.touch(0o600)
    path.write_bytes(b"control")
    return path


def backed_up(root: RegionRoot, target: Path, **options: Any) -> BackupList:
    return back_up({"default": root}, target, copy_control=control_into, now=NOW, **options)


def restored(source: Path) -> RegionRoot:
    target = RegionRoot(source.with_name(f"{source.name}-restored"))
    restore(source, {"default": target}, before_use=lambda _: None)
    return target


def rows_of(source: SnapshotSource, tenant: str = "acme") -> dict[tuple[str, int], str]:
    """(writer, number) → event id; no number twice."""
    snapshot = source.snapshot(tenant)
    assert snapshot.damaged == ()
    columns = ["writer", "seq", "event_id"]
    tables = [pq.read_table(ref.path, columns=columns, partitioning=None) for ref in snapshot.files]
    rows = [item for table in [*tables, snapshot.hot.select(columns)] for item in table.to_pylist()]
    found = {(item["writer"], item["seq"]): item["event_id"] for item in rows}
    assert len(found) == len(rows)
    return found


def at_first_file(happening: Callable[[], object]) -> Callable[[int, int], None]:
    """A `progress` that lets something happen once, when one file is copied and others are not."""
    waiting = [happening]

    def progress(_done: int, _total: int) -> None:
        if waiting:
            waiting.pop()()

    return progress


def test_a_restored_copy_answers_as_the_original_did(store: Store, root: RegionRoot, tmp_path: Path) -> None:
    store.append({"acme": batch(row(), row(retention="rag")), "other": batch(row())})
    store.seal("acme")
    store.append({"acme": batch(row())})
    backed_up(root, tmp_path / "b")
    copy = restored(tmp_path / "b")
    for tenant in ("acme", "other"):
        assert rows_of(StoreReader(copy), tenant) == rows_of(store, tenant)
        assert verify_tenant(copy, tenant).problems == []


def test_a_copy_taken_under_load_has_every_event_acknowledged_before_it_began(
    store: Store, root: RegionRoot, tmp_path: Path
) -> None:
    acknowledged: list[str] = []
    done = threading.Event()

    def send() -> None:
        while not done.is_set():
            rows = [row(), row(retention="rag")]
            store.append({"acme": batch(*rows)})
            acknowledged.extend(each["event_id"] for each in rows)

    def maintain() -> None:
        while not done.is_set():
            store.seal()
            store.compact()

    threads = [threading.Thread(target=work) for work in (send, maintain)]
    for thread in threads:
        thread.start()
    try:
        befores = []
        for number in range(4):
            already = len(acknowledged)
            wait_for(lambda least=already + 20: len(acknowledged) >= least)
            befores.append(list(acknowledged))
            backed_up(root, tmp_path / f"b{number}")
    finally:
        done.set()
        for thread in threads:
            thread.join()
    for number, before in enumerate(befores):
        found = list(rows_of(StoreReader(restored(tmp_path / f"b{number}"))).values())
        assert set(before) <= set(found) <= set(acknowledged)
        assert len(found) == len(set(found))


def test_rows_that_are_sealed_meanwhile_are_in_the_copy(
    store: Store, root: RegionRoot, tmp_path: Path
) -> None:
    store.append({"acme": batch(row())})
    store.seal()
    store.append({"acme": batch(row())})

    def seal() -> None:
        for _ in range(2):  # the second one lets the segment go
            store.seal()
        assert store.hot_rows == 0

    backed_up(root, tmp_path / "b", progress=at_first_file(seal))
    assert rows_of(StoreReader(restored(tmp_path / "b"))) == rows_of(store)


def test_an_event_that_left_the_outbox_before_it_was_copied_is_in_the_copy_of_the_store(
    store: Store, root: RegionRoot, tmp_path: Path
) -> None:
    drained = row()

    def copy_control(folder: Path) -> Path:
        store.append({"acme": batch(drained)})
        return control_into(folder)

    back_up({"default": root}, tmp_path / "b", copy_control=copy_control, now=NOW)
    assert list(rows_of(StoreReader(restored(tmp_path / "b"))).values()) == [drained["event_id"]]


@pytest.mark.parametrize("after_an_hour", [False, True])
def test_files_that_compaction_replaces_meanwhile_are_no_loss(
    store: Store, root: RegionRoot, tmp_path: Path, after_an_hour: bool
) -> None:
    for _ in range(3):
        store.append({"acme": batch(row())})
        store.seal()

    def compact() -> None:
        assert store.compact() == 1
        if after_an_hour:
            shutil.rmtree(root.retired("acme"))

    backed_up(root, tmp_path / "b", progress=at_first_file(compact))
    assert rows_of(StoreReader(restored(tmp_path / "b"))) == rows_of(store)
    files = list(RegionRoot(tmp_path / "b").tenant("acme").glob("retention=*/date=*/*.parquet"))
    assert len(files) == (1 if after_an_hour else 3), "just the files of the manifest that was copied"


def test_files_that_retention_deletes_meanwhile_are_no_damage(
    store: Store, root: RegionRoot, tmp_path: Path
) -> None:
    # In this order: one of them is copied before both go.
    for retention in ("rag", "rag", "standard"):
        store.append({"acme": batch(row(retention=retention))})
        store.seal()
    backed_up(
        root,
        tmp_path / "b",
        progress=at_first_file(
            lambda: store.run_retention(lambda *_: DEFAULT_MONTHS, now=RAG_IS_OVER, actor="test")
        ),
    )
    assert rows_of(StoreReader(restored(tmp_path / "b"))) == rows_of(store)


def test_a_tenant_that_is_deleted_meanwhile_ends_the_backup(
    store: Store, root: RegionRoot, tmp_path: Path
) -> None:
    for _ in range(2):
        store.append({"acme": batch(row())})
        store.seal()
    with pytest.raises(BackupError, match="acme was deleted") as refusal:
        backed_up(root, tmp_path / "b", progress=at_first_file(lambda: store.remove_tenant("acme")))
    assert refusal.value.hint == "run the backup again"


def test_a_manifest_with_packed_entries_is_copied_whole(root: RegionRoot, tmp_path: Path) -> None:
    store = Store(root)
    for _ in range(3):
        store.append({"acme": batch(row())})
        store.seal()
    store.close()
    folder = root.ledger("acme") / store.writer_id
    lines = [path.read_bytes() + b"\n" for path in sorted(folder.glob("*.json"))]
    (folder / "000000000001-000000000002.ndjson").write_bytes(b"".join(lines[:2]))
    (folder / "000000000001.json").unlink()  # the crash came before the second one went
    backed_up(root, tmp_path / "b")
    assert rows_of(StoreReader(restored(tmp_path / "b"))) == rows_of(StoreReader(root))


def test_a_copy_begins_a_new_writer_and_knows_what_the_old_one_stored(
    store: Store, root: RegionRoot, tmp_path: Path
) -> None:
    sealed, hot, fresh = row(), row(), row()
    store.append({"acme": batch(sealed)})
    store.seal()
    store.append({"acme": batch(hot)})
    backed_up(root, tmp_path / "b")
    copy = Store(restored(tmp_path / "b"))
    assert copy.writer_id != store.writer_id
    copy.append({"acme": batch(sealed, hot, fresh)})
    assert rows_of(copy) == {
        (store.writer_id, 1): sealed["event_id"],
        (store.writer_id, 2): hot["event_id"],
        (copy.writer_id, 1): fresh["event_id"],
    }
    copy.seal()
    copy.close()
    assert verify_tenant(copy.root, "acme").problems == []
    assert rows_of(StoreReader(copy.root)) == rows_of(copy)


def test_keys_are_in_a_backup_and_nothing_in_it_is_readable_by_others(
    store: Store, root: RegionRoot, tmp_path: Path
) -> None:
    key = Keyring(root.keys).key("acme", "test")
    store.append({"acme": batch(row())})
    store.seal()
    (root.path / "region").write_text("eu")
    backed_up(root, tmp_path / "b")
    copy = restored(tmp_path / "b")
    assert Keyring(copy.keys).key("acme", "test") == key
    assert (copy.path / "region").read_text() == "eu"
    for folder in (tmp_path / "b", copy.path):
        modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}
        assert modes == {0o600}


def test_a_backup_lists_every_file_of_its_folder(store: Store, root: RegionRoot, tmp_path: Path) -> None:
    store.append({"acme": batch(row())})
    store.seal()
    listed = backed_up(root, tmp_path / "b")
    there = {path.relative_to(tmp_path / "b").as_posix() for path in (tmp_path / "b").rglob("*.*")}
    there |= {"writer-id", "wal/durable"}
    files = {name for name in there if (tmp_path / "b" / name).is_file()}
    assert files == {file.path for file in listed.files} | {"backup.json"}
    assert read_list(tmp_path / "b") == listed
    chain = listed.tenants["acme"].heads[store.writer_id]
    assert (chain.entry, chain.sha256) == (1, verify_tenant(root, "acme").heads[store.writer_id])


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_damaged_live_file_is_named_and_can_be_left_out(
    root: RegionRoot, tmp_path: Path, damage: str
) -> None:
    store = Store(root)
    for _ in range(2):
        store.append({"acme": batch(row())})
        store.seal()
    store.close()
    bad, good = sorted(root.tenant("acme").glob("retention=*/date=*/*.parquet"))
    if damage == "missing":
        bad.unlink()
    else:
        bad.write_bytes(good.read_bytes())
    with pytest.raises(BackupError, match=bad.name) as refusal:
        backed_up(root, tmp_path / "b")
    assert "--despite-damage" in refusal.value.hint
    listed = backed_up(root, tmp_path / "c", despite_damage=True)
    assert [Path(name).name for name in listed.damaged] == [bad.name]
    copy = restored(tmp_path / "c")
    assert [found.partition(":")[0] for found in verify_tenant(copy, "acme").problems] == [bad.name]


def test_a_folder_with_anything_in_it_takes_no_backup_and_no_restore(
    store: Store, root: RegionRoot, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(BackupError, match="not empty"):
        backed_up(root, tmp_path / "full")
    with pytest.raises(BackupError, match="in the data directory"):
        backed_up(root, root.path / "b")
    backed_up(root, tmp_path / "b")
    with pytest.raises(BackupError, match="not empty"):
        restore(tmp_path / "b", {"default": RegionRoot(tmp_path / "full")}, before_use=lambda _: None)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]


def test_a_backup_takes_neither_another_backup_nor_a_restored_copy(
    store: Store, root: RegionRoot, tmp_path: Path
) -> None:
    backed_up(root, tmp_path / "b")
    before = sorted(tmp_path.rglob("b/**/*"))
    with pytest.raises(BackupError, match="lies in the backup") as refusal:
        restore(tmp_path / "b", {"default": RegionRoot(tmp_path / "b" / "new")}, before_use=lambda _: None)
    assert refusal.value.hint
    with pytest.raises(BackupError, match="lies in the backup"):
        backed_up(root, tmp_path / "b" / "wal" / "new")
    assert sorted(tmp_path.rglob("b/**/*")) == before


class Interrupted(Exception):
    pass


def interrupt(*_: object) -> None:
    raise Interrupted


def test_a_backup_that_was_not_finished_is_neither_restored_nor_opened(
    store: Store, root: RegionRoot, tmp_path: Path
) -> None:
    store.append({"acme": batch(row())})
    store.seal()
    with pytest.raises(Interrupted):
        backed_up(root, tmp_path / "b", progress=interrupt)
    with pytest.raises(BackupError, match="no whole backup") as refusal:
        restored(tmp_path / "b")
    assert refusal.value.hint
    with pytest.raises(BackupError, match="not finished"):
        Store(RegionRoot(tmp_path / "b"))


def test_a_restore_that_was_not_finished_is_not_opened(
    store: Store, root: RegionRoot, tmp_path: Path
) -> None:
    store.append({"acme": batch(row())})
    backed_up(root, tmp_path / "b")
    copy = RegionRoot(tmp_path / "copy")
    with pytest.raises(Interrupted):
        restore(tmp_path / "b", {"default": copy}, before_use=interrupt)
    for again in (
        lambda: Store(copy),
        lambda: restore(tmp_path / "b", {"default": copy}, before_use=lambda _: None),
    ):
        with pytest.raises(BackupError, match="not finished"):
            again()


def test_a_backup_itself_is_never_written_to(store: Store, root: RegionRoot, tmp_path: Path) -> None:
    backed_up(root, tmp_path / "b")
    with pytest.raises(BackupError, match="is a backup") as refusal:
        Store(RegionRoot(tmp_path / "b"))
    assert "otel-audit restore --from" in refusal.value.hint


@pytest.mark.parametrize("damage", ["changed", "longer", "missing"])
def test_any_damaged_file_of_a_backup_is_named_before_anything_is_written(
    store: Store, root: RegionRoot, tmp_path: Path, damage: str
) -> None:
    Keyring(root.keys).key("acme", "test")
    store.append({"acme": batch(row())})
    store.seal()
    store.append({"acme": batch(row())})
    for file in backed_up(root, tmp_path / "b").files:
        path = tmp_path / "b" / file.path
        data = path.read_bytes()
        if damage == "changed":
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        elif damage == "longer":
            path.write_bytes(data + b"\0")
        else:
            path.unlink()
        with pytest.raises(BackupError, match=path.name) as refusal:
            restored(tmp_path / "b")
        assert refusal.value.hint
        path.write_bytes(data)
    assert not (tmp_path / "b-restored").exists()
    restored(tmp_path / "b")


def test_a_list_that_leads_out_of_its_folder_is_refused(
    store: Store, root: RegionRoot, tmp_path: Path
) -> None:
    backed_up(root, tmp_path / "b")
    path = tmp_path / "b" / "backup.json"
    path.write_text(path.read_text().replace('"writer-id"', '"../outside"'))
    with pytest.raises(BackupError, match="not in it"):
        restored(tmp_path / "b")


def test_files_of_the_previous_backup_are_linked_unless_they_are_damaged(
    store: Store, root: RegionRoot, tmp_path: Path
) -> None:
    for _ in range(2):
        store.append({"acme": batch(row())})
        store.seal()
    backed_up(root, tmp_path / "b")
    first, second = sorted((tmp_path / "b").rglob("*.parquet"))
    second.write_bytes(first.read_bytes())
    store.append({"acme": batch(row())})
    store.seal()
    backed_up(root, tmp_path / "c", previous=tmp_path / "b")
    linked = {path.name: path.stat().st_nlink for path in (tmp_path / "c").rglob("*.parquet")}
    assert linked.pop(first.name) == 2
    assert set(linked.values()) == {1}
    assert rows_of(StoreReader(restored(tmp_path / "c"))) == rows_of(store)


def test_every_region_is_in_a_backup_and_goes_back_to_its_own_root(tmp_path: Path) -> None:
    roots = {"default": RegionRoot(tmp_path / "data"), "eu": RegionRoot(tmp_path / "eu")}
    homes = {"operator": "default", "acme": "eu"}
    stores = RegionStores(roots, homes.get)
    stores.append({"acme": batch(row()), "operator": batch(row())})
    stores.seal("acme")
    stores.append({"acme": batch(row())})
    (roots["eu"].reads).mkdir()
    (roots["eu"].reads / "acme.1.json").write_text("{}")
    stores.close()
    listed = back_up(roots, tmp_path / "b", copy_control=control_into, now=NOW)
    assert {name: tenant.region for name, tenant in listed.tenants.items()} == {"acme": "eu"}
    with pytest.raises(BackupError, match="region eu, which is not configured"):
        restored(tmp_path / "b")
    copies = {"default": RegionRoot(tmp_path / "data2"), "eu": RegionRoot(tmp_path / "eu2")}
    restore(tmp_path / "b", copies, before_use=lambda _: None)
    for tenant, region in homes.items():
        assert rows_of(StoreReader(copies[region]), tenant) == rows_of(StoreReader(roots[region]), tenant)
    assert not copies["default"].tenant("acme").exists()
    assert (copies["eu"].reads / "acme.1.json").read_text() == "{}"
    opened = RegionStores(copies, homes.get)
    opened.append({"acme": batch(row())})
    opened.close()
    with pytest.raises(WrongRegion):
        RegionStores({"us": copies["eu"]}, homes.get)
