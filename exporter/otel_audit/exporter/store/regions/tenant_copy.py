"""A whole copy of one tenant, in the layout of a store, for somebody who has only plain tools to check it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from ..errors import StoreError, StoreUnavailable
from ..files.blobs import LocalBlobs, make_folder, put_new
from ..ledger.history import history, write_history
from ..ledger.manifest import Manifest
from ..ledger.verify import Verification, verify_tenant
from ..partition import RegionRoot
from ..snapshot import FileRef

SUMS: Final = "SHA256SUMS"
README: Final = "README.txt"
# Retention takes files at most once an hour, so a second try already finds a still folder.
_TRIES_MAX: Final = 5

_ABOUT: Final = """\
Audit trail of organization {tenant}: {rows:,} events in {files:,} Parquet files, {bytes:,} bytes.

Whole and unchanged?     sha256sum -c SHA256SUMS
With otel-audit:         otel-audit --data-dir . verify --tenant {tenant}
Read it with any engine: store/tenant={tenant}/retention=*/date=*/*.parquet

_ledger/  which files there are and were, each entry with the SHA-256 of the one before it
_index/   derived: finds an event id quickly; may be deleted
Secret keys of the organization are not part of this copy.

Heads of the ledger, which whoever gave you this copy can confirm:
{heads}
"""


class CopyRefused(StoreError):
    """The copy cannot be made there."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What the copy holds."""

    files: int
    rows: int
    bytes: int
    heads: dict[str, str]


def refuse_handed_over(folder: Path) -> None:
    """Raise CopyRefused when `folder` is what `copy_tenant` made: rows added to it would belie its sums."""
    if (folder / SUMS).exists() and (folder / README).exists():
        raise CopyRefused(
            f"{folder} is what 'otel-audit tenant export' made, to be read and checked only",
            hint="check it with 'otel-audit verify'; to run a server choose another --data-dir",
        )


def copy_tenant(
    root: RegionRoot, tenant: str, target: Path, *, progress: Callable[[int], object] = lambda _: None
) -> Copied:
    """Copy live files, ledger, index and quarantine of a tenant into `target`, a new folder.

    Works beside a running server; rows still in the WAL are not in it, so seal first. progress: told of
    every file's bytes. Every file is checked against the manifest on its way.
    Raises CopyRefused (target is there already, a file is damaged), StoreUnavailable (a file is missing).
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise CopyRefused(f"{target} is not an empty folder", hint="name a new one with --to")
    copy = RegionRoot(target)
    for _ in range(_TRIES_MAX):
        try:
            _copy_folder(root, copy, tenant, progress)
            break
        except FileNotFoundError:
            shutil.rmtree(copy.store, ignore_errors=True)  # retention took a file: what is live now?
    else:
        raise StoreUnavailable(
            "a file that the ledger lists is not there",
            hint=f"try again; if it stays so, 'otel-audit verify --tenant {tenant}' names it",
        )
    found = verify_tenant(copy, tenant)
    if found.problems:
        shutil.rmtree(copy.store, ignore_errors=True)
        raise CopyRefused(
            f"the copy would not be whole: {found.problems[0]}",
            hint=f"'otel-audit verify --tenant {tenant}' names all damage; restore those files first",
        )
    _describe(target, found)
    return Copied(found.files, found.rows, found.bytes, found.heads)


def _copy_folder(root: RegionRoot, copy: RegionRoot, tenant: str, progress: Callable[[int], object]) -> None:
    source, target = LocalBlobs(root.path), LocalBlobs(copy.path)
    manifest = Manifest(root, source).load(tenant)
    make_folder(copy.tenant(tenant))
    for writer, chain in manifest.chains.items():
        # Only entries up to the heads just read: later ones name files that are not in this copy.
        entries = islice(history(source, root.ledger_key(tenant, writer)), chain.number)
        write_history(target, copy.ledger_key(tenant, writer), entries)
    refs = [file.ref for file in manifest.files.values()]
    kept = list(source.list(root.key(root.quarantine(tenant))))
    for key in [*(root.key(ref.path) for ref in refs), *kept, *_present(root, refs)]:
        data = source.get(key)
        target.put_new(key, data)
        progress(len(data))


def _present(root: RegionRoot, refs: Iterable[FileRef]) -> list[str]:
    """Sidecars that are there: they are derived, and rebuilt when they are needed."""
    return [root.key(ref.index) for ref in refs if ref.index.exists()]


def _describe(target: Path, found: Verification) -> None:
    heads = "\n".join(f"  {writer} {head}" for writer, head in found.heads.items()) or "  none"
    about = _ABOUT.format(
        tenant=found.tenant, rows=found.rows, files=found.files, bytes=found.bytes, heads=heads
    )
    put_new(target / README, about.encode())
    paths = sorted(path for path in target.rglob("*") if path.is_file() and path.name != SUMS)
    lines = [f"{_sha256(path)}  {path.relative_to(target).as_posix()}\n" for path in paths]
    put_new(target / SUMS, "".join(lines).encode())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
