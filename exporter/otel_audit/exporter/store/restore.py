"""A backup becomes a region root of its own: the same events, and a new writer from number 1 on.

The file `unfinished` lies in the folder until everything is there, checked and durable; no store opens a
folder that has it. Nothing is written before every file of the backup has proved to be what was backed up.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..wal.reader import Damage, read_durable
from .backup import Progress
from .backup_list import LIST_NAME, UNFINISHED_NAME, BackupList, is_empty, read_list, refuse_copies
from .blobs import put_new, sync_folder
from .copying import copy_file, digest_file, sync_tree
from .errors import BackupError
from .frame import Frame
from .partition import RegionRoot
from .verify import verify_tenant

# The old writer's numbers stay its own: a restored copy beside the original would number other rows alike.
_NOT_RESTORED = "writer-id"


def restore(
    source: Path,
    root: RegionRoot,
    *,
    before_use: Callable[[BackupList], None],
    progress: Progress = lambda done, total: None,
) -> BackupList:
    """Make `root`, a new or empty folder, from the backup in `source`; durable and checked on return.

    The root has no writer id: the store that opens it first makes itself a new one, and the chains of the
    old writers go on only with rows of theirs that are still in the write-ahead log.
    before_use: called once when the copy has proved whole, before anything may open it. progress: told
    (bytes done, bytes in all) while the backup is read for the first time, and again while it is copied.
    Raises BackupError, NewerData and the WAL's errors.
    """
    listed = read_list(source)
    if not is_empty(root.path):
        refuse_copies(root.path)
        raise BackupError(f"{root.path} is not empty", hint="give a new folder with --data-dir")
    _check(source, listed, progress)
    put_new(root.path / UNFINISHED_NAME, b"")
    _copy(source, root, listed, progress)
    _verify(root, listed)
    before_use(listed)
    sync_tree(root.path)
    (root.path / UNFINISHED_NAME).unlink()
    sync_folder(root.path)
    return listed


def _check(source: Path, listed: BackupList, progress: Progress) -> None:
    """Read all of the backup. Raises BackupError that names the first damaged file."""
    damaged = []
    done = 0
    for file in listed.files:
        try:
            if digest_file(source / file.path, file.path, lambda _: None) != file:
                damaged.append(f"{file.path}: its bytes are not those of {LIST_NAME}")
        except FileNotFoundError:
            damaged.append(f"{file.path}: the file is missing")
        done += file.bytes
        progress(done, listed.bytes)
    if damaged:
        raise _refused(source, damaged)


def _copy(source: Path, root: RegionRoot, listed: BackupList, progress: Progress) -> None:
    done = 0
    for file in listed.files:
        if file.path != _NOT_RESTORED:
            copied = copy_file(source / file.path, root.path / file.path, file.path, lambda _: None)
            if copied != file:
                raise _refused(source, [f"{file.path}: it changed while it was copied"])
        done += file.bytes
        progress(done, listed.bytes)


def _verify(root: RegionRoot, listed: BackupList) -> None:
    """Raises BackupError when the copy is not what `verify` calls whole, NewerData, NewerWal."""
    known = {Path(name).name for name in listed.damaged}
    problems = [
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
        raise _refused(root.path, problems)


def _refused(folder: Path, problems: list[str]) -> BackupError:
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    return BackupError(f"{folder}: {problems[0]}{more}", hint="it must not be used; choose another backup")
