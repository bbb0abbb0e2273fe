"""One bit of what lies on disk is flipped: it is noticed, it is named, and no answer is wrong."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from otel_audit.exporter.store.errors import ManifestBroken
from otel_audit.exporter.store.files.blobs import LocalBlobs
from otel_audit.exporter.store.ledger.manifest import Manifest
from otel_audit.exporter.store.ledger.verify import verify_tenant
from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.store import Store
from otel_audit.query_service.engine import Engine
from otel_audit.query_service.filters import Filters
from otel_audit.query_service.search import Page, search
from tests.support.store_operations import (
    NOW,
    OPERATIONS,
    TENANT,
    append,
    event_id,
    found_ids,
    fresh,
    open_store,
)
from tests.support.wal_files import FastFiles
from tests.support.wal_frames import LONG, TIMEOUT_S

pytestmark = pytest.mark.timeout(TIMEOUT_S)

FLIPS = 2_000 if LONG else 200
SMALL_FLIPS = 1_000 if LONG else 60
ROWS_A_FILE, FILES = 20, 3


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine(memory_limit="256MB")
    yield engine
    engine.close()


@pytest.fixture
def root(tmp_path: Path) -> RegionRoot:
    """Three sealed files and hot rows: numbers 1 to 80 in twenties."""
    root = RegionRoot(tmp_path / "root")
    store = open_store(root)
    for first in range(1, FILES * ROWS_A_FILE, ROWS_A_FILE):
        append(store, *range(first, first + ROWS_A_FILE))
        store.seal()
    append(store, *range(61, 81))
    store.close()
    return root


def sealed(root: RegionRoot) -> list[Path]:
    return sorted(root.tenant(TENANT).glob("retention=*/date=*/*.parquet"))


def flip(path: Path, rng: random.Random) -> bytes:
    """Flip one bit of a file; returns what it was."""
    data = path.read_bytes()
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(changed)
    return data


def ask(engine: Engine, store: Store) -> Page:
    filters = Filters.parse([("range", "30d")], now=NOW + timedelta(hours=1))
    return search(engine, store, TENANT, filters, limit=1000)


def test_a_flipped_bit_in_a_file_makes_the_answer_partial_and_never_wrong(
    root: RegionRoot, engine: Engine
) -> None:
    rng = random.Random(5)
    store = open_store(root)
    whole = ask(engine, store)
    assert (len(whole.events), whole.partial) == (80, [])
    of_id = {event["event_id"]: event for event in whole.events}
    first_of = {ref.path: ref.seq_min for ref in store.snapshot(TENANT).files}
    partial = 0
    for number in range(FLIPS):
        path = rng.choice(sealed(root))
        original = flip(path, rng)
        first = first_of[path]
        missing = {event_id(each) for each in range(first, first + ROWS_A_FILE)}
        page = ask(engine, store)
        assert [part["file"] for part in page.partial] == [path.name], number
        assert {event["event_id"] for event in page.events} == of_id.keys() - missing, number
        assert all(event == of_id[event["event_id"]] for event in page.events), number
        # Out of the way of those who do not ask us, and still named by everybody who does.
        quarantined = root.quarantine(TENANT) / path.name
        assert quarantined.exists()
        assert not path.exists()
        assert path.name in store.damages[0]
        partial += 1
        quarantined.unlink()
        path.write_bytes(original)
        if number % 20 == 0:
            assert ask(engine, store) == whole
    store.look_at_files()
    assert store.damages == []
    assert ask(engine, store) == whole
    assert verify_tenant(root, TENANT).problems == []
    store.close()
    print(f"{partial} flips, {partial} partial answers, 0 wrong rows")


def test_a_flipped_bit_in_a_sidecar_neither_doubles_nor_refuses_an_event(root: RegionRoot) -> None:
    rng = random.Random(6)
    sidecars = sorted(root.index(TENANT).glob("*.idx"))
    for number in range(SMALL_FLIPS):
        original = flip(rng.choice(sidecars), rng)
        store = open_store(root)
        append(store, *range(1, 81))
        append(store, 1, 2, 3)
        assert sorted(found_ids(store)) == [event_id(each) for each in range(1, 81)], number
        store.close()
        assert original in [path.read_bytes() for path in sidecars], number
    assert verify_tenant(root, TENANT).problems == []


def test_a_flipped_bit_in_any_manifest_entry_refuses_the_start_and_is_named(
    root: RegionRoot, tmp_path: Path
) -> None:
    rng = random.Random(7)
    work = RegionRoot(tmp_path / "work")
    entries = sorted(root.ledger(TENANT).glob("*/*.json"))
    assert len(entries) == FILES
    for number in range(SMALL_FLIPS):
        fresh(root.path, work.path)
        # The newest one too: no other entry vouches for it.
        entry = work.path / entries[number % FILES].relative_to(root.path)
        content = entry.read_bytes()
        entry.unlink()
        entry.write_bytes(content)
        flip(entry, rng)
        with pytest.raises(ManifestBroken) as refusal:
            open_store(work)
        assert "otel-audit verify" in refusal.value.hint
        assert verify_tenant(work, TENANT).problems, number
    # A refused start has changed nothing: the entry restored, everything is there.
    entry.unlink()
    entry.write_bytes(content)
    store = open_store(work)
    assert sorted(found_ids(store)) == [event_id(each) for each in range(1, 81)]
    store.close()


def test_a_manifest_that_has_lost_its_newest_entry_refuses_the_start(root: RegionRoot) -> None:
    files = sealed(root)
    [*_, newest] = sorted(root.ledger(TENANT).glob("*/*.json"))
    content = newest.read_bytes()
    newest.unlink()
    for segment in root.wal.glob("*.wal"):
        segment.unlink()
    with pytest.raises(ManifestBroken, match="neither manifest nor write-ahead log"):
        open_store(root)
    assert sealed(root) == files
    newest.write_bytes(content)
    store = open_store(root)
    assert sorted(found_ids(store)) == [event_id(each) for each in range(1, 61)]
    store.close()


def test_a_damaged_state_is_not_believed_and_history_is_read_instead(tmp_path: Path) -> None:
    rng = random.Random(8)
    root = RegionRoot(tmp_path / "root")
    OPERATIONS["state"].fill(root)
    store = open_store(root)
    OPERATIONS["state"].act(store)
    store.close()
    [state] = root.tenant(TENANT).glob("_ledger/_state/*.json")
    for number in range(SMALL_FLIPS // 2):
        original = flip(state, rng)
        manifest = Manifest(root, LocalBlobs(root.path, FastFiles()))
        assert manifest.load(TENANT) == manifest.replay(TENANT), number
        store = open_store(root)
        assert len(found_ids(store)) == 3, number
        store.close()
        state.write_bytes(original)


def test_a_flipped_bit_in_a_pack_is_named_by_verify(tmp_path: Path) -> None:
    rng = random.Random(9)
    root = RegionRoot(tmp_path / "root")
    OPERATIONS["pack"].fill(root)
    store = open_store(root)
    OPERATIONS["pack"].act(store)
    store.close()
    [pack] = root.ledger(TENANT).glob("*/*.ndjson")
    assert verify_tenant(root, TENANT).problems == []
    for number in range(SMALL_FLIPS):
        original = flip(pack, rng)
        assert verify_tenant(root, TENANT).problems, number
        pack.write_bytes(original)
    assert verify_tenant(root, TENANT).problems == []
