"""The manifest's history: packed, shortened by a state, and never trusted blindly."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from otel_audit.exporter.store.errors import ManifestBroken, NewerData
from otel_audit.exporter.store.files.blobs import LocalBlobs
from otel_audit.exporter.store.ledger.entry import TenantManifest, encode_entry
from otel_audit.exporter.store.ledger.history import PACK_ENTRIES, history, pack
from otel_audit.exporter.store.ledger.manifest import Manifest
from otel_audit.exporter.store.ledger.state import STATE_EVERY_ENTRIES, latest_state, write_state
from otel_audit.exporter.store.ledger.verify import verify_tenant
from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.store import Store
from tests.support.rows import batch, row

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def root(tmp_path: Path) -> RegionRoot:
    return RegionRoot(tmp_path / "data")


def chain(root: RegionRoot, count: int, state: TenantManifest | None = None) -> TenantManifest:
    """`count` more entries without files."""
    manifest = Manifest(root, LocalBlobs(root.path))
    state = state or TenantManifest("acme")
    for _ in range(count):
        manifest.apply(state, manifest.commit(state, "w1", "retention", facts={"rows": 0}, now=NOW))
    return state


def ledger(root: RegionRoot) -> list[str]:
    return sorted(path.name for path in (root.ledger("acme") / "w1").iterdir())


def test_a_pack_holds_the_same_entries_and_replaces_their_files(root: RegionRoot) -> None:
    blobs = LocalBlobs(root.path)
    state = chain(root, PACK_ENTRIES + 7)
    folder = root.ledger_key("acme", "w1")
    before = list(history(blobs, folder))
    pack(blobs, folder, state.chains["w1"].number)
    assert ledger(root)[0] == "000000000001-000000001000.ndjson"
    assert len(ledger(root)) == 8
    assert list(history(blobs, folder)) == before
    assert list(history(blobs, folder, 995)) == before[995:]
    assert Manifest(root, blobs).replay("acme").chains == state.chains


def test_a_crash_between_pack_and_clean_up_reads_the_same(root: RegionRoot) -> None:
    blobs = LocalBlobs(root.path)
    chain(root, PACK_ENTRIES)
    folder = root.ledger_key("acme", "w1")
    before = list(history(blobs, folder))
    single = blobs.get(f"{folder}/{500:012d}.json")
    pack(blobs, folder, PACK_ENTRIES)
    blobs.put_new(f"{folder}/{500:012d}.json", single)
    assert list(history(blobs, folder)) == before
    pack(blobs, folder, PACK_ENTRIES)
    assert ledger(root) == ["000000000001-000000001000.ndjson"]


class PackedMeanwhile(LocalBlobs):
    """Packs the chain between the listing of its entries and the reading of the 500th."""

    def get(self, key: str) -> bytes:
        if key.endswith(f"{500:012d}.json"):
            pack(LocalBlobs(self.root), key.rpartition("/")[0], PACK_ENTRIES)
        return super().get(key)


def test_a_history_that_is_packed_while_it_is_read_is_read_whole(root: RegionRoot) -> None:
    chain(root, PACK_ENTRIES + 3)
    folder = root.ledger_key("acme", "w1")
    before = list(history(LocalBlobs(root.path), folder))
    assert list(history(PackedMeanwhile(root.path), folder)) == before


@pytest.mark.parametrize("missing", [1, 6, 11])
def test_a_missing_entry_is_noticed_and_not_written_over(root: RegionRoot, missing: int) -> None:
    chain(root, 12)
    (root.ledger("acme") / "w1" / f"{missing:012d}.json").unlink()
    with pytest.raises(ManifestBroken):
        Manifest(root, LocalBlobs(root.path)).load("acme")


def test_the_state_and_the_entries_after_it_are_what_all_entries_are(root: RegionRoot) -> None:
    store = Store(root)
    for _ in range(STATE_EVERY_ENTRIES + 5):
        store.append({"acme": batch(row())})
        store.seal()
    store.close()
    blobs = LocalBlobs(root.path)
    shortened = latest_state(blobs, root, "acme")
    assert shortened is not None
    assert shortened.chains[store.writer_id].number == STATE_EVERY_ENTRIES
    manifest = Manifest(root, blobs)
    assert manifest.load("acme") == manifest.replay("acme")


@pytest.mark.parametrize("harm", ["cut", "flip", "other chain"])
def test_a_state_that_cannot_be_trusted_is_not_used(root: RegionRoot, harm: str) -> None:
    blobs = LocalBlobs(root.path)
    state = chain(root, 5)
    write_state(blobs, root, state)
    [path] = (root.ledger("acme") / "_state").iterdir()
    data = path.read_bytes()
    if harm == "other chain":
        (root.ledger("acme") / "w1" / "000000000005.json").write_bytes(b"{}")
    else:
        path.write_bytes(data[:-20] if harm == "cut" else data[:-20] + bytes([data[-20] ^ 1]) + data[-19:])
    assert latest_state(blobs, root, "acme") is None
    if harm != "other chain":
        assert Manifest(root, blobs).load("acme").chains == state.chains


def test_a_state_that_hides_a_file_is_found_by_verify(root: RegionRoot) -> None:
    store = Store(root)
    store.append({"acme": batch(row())})
    store.seal()
    store.close()
    blobs = LocalBlobs(root.path)
    forged = Manifest(root, blobs).load("acme")
    forged.files.clear()
    write_state(blobs, root, forged)
    assert verify_tenant(root, "acme").problems == ["the manifest's state does not follow from its entries"]


def test_entries_whose_rows_do_not_add_up_are_found_by_verify(root: RegionRoot) -> None:
    store = Store(root)
    store.append({"acme": batch(row(), row())})
    store.seal()
    store.close()
    manifest = Manifest(root, LocalBlobs(root.path))
    state = manifest.load("acme")
    manifest.commit(state, store.writer_id, "compact", remove=list(state.files.values()), now=NOW)
    assert verify_tenant(root, "acme").problems == [
        f"manifest entry 2 of {store.writer_id}: its rows do not add up"
    ]


def test_a_newer_manifest_is_refused_also_when_its_form_is_unknown(root: RegionRoot) -> None:
    chain(root, 1)
    path = root.ledger("acme") / "w1" / "000000000001.json"
    entry = json.loads(path.read_bytes())
    del entry["crc32"]
    for raw in (encode_entry(entry | {"version": 2}), b'{"version": 2, "other": "form"}'):
        path.write_bytes(raw)
        with pytest.raises(NewerData):
            Store(root)


def test_a_manifest_that_lost_its_end_refuses_to_start(root: RegionRoot) -> None:
    store = Store(root)
    for _ in range(2):
        store.append({"acme": batch(row())})
        store.seal()
    store.seal()  # the segment that held the rows is dropped by now
    store.close()
    (root.ledger("acme") / store.writer_id / "000000000002.json").unlink()
    with pytest.raises(ManifestBroken, match="neither manifest nor write-ahead log"):
        Store(root)


def test_later_rows_in_the_log_do_not_hide_that_the_manifest_lost_its_end(root: RegionRoot) -> None:
    store = Store(root)
    for _ in range(2):
        store.append({"acme": batch(row())})
        store.seal()
    store.seal()
    store.append({"acme": batch(row())})
    store.close()
    (root.ledger("acme") / store.writer_id / "000000000002.json").unlink()
    files = sorted(root.tenant("acme").glob("retention=*/date=*/*.parquet"))
    with pytest.raises(ManifestBroken, match="neither manifest nor write-ahead log"):
        Store(root)
    assert sorted(root.tenant("acme").glob("retention=*/date=*/*.parquet")) == files
