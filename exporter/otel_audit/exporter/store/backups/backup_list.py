"""`backup.json`: what a backup consists of, written last. A folder without it is not a whole backup.

Format: docs/operations.md.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, Final

import msgspec

from ..errors import BackupError, NewerData
from ..partition import DEFAULT_REGION

BACKUP_VERSION: Final = 1
LIST_NAME: Final = "backup.json"
UNFINISHED_NAME: Final = "unfinished"
"""Lies in a copy, a backup or what is being restored, until all of it is there."""

# A fresh volume has it; it holds nothing of anybody.
_NOT_CONTENT: Final = frozenset({"lost+found"})


class CopiedFile(msgspec.Struct, frozen=True):
    """One file of a backup; `path` is relative to its folder."""

    path: str
    bytes: int
    sha256: str


class CopiedHead(msgspec.Struct, frozen=True):
    """Where one writer's chain ends in the backup."""

    entry: int
    sha256: str
    sealed_to: int


class CopiedTenant(msgspec.Struct, frozen=True):
    """One organization's sealed rows in the backup. heads: by writer."""

    region: str
    heads: dict[str, CopiedHead]
    files: int
    rows: int


class BackupList(msgspec.Struct, frozen=True):
    """All of a backup. writers: by region.

    damaged: live files that were damaged already and are not in it, with the reason.
    """

    version: int
    created: str
    writers: dict[str, str]
    tenants: dict[str, CopiedTenant]
    damaged: dict[str, str]
    files: list[CopiedFile]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


_DECODER: Final = msgspec.json.Decoder(BackupList)
_VERSION: Final = msgspec.json.Decoder(dict[str, Any])


def encode_list(listed: BackupList) -> bytes:
    """The bytes of `backup.json`."""
    return msgspec.json.format(msgspec.json.encode(listed), indent=1) + b"\n"


def read_list(folder: Path) -> BackupList:
    """What the backup in `folder` consists of. Raises BackupError, NewerData."""
    path = folder / LIST_NAME
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise BackupError(
            f"{folder} is no whole backup: {LIST_NAME} is missing",
            hint="the backup was not finished, or this is another folder; choose one that has it",
        ) from error
    try:
        version = _VERSION.decode(raw).get("version")
        if isinstance(version, int) and version > BACKUP_VERSION:
            raise NewerData(
                f"{path} has version {version}, this release knows {BACKUP_VERSION}",
                hint="restore it with the release that made it, or a newer one",
            )
        listed = _DECODER.decode(raw)
    except msgspec.MsgspecError as error:
        raise BackupError(f"{path} cannot be read", hint="it is damaged; choose another backup") from error
    for file in listed.files:
        parts = PurePosixPath(file.path).parts
        if not parts or parts[0] == "/" or ".." in parts:
            raise BackupError(
                f"{path} names {file.path!r}, which is not in it", hint="it was not made by otel-audit"
            )
    return listed


def region_folder(region: str) -> str:
    """Where a region's root lies in a backup: the data directory is the backup itself."""
    return "" if region == DEFAULT_REGION else f"regions/{region}/"


def region_of(path: str) -> tuple[str, str]:
    """Region of a file of a backup, and its path below that region's root."""
    parts = path.split("/", 2)
    return (parts[1], parts[2]) if parts[0] == "regions" and len(parts) == 3 else (DEFAULT_REGION, path)


def is_empty(folder: Path) -> bool:
    """Whether `folder` can take a copy: it is not there, or has nothing in it."""
    return not folder.exists() or all(path.name in _NOT_CONTENT for path in folder.iterdir())


def refuse_inside_copies(folder: Path) -> None:
    """Raise BackupError when `folder` is or lies in a backup: what it holds is listed, and never changes."""
    real = folder.resolve()
    for path in (real, *real.parents):
        if (path / LIST_NAME).exists() or (path / UNFINISHED_NAME).exists():
            raise BackupError(f"{folder} lies in the backup {path}", hint="choose a folder outside of it")


def refuse_copies(folder: Path) -> None:
    """Raise BackupError when `folder` is a copy that nobody may write to: two roots would number alike."""
    if (folder / UNFINISHED_NAME).exists():
        raise BackupError(
            f"{folder} is a copy that was not finished", hint="delete it and run backup or restore again"
        )
    if (folder / LIST_NAME).exists():
        raise BackupError(
            f"{folder} is a backup", hint=f"first: otel-audit restore --from {folder} --data-dir NEW"
        )
