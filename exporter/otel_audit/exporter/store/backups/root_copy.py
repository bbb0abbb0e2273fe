"""One region's root as it becomes a part of a backup. The order of the steps is backup.py's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ..errors import BackupError, ManifestBroken, StoreUnavailable
from ..files.blobs import LocalBlobs, is_temporary
from ..ledger.entry import TenantManifest
from ..ledger.manifest import Manifest
from ..partition import RegionRoot
from ..regions.known import refuse_gone
from ..snapshot import FileRef
from .backup_list import BackupList, CopiedFile, CopiedHead, CopiedTenant, region_folder
from .backup_log import copy_log
from .copying import Advance, copy_file, digest_file, make_path

# Something moves under a copy when a segment was sealed, a thousand entries were packed or a file expired:
# never many times in the second or so between two looks.
_TRIES_MAX: Final = 20


class RootCopy:
    """A root being copied. files: what is done, damaged: what is left out and why; by the backup's paths."""

    def __init__(
        self,
        source: RegionRoot,
        target: RegionRoot,
        region: str,
        older: BackupList | None,
        older_folder: Path | None,
    ) -> None:
        self._source, self._target, self._region = source, target, region
        self._older = {file.path: file for file in older.files} if older else {}
        self._older_folder = older_folder or Path()
        self._blobs = LocalBlobs(source.path)
        self._manifest = Manifest(target, LocalBlobs(target.path))
        self._manifests: dict[str, TenantManifest] = {}
        self.files: dict[str, CopiedFile] = {}
        self.damaged: dict[str, str] = {}

    @property
    def bytes(self) -> int:
        """Of all live files, once their manifests are copied."""
        return sum(file.ref.bytes for each in self._manifests.values() for file in each.files.values())

    def what_moves(self) -> None:
        """Copy waiting reads, the log and the manifests, each before what it moves on to. Raises DataGone."""
        refuse_gone(self._source)
        make_path(self._target.path)
        self._copy_all(self._source.reads.glob("*.json"))
        for damage in copy_log(self._source.wal, self._target.wal):
            name = self._name(f"wal/{damage.segment:012d}.wal")
            self.damaged[name] = f"{damage.reason} at offset {damage.offset}"
        for path in sorted(self._target.wal.iterdir()):
            name = self._name(self._target.key(path))
            self.files[name] = digest_file(path, name)
        self._manifests = {name: self._ledger(name) for name in self._source.tenants()}

    def live_files(self, advance: Advance) -> dict[str, CopiedTenant]:
        """Copy the files of the manifests. Raises StoreUnavailable, BackupError (a tenant was deleted)."""
        copied = {}
        for tenant, first in self._manifests.items():
            manifest = self._live_files(tenant, first, advance)
            heads = {
                writer: CopiedHead(chain.number, chain.head, chain.sealed_to)
                for writer, chain in sorted(manifest.chains.items())
            }
            rows = sum(file.ref.rows for file in manifest.files.values())
            copied[tenant] = CopiedTenant(self._region, heads, len(manifest.files), rows)
        return copied

    def rest(self, not_named: tuple[str, ...]) -> None:
        """Copy keys, receipts of deletions, and the root's own files whose names do not start like these."""
        self._copy_all(self._source.keys.rglob("*"))
        self._copy_all(self._source.removed.glob("*.json"))
        self._copy_all(path for path in self._source.path.iterdir() if not path.name.startswith(not_named))

    def _ledger(self, tenant: str) -> TenantManifest:
        """Copy the entries that are not copied yet; returns the state they make."""
        folder, states = self._source.ledger(tenant), f"{self._source.state_key(tenant)}/"
        for _ in range(_TRIES_MAX):
            known = len(self.files)
            # One that is gone when its turn comes was packed with others: the next look finds the pack.
            with contextlib.suppress(FileNotFoundError):
                for key in self._blobs.list(self._source.key(folder)):
                    if self._name(key) not in self.files and not key.startswith(states):
                        self._copy(key)
                try:
                    return self._manifest.replay(tenant)
                except ManifestBroken:
                    # Of entries made during the listing, a later one may be in it without an earlier one.
                    if len(self.files) == known:
                        raise
        raise StoreUnavailable(f"the manifest of {tenant} keeps changing", hint="try again in a moment")

    def _live_files(self, tenant: str, manifest: TenantManifest, advance: Advance) -> TenantManifest:
        """Copy the live files of a tenant; returns the manifest whose files they are."""
        taken: dict[Path, FileRef] = {}
        missed: set[Path] = set()
        for _ in range(_TRIES_MAX):
            refs = [file.ref for file in manifest.files.values()]
            gone: set[Path] = set()
            for ref in refs:
                if ref.path in taken:
                    continue
                if self._take(tenant, ref):
                    taken[ref.path] = ref
                    advance(ref.bytes)
                else:
                    gone.add(ref.path)
            if not self._source.tenant(tenant).is_dir():
                raise BackupError(f"{tenant} was deleted while it was copied", hint="run the backup again")
            if gone <= missed:
                break
            # An entry comes before the removal it tells of: what is still listed in a moment is damage.
            missed, manifest = gone, self._ledger(tenant)
        else:
            raise StoreUnavailable(f"the files of {tenant} keep changing", hint="try again in a moment")
        for path in gone:
            self.damaged[self._name(self._target.key(path))] = "the file is missing, or in quarantine"
        for path, ref in taken.items():
            if path not in manifest.files:
                self._drop(ref)
                self.damaged.pop(self._name(self._target.key(path)), None)
        return manifest

    def _take(self, tenant: str, ref: FileRef) -> bool:
        """Copy a live file with its sidecar; False when it is nowhere."""
        key, index = self._target.key(ref.path), self._target.key(ref.index)
        copied = self._linked(key, ref)
        for path in (self._source.path / key, self._source.retired(tenant) / ref.path.name):
            if copied is None:
                with contextlib.suppress(FileNotFoundError):
                    copied = self._copy(key, path)
        if copied is None:
            return False
        if copied.sha256 != ref.sha256:
            self.damaged[self._name(key)] = "its SHA-256 differs from the manifest's"
            self._drop(ref)
            return True
        # Derived: one that is missing is built again when it is needed.
        with contextlib.suppress(FileNotFoundError):
            self._copy(index)
        return True

    def _linked(self, key: str, ref: FileRef) -> CopiedFile | None:
        """The file of the previous backup under another name, read again; None when it cannot be had."""
        name = self._name(key)
        if name not in self._older or self._older[name].sha256 != ref.sha256:
            return None
        try:
            found = digest_file(self._older_folder / name, name)
            if found != self._older[name]:
                return None
            make_path(ref.path.parent)
            ref.path.hardlink_to(self._older_folder / name)
        except OSError:  # another file system, or gone
            return None
        self.files[name] = found
        return found

    def _drop(self, ref: FileRef) -> None:
        for path in (ref.path, ref.index):
            path.unlink(missing_ok=True)
            self.files.pop(self._name(self._target.key(path)), None)

    def _copy_all(self, paths: Iterable[Path]) -> None:
        for path in sorted(paths):
            if path.is_file() and not is_temporary(path.name):
                # What is gone meanwhile was moved on to the store, or belonged to a deleted tenant.
                with contextlib.suppress(FileNotFoundError):
                    self._copy(self._source.key(path))

    def _copy(self, key: str, source: Path | None = None) -> CopiedFile:
        """Copy a file of this root, from another place than its own if `source` says so."""
        name = self._name(key)
        copied = copy_file(source or self._source.path / key, self._target.path / key, name)
        self.files[name] = copied
        return copied

    def _name(self, key: str) -> str:
        return region_folder(self._region) + key
