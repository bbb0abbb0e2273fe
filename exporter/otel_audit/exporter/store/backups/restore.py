"""A backup becomes a data directory of its own: the same events, and new writers from number 1 on.

The file `unfinished` lies in each root until everything is there, checked and durable; no store opens a
folder that has it. Nothing is written before every file of the backup has proved to be what was backed up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from ...wal.reader import Damage, read_durable
from ..errors import BackupError
from ..files.blobs import put_new, sync_folder
from ..intake.frame import Frame
from ..ledger.verify import verify_tenant
from ..partition import RegionRoot
from .backup_list import (
    LIST_NAME,
    UNFINISHED_NAME,
    BackupList,
    is_empty,
    read_list,
    refuse_copies,
    refuse_inside_copies,
    region_of,
)
from .copying import Progress, copy_file, digest_file, sync_tree

# The old writer's numbers stay its own: a restored copy beside the original would number other rows alike.
_NOT_RESTORED: Final = "writer-id"


def restore(
    source: Path,
    roots: Mapping[str, RegionRoot],
    *,
    before_use: Callable[[BackupList], None],
    progress: Progress = lambda done, total: None,
) -> BackupList:
    """Make `roots` (by region), new or empty folders, from the backup in `source`; durable on return.

    The roots have no writer ids: the store that opens one first makes itself a new one, and the chains of
    the old writers go on only with rows of theirs that are still in a write-ahead log.
    before_use: called once when the copy has proved whole, before anything may open it. progress: told while
    the backup is read for the first time, and again while it is copied.
    Raises BackupError, NewerData and the WAL's errors.
    """
    listed = read_list(source)
    used = {region: _root(roots, region) for region in listed.writers}
    for root in used.values():
        if not is_empty(root.path):
            refuse_copies(root.path)
            raise BackupError(f"{root.path} is not empty", hint="give a new folder with --data-dir")
        refuse_inside_copies(root.path)
    _check(source, listed, progress)
    for root in used.values():
        put_new(root.path / UNFINISHED_NAME, b"")
    _copy(source, used, listed, progress)
    _verify(source, used.values(), listed)
    before_use(listed)
    for root in used.values():
        sync_tree(root.path)
    for root in used.values():
        (root.path / UNFINISHED_NAME).unlink()
        sync_folder(root.path)
    return listed


def _root(roots: Mapping[str, RegionRoot], region: str) -> RegionRoot:
    if region not in roots:
        raise BackupError(
            f"the backup holds region {region}, which is not configured",
            hint=f"set regions.{region} to a new folder; name the configuration with --config",
        )
    return roots[region]


def _check(source: Path, listed: BackupList, progress: Progress) -> None:
    """Read all of the backup. Raises BackupError that names the first damaged file."""
    damaged = []
    done = 0
    for file in listed.files:
        try:
            if digest_file(source / file.path, file.path) != file:
                damaged.append(f"{file.path}: its bytes are not those of {LIST_NAME}")
        except FileNotFoundError:
            damaged.append(f"{file.path}: the file is missing")
        done += file.bytes
        progress(done, listed.bytes)
    if damaged:
        raise _refused(source, damaged)


def _copy(source: Path, roots: Mapping[str, RegionRoot], listed: BackupList, progress: Progress) -> None:
    done = 0
    for file in listed.files:
        region, path = region_of(file.path)
        if path != _NOT_RESTORED:
            copied = copy_file(source / file.path, _root(roots, region).path / path, file.path)
            if copied != file:
                raise _refused(source, [f"{file.path}: it changed while it was copied"])
        done += file.bytes
        progress(done, listed.bytes)


def _verify(source: Path, roots: Iterable[RegionRoot], listed: BackupList) -> None:
    """Raises BackupError when the copy is not what `verify` calls whole, NewerData, NewerWal."""
    known = {Path(name).name for name in listed.damaged}
    problems = []
    for root in roots:
        problems += [
            f"{tenant}: {problem}"
            for tenant in root.tenants()
            for problem in verify_tenant(root, tenant).problems
            if problem.partition(":")[0] not in known
        ]
        lost: list[Damage] = []
        for _, data in read_durable(root.wal, on_damage=lost.append):
            Frame.decode(data)
        problems += [f"wal/{damage.segment:012d}.wal: {damage.reason}" for damage in lost]
    if problems:
        raise _refused(source, problems)


def _refused(folder: Path, problems: list[str]) -> BackupError:
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    return BackupError(f"{folder}: {problems[0]}{more}", hint="it must not be used; choose another backup")
