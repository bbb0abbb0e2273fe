"""A copy to hand over: whole, checkable with plain tools, and refused rather than incomplete."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from otel_audit.exporter.store.errors import StoreUnavailable
from otel_audit.exporter.store.ledger.verify import verify_tenant
from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.reader import StoreReader
from otel_audit.exporter.store.regions.keyring import Keyring
from otel_audit.exporter.store.regions.tenant_copy import SUMS, CopyRefused, copy_tenant
from otel_audit.exporter.store.store import Store
from otel_audit.exporter.store.upkeep.retention import DEFAULT_MONTHS
from tests.support.rows import batch, row


@pytest.fixture
def root(tmp_path: Path) -> RegionRoot:
    return RegionRoot(tmp_path / "data")


@pytest.fixture
def store(root: RegionRoot) -> Iterator[Store]:
    """Two tenants; acme has two files, one of each class."""
    opened = Store(root)
    Keyring(root.keys).key("acme", "test")
    opened.append({"acme": batch(row(), row(retention="rag")), "other": batch(row())})
    opened.seal()
    yield opened
    opened.close()


def test_the_copy_holds_everything_of_one_tenant_and_nothing_else(
    store: Store, root: RegionRoot, tmp_path: Path
) -> None:
    root.quarantine("acme").mkdir()
    (root.quarantine("acme") / "odd.parquet").write_bytes(b"kept")
    done = copy_tenant(root, "acme", tmp_path / "out")
    assert (done.files, done.rows) == (2, 2)
    copy = RegionRoot(tmp_path / "out")
    assert copy.tenants() == ["acme"]
    assert verify_tenant(copy, "acme").heads == done.heads == verify_tenant(root, "acme").heads
    assert (copy.quarantine("acme") / "odd.parquet").read_bytes() == b"kept"
    assert not list((tmp_path / "out").rglob("*.key"))
    snapshot = StoreReader(copy).snapshot("acme")
    assert {ref.sha256 for ref in snapshot.files} == {ref.sha256 for ref in store.snapshot("acme").files}


def test_every_file_is_in_the_sums(store: Store, root: RegionRoot, tmp_path: Path) -> None:
    copy_tenant(root, "acme", tmp_path / "out")
    lines = (tmp_path / "out" / SUMS).read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name != SUMS]
    assert sums == {
        path.relative_to(tmp_path / "out").as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_a_damaged_or_missing_file_is_no_part_of_any_copy(
    store: Store, root: RegionRoot, tmp_path: Path
) -> None:
    path = store.snapshot("acme").files[0].path
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CopyRefused, match="SHA-256 differs"):
        copy_tenant(root, "acme", tmp_path / "out")
    path.unlink()
    with pytest.raises(StoreUnavailable):
        copy_tenant(root, "acme", tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.parquet"))
    path.write_bytes(data)
    assert copy_tenant(root, "acme", tmp_path / "out").rows == 2


def test_what_retention_takes_during_the_copy_is_left_out_and_the_copy_is_whole(
    store: Store, root: RegionRoot, tmp_path: Path
) -> None:
    happened: list[int] = []

    def once(_size: int) -> None:
        if not happened:
            happened.append(1)
            when = datetime(2027, 3, 1, tzinfo=UTC)  # past the three months of `rag`
            store.run_retention(lambda *_: DEFAULT_MONTHS, now=when, actor="test")

    done = copy_tenant(root, "acme", tmp_path / "out", progress=once)
    assert (done.files, done.rows) == (1, 1)
    assert verify_tenant(RegionRoot(tmp_path / "out"), "acme").problems == []


def test_a_folder_with_something_in_it_is_refused(store: Store, root: RegionRoot, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").touch()
    with pytest.raises(CopyRefused):
        copy_tenant(root, "acme", tmp_path / "out")
