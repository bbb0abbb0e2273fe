"""Deleting a tenant: nothing of it is left, nothing of anybody else goes, and no crash can bring it back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from otel_audit.exporter.store.errors import StoreUnavailable
from otel_audit.exporter.store.ledger.entry import ManifestFile
from otel_audit.exporter.store.ledger.verify import verify_tenant
from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.regions.keyring import Keyring
from otel_audit.exporter.store.regions.tenant_removal import remove_tenant, tenants_in_log
from otel_audit.exporter.store.store import Store
from tests.support.process import find_bytes
from tests.support.rows import batch, row

CANARY = "canary-7d1f"


@pytest.fixture
def root(tmp_path: Path) -> RegionRoot:
    """A root whose log and files hold two tenants side by side."""
    root = RegionRoot(tmp_path / "data")
    store = Store(root)
    Keyring(root.keys).key("acme", "test")
    for _ in range(2):
        store.append({"acme": batch(row(message=CANARY)), "other": batch(row())})
        store.seal("acme")
    store.append({"acme": batch(row(message=CANARY)), "other": batch(row())})
    store.close()
    return root


def nothing_left(root: RegionRoot) -> bool:
    files = [path.name for path in root.path.rglob("*") if "acme" in str(path.relative_to(root.path))]
    return files == ["acme.json"] and not find_bytes(root.path, [CANARY.encode()])


def test_no_byte_is_left_and_the_neighbour_keeps_every_row(root: RegionRoot) -> None:
    assert find_bytes(root.path, [CANARY.encode()])
    store = Store(root)
    removed = store.remove_tenant("acme")
    assert (removed.files, removed.rows, removed.damaged_log_pieces) == (3, 3, 0)
    assert nothing_left(root)
    assert "acme" not in tenants_in_log(root)
    assert [ref.rows for ref in store.snapshot("other").files] == [3]
    with pytest.raises(StoreUnavailable):
        store.append({"acme": batch(row())})
    store.close()
    store = Store(root)
    assert store.snapshot("acme").files == ()
    assert verify_tenant(root, "other").problems == []
    store.close()


class Crash(Exception):
    """Stands for the end of the process."""


def crash(*_: object) -> list[ManifestFile]:
    raise Crash


def until_sealed(root: RegionRoot, store: Store) -> None:
    """The log is empty, the folder is whole."""
    with pytest.raises(Crash):
        remove_tenant(root, "acme", store.wal, store.seal, crash, crash)


def until_renamed(root: RegionRoot, store: Store) -> None:
    """The folder has left the store and half of it is deleted."""
    until_sealed(root, store)
    root.removed.mkdir()
    root.tenant("acme").rename(root.removed / "tenant=acme")
    next((root.removed / "tenant=acme").rglob("*.json")).unlink()


def until_key(root: RegionRoot, store: Store) -> None:
    """Everything is gone and the deletion is only not yet recorded."""
    store.remove_tenant("acme")


@pytest.mark.parametrize("crashed", [until_sealed, until_renamed, until_key])
def test_after_a_crash_the_store_opens_and_a_repeat_ends_it(
    root: RegionRoot, crashed: Callable[[RegionRoot, Store], None]
) -> None:
    store = Store(root)
    crashed(root, store)
    store.close()
    store = Store(root)
    store.seal()
    store.remove_tenant("acme")
    assert nothing_left(root)
    assert len(store.snapshot("other").files) == 1
    store.close()


def test_a_repeat_tells_the_counts_of_the_first_time(root: RegionRoot) -> None:
    store = Store(root)
    assert store.remove_tenant("acme") == store.remove_tenant("acme")
    store.close()


def test_a_receipt_that_cannot_be_written_is_not_written_empty_by_the_repeat(root: RegionRoot) -> None:
    store = Store(root)
    root.removed.write_bytes(b"")  # a file where the folder should be
    with pytest.raises(OSError):
        store.remove_tenant("acme")
    root.removed.unlink()
    assert store.remove_tenant("acme").rows == 3
    store.close()


def test_rows_that_arrive_meanwhile_are_refused_or_removed(root: RegionRoot) -> None:
    store, stop, refused = Store(root), threading.Event(), threading.Event()

    def send() -> None:
        while not stop.is_set():
            try:
                store.append({"acme": batch(row(message=CANARY))})
            except StoreUnavailable:
                refused.set()

    senders = [threading.Thread(target=send) for _ in range(4)]
    for sender in senders:
        sender.start()
    store.remove_tenant("acme")
    assert refused.wait(10)
    stop.set()
    for sender in senders:
        sender.join()
    assert nothing_left(root)
    store.close()
