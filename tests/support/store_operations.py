"""Every operation of the store that changes what is on disk, with a model of what must be there after it.

Shared by the tests that fail a system call and by the process that is killed at one. Rows say what should
become of them: those of OLD are due for retention at NOW, those whose message is HELD must stay.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from otel_audit.exporter.store.files.blobs import LocalBlobs, is_temporary
from otel_audit.exporter.store.ledger.entry import TenantManifest
from otel_audit.exporter.store.ledger.manifest import Manifest
from otel_audit.exporter.store.ledger.verify import verify_tenant
from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.reader import StoreReader
from otel_audit.exporter.store.schema import VIEW
from otel_audit.exporter.store.snapshot import FileRef, SnapshotSource
from otel_audit.exporter.store.store import Store
from otel_audit.exporter.store.upkeep.held import NUMBERS, Held
from otel_audit.exporter.store.upkeep.retention import DEFAULT_MONTHS
from otel_audit.exporter.wal.errors import WalDamaged
from otel_audit.exporter.wal.files import FileSystem
from tests.support.rows import batch, row
from tests.support.wal_files import FastFiles

TENANT = "acme"
NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)
YOUNG = datetime(2026, 11, 3, 9, tzinfo=UTC)
OLD = datetime(2026, 1, 10, 9, tzinfo=UTC)
HELD = "held"


def event_id(number: int) -> str:
    return f"{number:08x}-0000-7000-8000-000000000000"


@dataclass(frozen=True)
class Model:
    """What readers must see, each once: `there`, and nothing else but perhaps `maybe`."""

    there: frozenset[str] = frozenset()
    maybe: frozenset[str] = frozenset()

    def check(self, found: Sequence[str], where: object = "") -> None:
        doubled = [name for name, count in Counter(found).items() if count > 1]
        assert not doubled, (where, "doubled", doubled)
        assert self.there <= set(found), (where, "lost", sorted(self.there - set(found)))
        assert set(found) <= self.there | self.maybe, (where, "strange", set(found) - self.there - self.maybe)

    def with_there(self, *numbers: int) -> Model:
        return Model(self.there | {event_id(n) for n in numbers}, self.maybe)

    def with_maybe(self, *numbers: int) -> Model:
        return Model(self.there, self.maybe | {event_id(n) for n in numbers})


def open_store(root: RegionRoot, fs: FileSystem | None = None) -> Store:
    # A few kB a segment: appending rolls the log, sealing removes segments.
    return Store(root, fs=fs or FastFiles(), wal_segment_bytes_max=1 << 16, now=NOW.timestamp)


def append(
    store: Store, *numbers: int, day: datetime = YOUNG, message: str = "read", **given: object
) -> None:
    rows = [row(event_id=event_id(number), time=day, message=message, **given) for number in numbers]
    store.append({TENANT: batch(*rows)})


def found_ids(source: SnapshotSource) -> list[str]:
    """The ids that a reader sees."""
    snapshot = source.snapshot(TENANT)
    found: list[str] = snapshot.hot["event_id"].to_pylist()
    for ref in snapshot.files:
        found += _column(ref.path)
    return found


def _column(path: Path) -> list[str]:
    found: list[str] = pq.ParquetFile(path).read(["event_id"])["event_id"].to_pylist()
    return found


def globbed_ids(root: RegionRoot) -> list[str]:
    """The ids that an engine sees which knows nothing of the manifest."""
    pattern = f"{root.store}/tenant={TENANT}/retention=*/date=*/*.parquet"
    if not list(root.tenant(TENANT).glob("retention=*/date=*/*.parquet")):
        return []
    found = duckdb.execute(f"SELECT event_id FROM read_parquet('{pattern}')").fetchall()
    return [name for (name,) in found]


def held_of(tenant: str, refs: Sequence[FileRef], now: datetime) -> Held:
    """A legal hold on the rows whose message is HELD."""
    names = ["message", "writer", "seq"]
    empty = VIEW.empty_table().select(names)
    tables = [pq.read_table(ref.path, columns=names, partitioning=None).cast(empty.schema) for ref in refs]
    rows = pa.concat_tables([empty, *tables])
    rows = rows.filter(pc.equal(rows["message"], HELD)).select(["writer", "seq"]).cast(NUMBERS)
    if not rows.num_rows:
        return Held()
    return Held(rows.sort_by([("writer", "ascending"), ("seq", "ascending")]), names=("case 7",))


def _seal(store: Store) -> None:
    store.seal()
    # The log was rolled: this round removes the segments before it.
    store.seal()


def _retention(store: Store) -> None:
    store.run_retention(lambda *_: DEFAULT_MONTHS, now=NOW, actor="test")


def expire_with_a_hold(store: Store) -> None:
    store.run_retention(lambda *_: DEFAULT_MONTHS, now=NOW, actor="test", held=held_of)


@dataclass(frozen=True)
class Operation:
    """One operation. fill: makes the root it works on. there: numbers before and after it; gone: only before.

    done: whether nothing is left to do.
    """

    fill: Callable[[RegionRoot], None]
    act: Callable[[Store], object]
    there: Sequence[int]
    gone: Sequence[int] = ()
    done: Callable[[Store], bool] = field(default=lambda store: True)

    def before(self) -> Model:
        return Model().with_there(*self.there).with_maybe(*self.gone)

    def after(self) -> Model:
        return Model().with_there(*self.there)


def _fill_seal(root: RegionRoot) -> None:
    store = open_store(root)
    append(store, 1, 2)
    store.seal()
    append(store, 3, 4)
    append(store, 5, retention="rag")
    append(store, 6, day=OLD)
    store.close()


def _fill_compact(root: RegionRoot) -> None:
    store = open_store(root)
    for first in (1, 3, 5):
        append(store, first, first + 1, day=OLD)
        store.seal()
    append(store, 7)
    store.close()


def _fill_retention(root: RegionRoot) -> None:
    store = open_store(root)
    append(store, 1, 2, day=OLD)
    store.seal()
    append(store, 3, day=OLD)
    append(store, 4)
    store.seal()
    append(store, 5)
    append(store, 6, day=OLD)
    store.close()


def _fill_hold(root: RegionRoot) -> None:
    store = open_store(root)
    append(store, 1, day=OLD)
    append(store, 2, day=OLD, message=HELD)
    store.seal()
    append(store, 3, day=OLD, message=HELD)
    store.seal()
    append(store, 4, day=OLD)
    append(store, 5)
    store.seal()
    append(store, 6, day=OLD)
    append(store, 7, day=OLD, message=HELD)
    store.close()


def _fill_entries(entries: int) -> Callable[[RegionRoot], None]:
    """A store with a history: the next entry is followed by a state, the thousandth by a pack too."""

    def fill(root: RegionRoot) -> None:
        store = open_store(root)
        append(store, 1)
        store.seal()
        writer = store.writer_id
        store.close()
        manifest = Manifest(root, LocalBlobs(root.path, FastFiles()))
        state: TenantManifest = manifest.load(TENANT)
        while state.chains[writer].number < entries:
            manifest.apply(state, manifest.commit(state, writer, "compact", now=NOW))
        store = open_store(root)
        append(store, 2, 3)
        store.close()

    return fill


def _fill_quarantine(root: RegionRoot) -> None:
    store = open_store(root)
    for number in (1, 2):
        append(store, number)
        store.seal()
    [path] = [ref.path for ref in store.snapshot(TENANT).files if ref.seq_min == 2]
    append(store, 3)
    store.close()
    (root.path / "intact").write_bytes(path.read_bytes())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _quarantine(store: Store) -> None:
    store.snapshot(TENANT)


def _is_quarantined(store: Store) -> bool:
    return len(list(store.root.quarantine(TENANT).iterdir())) == 1


def _fill_leftovers(root: RegionRoot) -> None:
    """What crashes leave: files without an entry, half-written ones, sidecars of nothing, a stranger."""
    store = open_store(root)
    append(store, 1, 2)
    store.seal()
    append(store, 3, 4)
    store.close()
    copy = root.path.with_name("copy")
    shutil.copytree(root.path, copy)
    store = open_store(RegionRoot(copy))
    store.seal()
    store.close()
    for path in copy.glob("store/*/retention=*/date=*/*"):
        shutil.copy(path, root.path / path.relative_to(copy))
    [partition] = root.tenant(TENANT).glob("retention=*/date=*")
    (partition / "_0.tmp").write_bytes(b"half")
    (partition / "stranger.csv").write_bytes(b"1,2")
    (root.index(TENANT) / "nothing.idx").write_bytes(b"")
    (root.ledger(TENANT) / "_0.tmp").write_bytes(b"half")
    shutil.rmtree(copy)


OPERATIONS = {
    "seal": Operation(_fill_seal, _seal, range(1, 7), done=lambda store: store.hot_rows == 0),
    "compact": Operation(
        _fill_compact,
        lambda store: store.compact(),
        range(1, 8),
        done=lambda store: store.live_files <= 2,
    ),
    "retention": Operation(
        _fill_retention, _retention, (4, 5), (1, 2, 3, 6), done=lambda store: not _old_files(store)
    ),
    "retention_with_a_hold": Operation(
        _fill_hold,
        expire_with_a_hold,
        (2, 3, 5, 7),
        (1, 4, 6),
        done=lambda store: sum(ref.rows for ref in _old_files(store)) == 3,
    ),
    "state": Operation(_fill_entries(99), _seal, (1, 2, 3), done=lambda store: store.hot_rows == 0),
    "pack": Operation(_fill_entries(999), _seal, (1, 2, 3), done=lambda store: store.hot_rows == 0),
    "quarantine": Operation(_fill_quarantine, _quarantine, (1, 3), done=_is_quarantined),
    "start": Operation(_fill_leftovers, Store.tidy, range(1, 5)),
}


def _old_files(store: Store) -> list[FileRef]:
    return [ref for ref in store.snapshot(TENANT).files if ref.date == OLD.date().isoformat()]


def fresh(template: Path, target: Path) -> None:
    """A copy of a root to work on, in place of what is there."""

    def copy(source: str, path: str) -> None:
        # Manifest entries are never written again, and there may be a thousand of them.
        if "/_ledger/w" in source:
            os.link(source, path)
        else:
            shutil.copyfile(source, path)

    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(template, target, copy_function=copy)


def check_readers(store: Store, model: Model, where: object) -> None:
    """The store itself and a reader of another process see what the model says."""
    model.check(found_ids(store), (where, "store"))
    try:
        model.check(found_ids(StoreReader(store.root)), (where, "reader"))
    except WalDamaged:
        # The file that tells readers where the log ends is half written: the log has stopped for that.
        assert store.wal.failure, where


def check_folder(store: Store, where: object, *, tidied: bool) -> None:
    """What lies in the tenant's folder is what is live, and its history adds up.

    tidied: even a half-written file, which no engine reads, is gone by now.
    """
    root = store.root
    live = {ref.path for ref in store.snapshot(TENANT).files}
    damaged = {damage.file for damage in store.snapshot(TENANT).damaged}
    lying = {path for path in root.tenant(TENANT).glob("retention=*/date=*/*") if path.is_file()}
    if not tidied:
        lying = {path for path in lying if not is_temporary(path.name)}
    assert lying == live, (where, lying ^ live)
    names = {path.stem for path in root.index(TENANT).glob("*.idx" if not tidied else "*")}
    assert names <= {path.stem for path in live} | {Path(name).stem for name in damaged}, where
    ids = sorted(name for path in live for name in _column(path))
    assert sorted(globbed_ids(root)) == ids, where
    problems = verify_tenant(root, TENANT).problems
    assert [line for line in problems if "quarantine" not in line] == [], (where, problems)
