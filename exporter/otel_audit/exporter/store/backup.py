"""A consistent copy of a region root, made while a server may be writing it.

Nothing is held up for it; the order makes the copy whole. Each step covers what may have left the one before:

1. the control database: the event of a change leaves its outbox only once the store has it;
2. the write-ahead log up to its durable offset: a row leaves it only once it is in a file of the manifest,
   and one that is in both is dropped by its number;
3. each manifest: entries only ever appear, so whatever was copied is a state that once was;
4. the live files of that state; one that compaction replaced lies in `_retired/` for an hour, one that is
   gone for good was removed by a later entry: back to 3;
5. keys and the root's other files: a tenant's key is made before its first row and never changes.

Every event acknowledged before the start is in 2 or 4. Then all is synced, and `backup.json` is written.
Not copied: `run/`, exports, retired and quarantined files, and the manifest's states, which are derived.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from .backup_list import (
    BACKUP_VERSION,
    LIST_NAME,
    UNFINISHED_NAME,
    BackupList,
    CopiedFile,
    CopiedHead,
    CopiedTenant,
    encode_list,
    is_empty,
    read_list,
)
from .backup_log import copy_log
from .blobs import LocalBlobs, is_temporary, put_new, sync_folder
from .copying import copy_file, digest_file, make_path, sync_tree
from .entry import TenantManifest, text_of
from .errors import BackupError, ManifestBroken, StoreUnavailable
from .manifest import Manifest
from .partition import RegionRoot
from .snapshot import FileRef

# Something moves under a copy when a segment was sealed, a thousand entries were packed or a file expired:
# never many times in the second or so between two looks.
_TRIES_MAX: Final = 20

Progress = Callable[[int, int], None]
"""Told (bytes done, bytes in all) of the Parquet files, nearly all of a backup."""


def back_up(
    root: RegionRoot,
    target: Path,
    *,
    copy_control: Callable[[Path], Path],
    now: datetime,
    previous: Path | None = None,
    despite_damage: bool = False,
    progress: Progress = lambda done, total: None,
) -> BackupList:
    """Copy `root` into `target`, an empty or new folder; durable and whole on return.

    copy_control: writes the control database into a folder and returns the file. previous: an earlier
    backup; Parquet files it has are linked instead of copied where that is possible.
    despite_damage: leave out live files that are damaged instead of refusing.
    Raises BackupError, StoreUnavailable, ManifestBroken, NewerData, OSError. What was copied until then
    stays, without `backup.json`: with a dying disk it may be all there is.
    """
    if not is_empty(target):
        raise BackupError(f"{target} is not empty", hint="give a new folder with --to")
    if target.resolve().is_relative_to(root.path.resolve()):
        raise BackupError(
            f"{target} is in the data directory", hint="give a folder elsewhere, on another disk"
        )
    copy = _Copy(root, RegionRoot(target), read_list(previous) if previous else None, previous, progress)
    put_new(target / UNFINISHED_NAME, b"")
    control = copy_control(target)
    copy.note(control)
    copy.log()
    tenants = copy.tenants()
    copy.rest(control.name)
    if copy.damaged and not despite_damage:
        name, reason = next(iter(copy.damaged.items()))
        more = f", and {len(copy.damaged) - 1} more" if len(copy.damaged) > 1 else ""
        raise BackupError(
            f"{name}: {reason}{more}",
            hint="put it back from an earlier backup, or leave it out with --despite-damage",
        )
    listed = BackupList(
        version=BACKUP_VERSION,
        created=text_of(now),
        writer=(root.path / "writer-id").read_text().strip(),
        tenants=tenants,
        damaged=copy.damaged,
        files=list(copy.files.values()),
    )
    sync_tree(target)
    put_new(target / LIST_NAME, encode_list(listed))
    (target / UNFINISHED_NAME).unlink()
    sync_folder(target)
    return listed


class _Copy:
    """One backup being made. files: by path, as they are done; damaged: what is left out, and why."""

    def __init__(
        self,
        source: RegionRoot,
        target: RegionRoot,
        older: BackupList | None,
        older_folder: Path | None,
        progress: Progress,
    ) -> None:
        self._source, self._target, self._progress = source, target, progress
        self._older = {file.path: file for file in older.files} if older else {}
        self._older_folder = older_folder or Path()
        self._blobs = LocalBlobs(source.path)
        self._manifest = Manifest(target, LocalBlobs(target.path))
        self._done = self._total = 0
        self.files: dict[str, CopiedFile] = {}
        self.damaged: dict[str, str] = {}

    def note(self, path: Path) -> None:
        """List a file that was made in the target."""
        key = self._target.key(path)
        self.files[key] = digest_file(path, key, lambda _: None)

    def log(self) -> None:
        """Step 2."""
        for damage in copy_log(self._source.wal, self._target.wal):
            self.damaged[f"wal/{damage.segment:012d}.wal"] = f"{damage.reason} at offset {damage.offset}"
        for path in sorted(self._target.wal.iterdir()):
            self.note(path)

    def tenants(self) -> dict[str, CopiedTenant]:
        """Steps 3 and 4."""
        manifests = {name: self._ledger(name) for name in self._source.tenants()}
        self._total = sum(file.ref.bytes for each in manifests.values() for file in each.files.values())
        copied = {}
        for name, first in manifests.items():
            manifest = self._live_files(name, first)
            heads = {
                writer: CopiedHead(chain.number, chain.head, chain.sealed_to)
                for writer, chain in sorted(manifest.chains.items())
            }
            rows = sum(file.ref.rows for file in manifest.files.values())
            copied[name] = CopiedTenant(heads, len(manifest.files), rows)
        return copied

    def _ledger(self, tenant: str) -> TenantManifest:
        """Copy the entries that are not copied yet; returns the state they make."""
        folder, states = self._source.ledger(tenant), f"{self._source.state_key(tenant)}/"
        for _ in range(_TRIES_MAX):
            known = len(self.files)
            # One that is gone when its turn comes was packed with others: the next look finds the pack.
            with contextlib.suppress(FileNotFoundError):
                for key in self._blobs.list(self._source.key(folder)):
                    if key not in self.files and not key.startswith(states):
                        self.files[key] = self._copy(self._source.path / key, key)
                try:
                    return self._manifest.replay(tenant)
                except ManifestBroken:
                    # Of entries made during the listing, a later one may be in it without an earlier one.
                    if len(self.files) == known:
                        raise
        raise StoreUnavailable(f"the manifest of {tenant} keeps changing", hint="try again in a moment")

    def _live_files(self, tenant: str, manifest: TenantManifest) -> TenantManifest:
        """Copy the live files of a tenant; returns the manifest whose files they are."""
        taken: dict[Path, FileRef] = {}
        missed: set[Path] = set()
        for _ in range(_TRIES_MAX):
            refs = [file.ref for file in manifest.files.values()]
            gone = {ref.path for ref in refs if ref.path not in taken and not self._take(tenant, ref, taken)}
            if not self._source.tenant(tenant).is_dir():
                raise BackupError(f"{tenant} was deleted while it was copied", hint="run the backup again")
            if gone <= missed:
                break
            # An entry comes before the removal it tells of: what is still listed in a moment is damage.
            missed, manifest = gone, self._ledger(tenant)
        else:
            raise StoreUnavailable(f"the files of {tenant} keep changing", hint="try again in a moment")
        for path in gone:
            self.damaged[self._target.key(path)] = "the file is missing, or in quarantine"
        for path, ref in taken.items():
            if path not in manifest.files:
                self._drop(ref)
                self.damaged.pop(self._target.key(path), None)
        return manifest

    def _take(self, tenant: str, ref: FileRef, taken: dict[Path, FileRef]) -> bool:
        """Copy a live file with its sidecar; False when it is nowhere."""
        key = self._target.key(ref.path)
        copied = self._linked(key, ref)
        for path in (self._source.path / key, self._source.retired(tenant) / ref.path.name):
            if copied is None:
                with contextlib.suppress(FileNotFoundError):
                    copied = self._copy(path, key)
        if copied is None:
            return False
        taken[ref.path] = ref
        self.files[key] = copied
        if copied.sha256 != ref.sha256:
            self.damaged[key] = "its SHA-256 differs from the manifest's"
            self._drop(ref)
            return True
        index = self._target.key(ref.index)
        # Derived: one that is missing is built again when it is needed.
        with contextlib.suppress(FileNotFoundError):
            self.files[index] = self._copy(self._source.path / index, index)
        self._done += ref.bytes
        self._progress(self._done, max(self._total, self._done))
        return True

    def _linked(self, key: str, ref: FileRef) -> CopiedFile | None:
        """The file of the previous backup under another name, read again; None when it cannot be had."""
        if key not in self._older or self._older[key].sha256 != ref.sha256:
            return None
        source = self._older_folder / key
        try:
            found = digest_file(source, key, lambda _: None)
            if found != self._older[key]:
                return None
            make_path(ref.path.parent)
            ref.path.hardlink_to(source)
        except OSError:  # another file system, or gone
            return None
        return found

    def _drop(self, ref: FileRef) -> None:
        for path in (ref.path, ref.index):
            path.unlink(missing_ok=True)
            self.files.pop(self._target.key(path), None)

    def rest(self, control_name: str) -> None:
        """Step 5."""
        keys = [path for path in self._source.keys.rglob("*") if path.is_file()]
        others = [
            path
            for path in self._source.path.iterdir()
            # SQLite's own companions of the database start with its name.
            if path.is_file() and not path.name.startswith((control_name, UNFINISHED_NAME, LIST_NAME))
        ]
        for path in sorted([*keys, *others]):
            if not is_temporary(path.name):
                key = self._source.key(path)
                self.files[key] = self._copy(path, key)

    def _copy(self, source: Path, key: str) -> CopiedFile:
        return copy_file(source, self._target.path / key, key, lambda _: None)
