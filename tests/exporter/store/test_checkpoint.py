"""A checkpoint kept elsewhere finds what the manifest alone cannot: a history rewritten as a whole."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from otel_audit.exporter.store.backups.backup import back_up
from otel_audit.exporter.store.backups.restore import restore
from otel_audit.exporter.store.errors import CheckpointUnusable, NewerData
from otel_audit.exporter.store.ledger.checkpoint import (
    Checkpoint,
    deviations,
    encode_checkpoint,
    read_checkpoint,
    take_checkpoint,
    uncovered,
)
from otel_audit.exporter.store.ledger.entry import encode_entry
from otel_audit.exporter.store.ledger.state import STATE_EVERY_ENTRIES
from otel_audit.exporter.store.ledger.verify import verify_tenant
from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.schema import PARQUET
from otel_audit.exporter.store.store import Store
from otel_audit.exporter.store.upkeep.retention import DEFAULT_MONTHS
from tests.support.rows import batch, row

NOW = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
def root(tmp_path: Path) -> RegionRoot:
    """Three sealed files of two rows each."""
    made = RegionRoot(tmp_path / "data")
    grow(made, 3)
    return made


def grow(root: RegionRoot, entries: int) -> None:
    store = Store(root)
    for _ in range(entries):
        store.append({"acme": batch(row(), row(retention="rag"))})
        store.seal()
    store.close()


def ledger(root: RegionRoot) -> list[Path]:
    [folder] = [path for path in root.ledger("acme").iterdir() if path.name != "_state"]
    return sorted(folder.iterdir())


def rewrite_a_row(root: RegionRoot, number: int) -> None:
    """What somebody who can write the disk does: a row, its file's entry, and all entries that follow."""
    entries = [json.loads(path.read_bytes()) for path in ledger(root)]
    item = entries[number - 1]["add"][0]
    path = root.tenant("acme") / item["path"]
    table = pq.read_table(path, partitioning=None)
    at = table.schema.get_field_index("user_email")
    forged = table.set_column(at, "user_email", pa.array(["somebody-else@example.com"] * table.num_rows))
    pq.write_table(forged.cast(PARQUET), path)
    item["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    item["bytes"] = path.stat().st_size
    previous = "0" * 64
    for file, entry in zip(ledger(root), entries, strict=True):
        entry.pop("crc32")
        file.write_bytes(encode_entry(entry | {"previous": previous}))
        previous = hashlib.sha256(file.read_bytes()).hexdigest()
    shutil.rmtree(root.ledger("acme") / "_state", ignore_errors=True)


def test_a_checkpoint_tells_where_each_chain_ends_and_how_many_rows_it_covers(root: RegionRoot) -> None:
    store = Store(root)
    store.run_retention(lambda *_: DEFAULT_MONTHS, now=datetime(2027, 3, 1, tzinfo=UTC), actor="test")
    store.append({"acme": batch(row())})  # in the log only
    store.close()
    taken = take_checkpoint(root, "acme", NOW)
    assert (taken.tenant, taken.time) == ("acme", "2026-11-20T00:00:00.000000Z")
    [(writer, mark)] = taken.writers.items()
    assert writer == store.writer_id
    assert (mark.entry, mark.sealed_to, mark.rows, mark.rows_sealed) == (4, 6, 3, 6)
    assert mark.sha256 == verify_tenant(root, "acme").heads[writer]


def test_a_chain_that_grew_extends_the_checkpoint(root: RegionRoot) -> None:
    taken = take_checkpoint(root, "acme", NOW)
    grow(root, 2)
    assert deviations(root, taken) == []


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_rewritten_row_with_a_rewritten_entry_and_chain_is_found(root: RegionRoot, number: int) -> None:
    taken = take_checkpoint(root, "acme", NOW)
    rewrite_a_row(root, number)
    assert verify_tenant(root, "acme").problems == [], "the disk by itself cannot tell"
    [found] = deviations(root, taken)
    assert "history was rewritten" in found
    assert "entry 3" in found


def test_a_row_that_was_rewritten_before_more_was_stored_is_found(root: RegionRoot) -> None:
    taken = take_checkpoint(root, "acme", NOW)
    rewrite_a_row(root, 2)
    grow(root, 2)
    assert verify_tenant(root, "acme").problems == []
    assert "history was rewritten" in deviations(root, taken)[0]


def test_a_disk_of_last_week_is_found(root: RegionRoot, tmp_path: Path) -> None:
    shutil.copytree(root.path, tmp_path / "last-week")
    grow(root, 2)
    taken = take_checkpoint(root, "acme", NOW)
    older = RegionRoot(tmp_path / "last-week")
    assert verify_tenant(older, "acme").problems == [], "the disk by itself cannot tell"
    [found] = deviations(older, taken)
    assert "older than the checkpoint" in found
    assert "ends at entry 3, the checkpoint knows 5" in found


def test_a_disk_of_last_week_that_went_on_is_found(root: RegionRoot, tmp_path: Path) -> None:
    shutil.copytree(root.path, tmp_path / "last-week")
    grow(root, 2)
    taken = take_checkpoint(root, "acme", NOW)
    older = RegionRoot(tmp_path / "last-week")
    grow(older, 3)
    assert verify_tenant(older, "acme").problems == []
    assert "history was rewritten" in deviations(older, taken)[0]


def test_an_organization_that_vanished_is_found(root: RegionRoot) -> None:
    taken = take_checkpoint(root, "acme", NOW)
    shutil.rmtree(root.tenant("acme"))
    assert verify_tenant(root, "acme").problems == []
    assert "ends at entry 0, the checkpoint knows 3" in deviations(root, taken)[0]


def test_a_restored_backup_extends_checkpoints_from_before_it_and_not_from_after(
    root: RegionRoot, tmp_path: Path
) -> None:
    before = take_checkpoint(root, "acme", NOW)

    def control(folder: Path) -> Path:
        (folder / "control.sqlite").touch()
        return folder / "control.sqlite"

    back_up({"default": root}, tmp_path / "b", copy_control=control, now=NOW)
    grow(root, 1)
    after = take_checkpoint(root, "acme", NOW)
    copy = RegionRoot(tmp_path / "copy")
    restore(tmp_path / "b", {"default": copy}, before_use=lambda _: None)
    grow(copy, 2)  # a chain of the new writer
    assert deviations(copy, before) == []
    assert "older than the checkpoint" in deviations(copy, after)[0]
    assert len(take_checkpoint(copy, "acme", NOW).writers) == 2


def test_a_checkpoint_is_read_back_as_it_was_written(root: RegionRoot, tmp_path: Path) -> None:
    taken = take_checkpoint(root, "acme", NOW)
    path = tmp_path / "checkpoint.json"
    path.write_bytes(encode_checkpoint(taken))
    assert read_checkpoint(path) == taken


GOLDEN: Mapping[str, Any] = {
    "version": 1,
    "tenant": "acme",
    "time": "2026-11-20T00:00:00.000000Z",
    "writers": {
        "w0123456789ab": {
            "entry": 3,
            "sha256": "ab" * 32,
            "sealed_to": 6,
            "rows": 5,
            "rows_sealed": 6,
        }
    },
}


def test_the_checkpoints_of_this_release_are_read_by_every_later_one(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.json"
    path.write_text(json.dumps(GOLDEN))
    found = read_checkpoint(path)
    assert isinstance(found, Checkpoint)
    assert json.loads(encode_checkpoint(found)) == GOLDEN


def test_rows_that_came_to_files_after_a_checkpoint_are_counted_as_unproved(root: RegionRoot) -> None:
    taken = take_checkpoint(root, "acme", NOW)
    assert uncovered(root, taken) == 0
    grow(root, 2)
    assert uncovered(root, taken) == 4
    (root.path / "writer-id").unlink()  # as in a restored copy: another writer goes on
    grow(root, 1)
    assert uncovered(root, taken) == 6


def changed(**fields: Any) -> bytes:
    """The golden checkpoint with another value in the mark of its writer, or in itself."""
    made = json.loads(json.dumps(GOLDEN))
    for name, value in fields.items():
        (made["writers"]["w0123456789ab"] if name not in made else made)[name] = value
    return json.dumps(made).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"version": 1, "tenant": "acme"}',
        b"\xff",
        changed(writers={}),
        changed(writers={"w0123456789ab": {}}),
        changed(version=0),
        changed(tenant="../acme"),
        changed(time="yesterday"),
        changed(entry=0),
        changed(sha256="ab"),
        changed(sealed_to=-1),
        changed(rows=None),
    ],
)
def test_what_is_no_checkpoint_is_refused_with_a_hint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointUnusable) as refusal:
        read_checkpoint(path)
    assert refusal.value.hint
    with pytest.raises(CheckpointUnusable):
        read_checkpoint(tmp_path / "nowhere")


def test_a_newer_checkpoint_is_refused_with_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.json"
    path.write_text(json.dumps({"version": 2, "shape": "another"}))
    with pytest.raises(NewerData) as refusal:
        read_checkpoint(path)
    assert refusal.value.hint


def test_a_checkpoints_entry_that_is_missing_is_found_though_the_state_spares_its_reading(
    root: RegionRoot,
) -> None:
    taken = take_checkpoint(root, "acme", NOW)
    grow(root, STATE_EVERY_ENTRIES)
    ledger(root)[2].unlink()
    assert "entry 3" in deviations(root, taken)[0]
