"""An older binary refuses what a newer release wrote, wherever it meets it: exit 1, one line and a hint."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from otel_audit.exporter.store.backups.backup_list import CopiedFile, encode_list, read_list
from otel_audit.exporter.store.errors import NewerData
from otel_audit.exporter.store.files.blobs import LocalBlobs
from otel_audit.exporter.store.intake.frame import Frame
from otel_audit.exporter.store.ledger.entry import MANIFEST_VERSION, encode_entry
from otel_audit.exporter.store.ledger.manifest import Manifest
from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.schema import COLUMNS, SCHEMA_VERSION, SCHEMA_VERSION_KEY
from otel_audit.exporter.store.upkeep.compaction import merged
from otel_audit.exporter.wal.writer import Wal
from otel_audit.query_service.cli.main import run
from tests.support import process
from tests.support.rows import batch, row


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a sealed file and a log, and a backup of it."""
    folder = tmp_path_factory.mktemp("newer")
    process.run(folder / "data", "tenant", "add", "acme")
    process.run(folder / "data", "backup", "--to", str(folder / "backup"))
    return folder


@pytest.fixture
def data(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original / "data", tmp_path / "data")


@pytest.fixture
def backup(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original / "backup", tmp_path / "backup")


def segment(folder: Path) -> None:
    path = max((folder / "wal").glob("*.wal"))
    data = bytearray(path.read_bytes())
    for copy in (0, 4096):
        struct.pack_into("<I", data, copy + 8, 2)
        struct.pack_into("<I", data, copy + 60, zlib.crc32(data[copy : copy + 60]))
    path.write_bytes(data)


def durable(folder: Path) -> None:
    data = bytearray((folder / "wal" / "durable").read_bytes())
    struct.pack_into("<I", data, 8, 2)
    struct.pack_into("<I", data, 40, zlib.crc32(data[:40]))
    (folder / "wal" / "durable").write_bytes(data)


def frame(folder: Path) -> None:
    data = Frame("acme", "w000000000000", 1, batch(row())).encode()
    with Wal.open(folder / "wal") as wal:
        wal.append(bytes([SCHEMA_VERSION + 1]) + data[1:])


def entry(folder: Path) -> None:
    path = max((folder / "store/tenant=acme/_ledger").glob("w*/*.json"))
    number = int(path.stem) + 1
    newer = {"version": MANIFEST_VERSION + 1, "number": number, "shape": "another"}
    path.with_name(f"{number:012d}.json").write_text(json.dumps(newer))


def state(folder: Path) -> None:
    path = folder / "store/tenant=acme/_ledger/_state/000000000001.json"
    path.parent.mkdir()
    raw = json.dumps({"version": MANIFEST_VERSION + 1, "shape": "another"}).encode()
    path.write_bytes(hashlib.sha256(raw).hexdigest().encode() + b"\n" + raw)


def footer(folder: Path) -> None:
    [path] = (folder / "store/tenant=acme/_ledger").glob("w*/*.json")
    told = json.loads(path.read_bytes())
    del told["crc32"]
    [item] = told["add"]
    file = folder / "store/tenant=acme" / item["path"]
    table = pq.read_table(file, partitioning=None)
    pq.write_table(table.replace_schema_metadata({SCHEMA_VERSION_KEY: str(SCHEMA_VERSION + 1)}), file)
    item |= {"sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "bytes": file.stat().st_size}
    path.write_bytes(encode_entry(told))


def control(folder: Path) -> None:
    with sqlite3.connect(folder / "control.sqlite") as database:
        database.execute("UPDATE schema_version SET version = 99")
    database.close()


def relisted(backup: Path) -> None:
    """What a newer release's backup would say of these files."""
    listed = read_list(backup)
    paths = sorted(path for path in backup.rglob("*") if path.is_file() and path.name != "backup.json")
    listed.files[:] = [
        CopiedFile(
            path.relative_to(backup).as_posix(),
            path.stat().st_size,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in paths
    ]
    (backup / "backup.json").write_bytes(encode_list(listed))


Newer = Callable[[Path], None]
Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("newer", [segment, durable, frame, entry, state, control])
def test_serve_refuses(data: Path, newer: Newer) -> None:
    newer(data)
    ports = [
        part for name in ("otlp-grpc", "otlp-http", "http", "metrics") for part in (f"--{name}", "[::1]:0")
    ]
    done = process.run(data, "serve", *ports, check=False)
    refused(done.returncode, done.stderr)


@pytest.mark.parametrize("newer", [entry, state, footer])
def test_verify_refuses(data: Path, capsys: Capture, newer: Newer) -> None:
    newer(data)
    refused(run(["verify", "--tenant", "acme", "--data-dir", str(data)]), capsys.readouterr().err)


@pytest.mark.parametrize("newer", [segment, durable, frame, entry, footer, control])
def test_restore_refuses_and_leaves_nothing_that_could_be_opened(
    backup: Path, tmp_path: Path, capsys: Capture, newer: Newer
) -> None:
    newer(backup)
    relisted(backup)
    copy = str(tmp_path / "copy")
    refused(run(["restore", "--from", str(backup), "--data-dir", copy]), capsys.readouterr().err)
    assert run(["tenant", "list", "--data-dir", copy]) == 1
    assert "not finished" in capsys.readouterr().err


def test_restore_refuses_a_newer_list(backup: Path, tmp_path: Path, capsys: Capture) -> None:
    (backup / "backup.json").write_text(json.dumps({"version": 2, "shape": "another"}))
    copy = tmp_path / "copy"
    refused(run(["restore", "--from", str(backup), "--data-dir", str(copy)]), capsys.readouterr().err)
    assert not copy.exists()


def test_restore_takes_the_same_backup_when_nothing_is_newer(backup: Path, tmp_path: Path) -> None:
    relisted(backup)
    assert run(["restore", "--from", str(backup), "--data-dir", str(tmp_path / "copy")]) == 0


def test_a_merge_never_drops_the_columns_of_a_newer_release(data: Path) -> None:
    footer(data)
    root = RegionRoot(data)
    files = Manifest(root, LocalBlobs(data)).load("acme").files.values()
    with pytest.raises(NewerData):
        list(merged([file.ref for file in files]))


# Whoever adds a column raises both: the manifest's version is what older releases look at before they
# open a file. The SHA-256 is of the columns' names and types.
VERSIONS = {(1, 1): "e5189de335cb2c24f63ec8381b8f55888b07a446eed1137908d1de761d2ad2c8"}


def test_a_new_column_comes_with_new_versions_of_schema_and_manifest() -> None:
    columns = "\n".join(f"{column.name} {column.type}" for column in COLUMNS)
    assert VERSIONS[SCHEMA_VERSION, MANIFEST_VERSION] == hashlib.sha256(columns.encode()).hexdigest()


def refused(status: int, errors: str) -> None:
    assert status == 1
    problem, hint = [line for line in errors.splitlines() if line.startswith(("error: ", "hint: "))]
    assert any(word in problem for word in ("version", "format", "schema"))
    assert "release" in hint
