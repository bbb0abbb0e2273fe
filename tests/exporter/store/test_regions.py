"""One store a region: rows go where their tenant is pinned, and to no other root."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_audit.exporter.store.errors import StoreUnavailable, WrongRegion
from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.regions.residency import survey
from otel_audit.exporter.store.regions.stores import RegionKeys, RegionStores
from otel_audit.exporter.store.regions.tenant_removal import tenants_in_log
from tests.support.process import find_bytes
from tests.support.rows import batch, row

PINS = {"acme": "eu", "globex": "us"}


@pytest.fixture
def roots(tmp_path: Path) -> dict[str, RegionRoot]:
    return {name: RegionRoot(tmp_path / name) for name in ("eu", "us")}


@pytest.fixture
def stores(roots: dict[str, RegionRoot]) -> Iterator[RegionStores]:
    opened = RegionStores(roots, PINS.get)
    yield opened
    opened.close()


def events(stores: RegionStores, tenant: str) -> list[str]:
    hot: list[str] = stores.snapshot(tenant).hot["event_id"].to_pylist()
    return hot


def test_a_batch_of_two_regions_is_split_between_their_roots(
    stores: RegionStores, roots: dict[str, RegionRoot]
) -> None:
    stores.append({"acme": batch(row(message="canary-eu")), "globex": batch(row(message="canary-us"))})
    for _ in range(2):  # hot, then sealed
        assert not find_bytes(roots["us"].path, [b"canary-eu", b"acme"])
        assert not find_bytes(roots["eu"].path, [b"canary-us", b"globex"])
        assert (tenants_in_log(roots["eu"]), tenants_in_log(roots["us"])) == ({"acme": 1}, {"globex": 1})
        stores.seal()
    assert (roots["eu"].tenants(), roots["us"].tenants()) == (["acme"], ["globex"])


def test_when_one_region_refuses_a_repeat_doubles_nothing_in_the_other(
    stores: RegionStores, roots: dict[str, RegionRoot]
) -> None:
    rows = {"acme": batch(row()), "globex": batch(row())}
    stores.store("globex").close()  # it fails only after acme's part is stored
    with pytest.raises(StoreUnavailable):
        stores.append(rows)
    assert len(events(stores, "acme")) == 1
    stores.close()
    again = RegionStores(roots, PINS.get)
    again.append(rows)
    assert (len(events(again, "acme")), len(events(again, "globex"))) == (1, 1)
    again.close()


def test_a_tenant_without_a_region_is_refused_retryably(stores: RegionStores) -> None:
    with pytest.raises(StoreUnavailable):
        stores.append({"nobody": batch(row()), "acme": batch(row())})
    assert events(stores, "acme") == []
    with pytest.raises(StoreUnavailable):
        RegionKeys(stores).key("nobody", "test")


def break_log(root: RegionRoot) -> None:
    """From now on writing to this root's log fails, as on a disk that went away."""
    broken = os.open("/dev/null", os.O_RDONLY)
    for link in Path("/proc/self/fd").iterdir():
        if link.is_symlink() and str(link.readlink()).startswith(f"{root.wal}/"):
            os.dup2(broken, int(link.name))
    os.close(broken)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_one_region_that_cannot_acknowledge_is_a_damage_and_all_of_them_a_failure(
    stores: RegionStores, roots: dict[str, RegionRoot]
) -> None:
    assert (stores.failure, stores.damages) == (None, [])
    break_log(roots["us"])
    with pytest.raises(StoreUnavailable):
        stores.append({"globex": batch(row())})
    assert (stores.failure, len(stores.damages)) == (None, 1)
    with pytest.raises(StoreUnavailable, match="region us"):
        stores.append({"acme": batch(row()), "globex": batch(row())})
    assert events(stores, "acme") == [], "what is known to fail is refused before anything is stored"
    stores.append({"acme": batch(row())})
    break_log(roots["eu"])
    with pytest.raises(StoreUnavailable):
        stores.append({"acme": batch(row())})
    assert stores.failure is not None


def test_a_root_opens_only_under_its_own_name(stores: RegionStores, roots: dict[str, RegionRoot]) -> None:
    stores.close()
    with pytest.raises(WrongRegion) as refused:
        RegionStores({"us": roots["eu"]}, PINS.get)
    assert "is the root of region eu, not of us" in refused.value.message
    assert "regions.us" in refused.value.hint


def test_a_log_copied_to_another_root_is_never_sealed_there_and_is_found(
    roots: dict[str, RegionRoot],
) -> None:
    first = RegionStores({"eu": roots["eu"]}, PINS.get)
    first.append({"acme": batch(row())})
    first.close()
    roots["us"].path.mkdir()
    shutil.copytree(roots["eu"].wal, roots["us"].wal)
    stores = RegionStores(roots, PINS.get)
    stores.seal()
    assert roots["us"].tenants() == []
    [acme, _] = survey(roots, PINS, read_logs=True)
    assert acme.problems == [f"acme is of region eu, but there is 1 rows in {roots['us'].wal}"]
    stores.close()


def test_the_store_itself_refuses_a_tenant_of_another_region(stores: RegionStores) -> None:
    with pytest.raises(WrongRegion):
        stores.store("acme").append({"globex": batch(row())})


def test_keys_lie_under_the_root_of_the_region(stores: RegionStores, roots: dict[str, RegionRoot]) -> None:
    RegionKeys(stores).key("acme", "test")
    assert (roots["eu"].keys / "tenants" / "acme.key").exists()
    assert not roots["us"].keys.exists()


@pytest.mark.parametrize("trace", ["store/tenant=acme/x", "removed/tenant=acme/x", "keys/tenants/acme.key"])
def test_any_trace_under_another_root_is_a_problem(
    stores: RegionStores, roots: dict[str, RegionRoot], trace: str
) -> None:
    stores.append({"acme": batch(row())})
    stores.seal()
    [found, _] = survey(roots, PINS)
    assert (found.files, found.problems) == (1, [])
    path = roots["us"].path / trace
    path.parent.mkdir(parents=True)
    path.touch()
    [found, _] = survey(roots, PINS)
    assert len(found.problems) == 1
    assert str(roots["us"].path) in found.problems[0]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_region_that_cannot_be_closed_keeps_no_other_open(roots: dict[str, RegionRoot]) -> None:
    stores = RegionStores(roots, PINS.get)
    lock = next(fd for fd in Path("/proc/self/fd").iterdir() if fd.resolve() == roots["eu"].run / "lock")
    os.close(int(lock.name))
    with pytest.raises(OSError, match="Bad file descriptor"):
        stores.close()
    again = RegionStores(roots, PINS.get)  # neither root is still locked
    again.close()
