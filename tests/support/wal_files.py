"""File systems for tests of the write-ahead log: without waiting, failing on demand, losing power."""

from __future__ import annotations

import errno
import os
import random
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from otel_audit.exporter.wal.files import OsFiles

SECTOR_BYTES = 512


class FastFiles(OsFiles):
    """Real files, but nothing is synced or allocated ahead: for tests in which the machine stays on."""

    def allocate(self, descriptor: int, offset: int, size: int) -> None:
        pass

    def sync(self, descriptor: int) -> None:
        pass

    def sync_folder(self, descriptor: int) -> None:
        pass


class FaultyFiles(FastFiles):
    """Fails the N-th call (and with `for_ever` all later ones) with `code`.

    only: names of the calls that count, all that may fail by default. short: the N-th pwrite writes half
    of its bytes, and the next call fails. fired: how many faults were injected. syncs_retried: syncs of a
    file whose sync had failed before, by the same descriptor.
    """

    CALLS = frozenset(
        {
            "make_folder",
            "listdir",
            "open",
            "lock",
            "size",
            "pread",
            "pwrite",
            "allocate",
            "truncate",
            "sync",
            "sync_folder",
            "rename",
            "link",
            "unlink",
            "identity",
            "free_bytes",
        }
    )

    def __init__(
        self,
        nth: int,
        code: int,
        *,
        for_ever: bool = False,
        short: bool = False,
        only: frozenset[str] = CALLS,
    ) -> None:
        self.nth = nth
        self.code = code
        self.for_ever = for_ever
        self.short = short
        self.only = only
        self.calls = 0
        self.fired = 0
        self.syncs_retried = 0
        self._sync_failed: set[int] = set()
        # After so many more links everything fails, 0 for never.
        self.link_then_break = 0
        self._lock = threading.Lock()

    def heal(self) -> None:
        """No more faults."""
        self.only = frozenset()

    def break_now(self, code: int, only: frozenset[str] = CALLS) -> None:
        """From now on every call fails with `code`."""
        self.code, self.nth, self.for_ever, self.short = code, 1, True, False
        self.calls, self.only = 0, only

    def _call(self, name: str) -> bool:
        """Count a call; raise when its turn has come; True asks a pwrite to be short."""
        with self._lock:
            if name not in self.only:
                return False
            self.calls += 1
            if self.short and self.calls == self.nth and name == "pwrite":
                self.fired += 1
                return True
            turn = self.nth + 1 if self.short else self.nth
            if self.calls == turn or (self.for_ever and self.calls > turn):
                self.fired += 1
                raise OSError(self.code, os.strerror(self.code))
            return False

    def make_folder(self, path: Path) -> None:
        self._call("make_folder")
        super().make_folder(path)

    def listdir(self, path: Path) -> list[str]:
        self._call("listdir")
        return super().listdir(path)

    def open(self, path: Path, flags: int) -> int:
        self._call("open")
        return super().open(path, flags)

    def lock(self, descriptor: int) -> None:
        self._call("lock")
        super().lock(descriptor)

    def size(self, descriptor: int) -> int:
        self._call("size")
        return super().size(descriptor)

    def pread(self, descriptor: int, size: int, offset: int) -> bytes:
        self._call("pread")
        return super().pread(descriptor, size, offset)

    def pwrite(self, descriptor: int, data: memoryview, offset: int) -> int:
        if self._call("pwrite"):
            return super().pwrite(descriptor, data[: max(1, len(data) // 2)], offset)
        return super().pwrite(descriptor, data, offset)

    def allocate(self, descriptor: int, offset: int, size: int) -> None:
        self._call("allocate")
        super().allocate(descriptor, offset, size)

    def truncate(self, descriptor: int, size: int) -> None:
        self._call("truncate")
        super().truncate(descriptor, size)

    def _sync_call(self, name: str, descriptor: int) -> None:
        self.syncs_retried += descriptor in self._sync_failed
        try:
            self._call(name)
        except OSError:
            self._sync_failed.add(descriptor)
            raise

    def sync(self, descriptor: int) -> None:
        self._sync_call("sync", descriptor)

    def sync_folder(self, descriptor: int) -> None:
        self._sync_call("sync_folder", descriptor)

    def close(self, descriptor: int) -> None:
        self._sync_failed.discard(descriptor)
        super().close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        self._call("rename")
        super().rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        self._call("link")
        super().link(source, target)
        self.link_then_break -= 1
        if self.link_then_break == 0:
            self.break_now(self.code)

    def unlink(self, path: Path) -> None:
        self._call("unlink")
        super().unlink(path)

    def identity(self, file: Path | int) -> tuple[int, int]:
        self._call("identity")
        return super().identity(file)

    def free_bytes(self, descriptor: int) -> int:
        self._call("free_bytes")
        return super().free_bytes(descriptor)


class SmallDisk(OsFiles):
    """Real files on a disk of which only `free` bytes are left. Nothing is synced."""

    def __init__(self, free: int) -> None:
        self.free = free
        self._held: dict[tuple[int, int], int] = {}

    def adopt(self, path: Path) -> None:
        """Count a file that is there already."""
        self._held[self.identity(path)] = path.stat().st_size

    def _resize(self, file: tuple[int, int], size: int) -> None:
        grown = size - self._held.get(file, 0)
        if grown > self.free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.free -= grown
        self._held[file] = size

    def _grow(self, descriptor: int, size: int) -> None:
        file = self.identity(descriptor)
        self._resize(file, max(size, self._held.get(file, 0)))

    def free_bytes(self, descriptor: int) -> int:
        return self.free

    def allocate(self, descriptor: int, offset: int, size: int) -> None:
        self._grow(descriptor, offset + size)
        super().allocate(descriptor, offset, size)

    def pwrite(self, descriptor: int, data: memoryview, offset: int) -> int:
        self._grow(descriptor, offset + len(data))
        return super().pwrite(descriptor, data, offset)

    def truncate(self, descriptor: int, size: int) -> None:
        super().truncate(descriptor, size)
        self._resize(self.identity(descriptor), size)

    def rename(self, source: Path, target: Path) -> None:
        if target.exists():
            self._resize(self.identity(target), 0)
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        self._resize(self.identity(path), 0)
        super().unlink(path)

    def sync(self, descriptor: int) -> None:
        pass

    def sync_folder(self, descriptor: int) -> None:
        pass


@dataclass
class _Node:
    """One file on the modelled disk: what is synced, and what was written since, in order."""

    synced: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def settle(self) -> None:
        for offset, data in self.pending:
            _apply(self.synced, offset, data)
        self.pending.clear()

    def after_power_loss(self, rng: random.Random) -> bytes:
        """The synced bytes and any subset of the rest, sector by sector."""
        content = bytearray(self.synced)
        keep = rng.choice((0.0, 0.3, 0.7, 1.0))
        for offset, data in self.pending:
            if data is None:
                if rng.random() < keep:
                    _apply(content, offset, None)
                continue
            start = 0
            while start < len(data):
                stop = min(len(data), start + SECTOR_BYTES - (offset + start) % SECTOR_BYTES)
                if rng.random() < keep:
                    _apply(content, offset + start, data[start:stop])
                start = stop
        return bytes(content)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    """Write `data` at `offset`, or with None set the size to `offset`."""
    end = offset if data is None else offset + len(data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if data is None:
        del content[offset:]
    else:
        content[offset:end] = data


class PowerLossFiles(OsFiles):
    """Real files below `root`, beside a model of what a disk would hold if the power went now.

    What was not synced survives in any subset: sectors of files, names in folders (a rename is one step).
    on_call runs before every call that changes something. A sync listed in fail_syncs (counted from 1)
    answers EIO and, as kernels do, drops the pages: reads still show them, no later sync writes them.
    """

    def __init__(
        self,
        root: Path,
        *,
        on_call: Callable[[PowerLossFiles], None] | None = None,
        fail_syncs: frozenset[int] = frozenset(),
    ) -> None:
        self.root = root
        self.on_call = on_call
        self.fail_syncs = fail_syncs
        self.syncs = 0
        self.calls = 0
        self._open: dict[int, _Node] = {}
        self._nodes: dict[Path, _Node] = {}
        self._folders: dict[int, Path] = {}
        self._synced_names: dict[Path, dict[str, _Node]] = {}
        self._pending_names: dict[Path, list[dict[str, _Node | None]]] = {}
        self._pending_folders: set[Path] = set()
        for path in [root, *sorted(root.rglob("*"))]:
            if path.is_dir():
                self._synced_names[path] = {}
                self._pending_names[path] = []
            else:
                node = _Node(bytearray(path.read_bytes()))
                self._nodes[path] = node
                self._synced_names[path.parent][path.name] = node

    def image(self, target: Path, rng: random.Random) -> None:
        """Write to `target` what a restart after a power loss at this moment could find."""
        shutil.rmtree(target, ignore_errors=True)
        lost = {folder for folder in self._pending_folders if rng.random() < 0.5}
        for folder, names in self._synced_names.items():
            if lost & {folder, *folder.parents}:
                continue
            place = target / folder.relative_to(self.root)
            place.mkdir(parents=True, exist_ok=True)
            found: dict[str, _Node | None] = dict(names)
            keep = rng.choice((0.0, 0.5, 1.0))
            for change in self._pending_names[folder]:
                if rng.random() < keep:
                    found.update(change)
            for name, node in found.items():
                if node is not None:
                    (place / name).write_bytes(node.after_power_loss(rng))

    def _before(self) -> None:
        self.calls += 1
        if self.on_call is not None:
            self.on_call(self)

    def make_folder(self, path: Path) -> None:
        self._before()
        if not path.exists():
            self._pending_folders.add(path)
        super().make_folder(path)
        self._synced_names.setdefault(path, {})
        self._pending_names.setdefault(path, [])

    def open(self, path: Path, flags: int) -> int:
        if path.is_dir():
            descriptor = super().open(path, flags)
            self._folders[descriptor] = path
            return descriptor
        if flags & os.O_CREAT:
            self._before()
        descriptor = super().open(path, flags)
        if flags & os.O_CREAT and path not in self._nodes:
            self._nodes[path] = _Node()
            self._pending_names[path.parent].append({path.name: self._nodes[path]})
        node = self._nodes[path]
        if flags & os.O_TRUNC:
            node.pending.append((0, None))
        self._open[descriptor] = node
        return descriptor

    def close(self, descriptor: int) -> None:
        self._open.pop(descriptor, None)
        self._folders.pop(descriptor, None)
        super().close(descriptor)

    def pwrite(self, descriptor: int, data: memoryview, offset: int) -> int:
        self._before()
        self._open[descriptor].pending.append((offset, bytes(data)))
        return super().pwrite(descriptor, data, offset)

    def allocate(self, descriptor: int, offset: int, size: int) -> None:
        # Space without a size would be as good; the model keeps it small.
        self._before()

    def truncate(self, descriptor: int, size: int) -> None:
        self._before()
        self._open[descriptor].pending.append((size, None))
        super().truncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        self._before()
        self.syncs += 1
        if self.syncs in self.fail_syncs:
            self._open[descriptor].pending.clear()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._open[descriptor].settle()

    def sync_folder(self, descriptor: int) -> None:
        self._before()
        folder = self._folders[descriptor]
        self._pending_folders = {path for path in self._pending_folders if path.parent != folder}
        names = self._synced_names.get(folder)
        if names is None:
            return
        for change in self._pending_names[folder]:
            for name, node in change.items():
                if node is None:
                    names.pop(name, None)
                else:
                    names[name] = node
        self._pending_names[folder].clear()

    def rename(self, source: Path, target: Path) -> None:
        self._before()
        node = self._nodes.pop(source)
        self._nodes[target] = node
        self._pending_names[target.parent].append({source.name: None, target.name: node})
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        self._before()
        super().unlink(path)
        self._nodes.pop(path, None)
        self._pending_names[path.parent].append({path.name: None})
