"""A consistent copy of a data directory and its regions, made while a server may be writing them.

Nothing is held up for it; the order makes the copy whole. Each step covers what may have left the one before:

1. the control database, and reads that wait to be recorded: an event leaves either only once a store has it;
2. the write-ahead log up to its durable offset: a row leaves it only once it is in a file of the manifest,
   and one that is in both is dropped by its number;
3. each manifest: entries only ever appear, so whatever was copied is a state that once was;
4. the live files of that state; one that compaction replaced lies in `_retired/` for an hour, one that is
   gone for good was removed by a later entry: back to 3;
5. keys and a root's other files: a tenant's key is made before its first row and never changes.

Every event acknowledged before the start is in 2 or 4. Then all is synced, and `backup.json` is written.
Not copied: `run/`, exports, retired and quarantined files, and the manifest's states, which are derived.
A region's root other than the data directory becomes the folder `regions/<name>/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from ..errors import BackupError
from ..files.blobs import put_new, sync_folder
from ..ledger.entry import text_of
from ..partition import RegionRoot
from .backup_list import (
    BACKUP_VERSION,
    LIST_NAME,
    UNFINISHED_NAME,
    BackupList,
    CopiedTenant,
    encode_list,
    is_empty,
    read_list,
    refuse_inside_copies,
    region_folder,
)
from .copying import Progress, digest_file, sync_tree
from .root_copy import RootCopy


def back_up(
    roots: Mapping[str, RegionRoot],
    target: Path,
    *,
    copy_control: Callable[[Path], Path],
    now: datetime,
    previous: Path | None = None,
    despite_damage: bool = False,
    progress: Progress = lambda done, total: None,
) -> BackupList:
    """Copy every region's root into `target`, an empty or new folder; durable and whole on return.

    copy_control: writes the control database into a folder and returns the file. previous: an earlier
    backup; Parquet files it has are linked instead of copied where that is possible.
    despite_damage: leave out live files that are damaged instead of refusing.
    progress: told of the Parquet files, nearly all of a backup.
    Raises BackupError, StoreUnavailable, ManifestBroken, NewerData, OSError. What was copied until then
    stays, without `backup.json`: with a dying disk it may be all there is.
    """
    _refuse_target(target, roots)
    older = read_list(previous) if previous else None
    put_new(target / UNFINISHED_NAME, b"")
    control = copy_control(target)
    copies = {
        region: RootCopy(root, RegionRoot(target / region_folder(region)), region, older, previous)
        for region, root in roots.items()
    }
    for copy in copies.values():
        copy.what_moves()
    total, done = sum(copy.bytes for copy in copies.values()), 0

    def advance(size: int) -> None:
        nonlocal done
        done += size
        progress(min(done, total), total)

    tenants: dict[str, CopiedTenant] = {}
    for copy in copies.values():
        tenants |= copy.live_files(advance)
        # SQLite's own companions of the database start with its name.
        copy.rest(not_named=(control.name, UNFINISHED_NAME, LIST_NAME))
    damaged = {name: reason for copy in copies.values() for name, reason in copy.damaged.items()}
    if damaged and not despite_damage:
        raise _damage(damaged)
    files = [digest_file(control, control.name)]
    listed = BackupList(
        version=BACKUP_VERSION,
        created=text_of(now),
        writers={region: (root.path / "writer-id").read_text().strip() for region, root in roots.items()},
        tenants=tenants,
        damaged=damaged,
        files=files + [file for copy in copies.values() for file in copy.files.values()],
    )
    sync_tree(target)
    put_new(target / LIST_NAME, encode_list(listed))
    (target / UNFINISHED_NAME).unlink()
    sync_folder(target)
    return listed


def _refuse_target(target: Path, roots: Mapping[str, RegionRoot]) -> None:
    if not is_empty(target):
        raise BackupError(f"{target} is not empty", hint="give a new folder with --to")
    refuse_inside_copies(target)
    for root in roots.values():
        if target.resolve().is_relative_to(root.path.resolve()):
            raise BackupError(
                f"{target} is in the data directory {root.path}", hint="give a folder on another disk"
            )


def _damage(damaged: Mapping[str, str]) -> BackupError:
    name, reason = next(iter(damaged.items()))
    more = f", and {len(damaged) - 1} more" if len(damaged) > 1 else ""
    return BackupError(
        f"{name}: {reason}{more}",
        hint="put it back from an earlier backup, or leave it out with --despite-damage",
    )
