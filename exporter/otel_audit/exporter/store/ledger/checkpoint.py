"""A checkpoint: where a tenant's chains ended at one moment, to be kept where this machine cannot write.

The manifest alone does not stop somebody who can write the disk: they can rewrite a row, its entry and all
entries that follow, or put back last week's disk. They cannot change a checkpoint kept elsewhere.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from ..errors import CheckpointUnusable, NewerData
from ..files.blobs import LocalBlobs
from ..partition import TENANT_PATTERN, RegionRoot
from .entry import Entry, text_of
from .history import entry_bytes
from .manifest import Manifest

CHECKPOINT_VERSION: Final = 1


_Count = Annotated[int, msgspec.Meta(ge=0)]
_Time = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z$")]
_Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_Tenant = Annotated[str, msgspec.Meta(pattern=f"^{TENANT_PATTERN.pattern}$")]


class Mark(msgspec.Struct, frozen=True):
    """One writer's chain: its last entry's number and SHA-256, its highest row in a file, and its rows.

    rows: live now; rows_sealed: all that ever came to files.
    """

    entry: Annotated[int, msgspec.Meta(ge=1)]
    sha256: _Sha256
    sealed_to: _Count
    rows: _Count
    rows_sealed: _Count


class Checkpoint(msgspec.Struct, frozen=True):
    """One tenant at one moment. time: RFC 3339, UTC."""

    version: Annotated[int, msgspec.Meta(ge=1)]
    tenant: _Tenant
    time: _Time
    writers: dict[str, Mark]


_DECODER: Final = msgspec.json.Decoder(Checkpoint)
_VERSION: Final = msgspec.json.Decoder(dict[str, Any])


def take_checkpoint(root: RegionRoot, tenant: str, now: datetime) -> Checkpoint:
    """The chains of `tenant` as they are, read from the start. Raises ManifestBroken, NewerData."""
    sealed: dict[str, int] = {}

    def count(entry: Entry) -> None:
        if entry.kind == "seal":
            sealed[entry.writer] = sealed.get(entry.writer, 0) + sum(item.rows for item in entry.add)

    manifest = Manifest(root, LocalBlobs(root.path)).replay(tenant, count)
    live: dict[str, int] = {}
    for file in manifest.files.values():
        live[file.ref.writer] = live.get(file.ref.writer, 0) + file.ref.rows
    marks = {
        writer: Mark(chain.number, chain.head, chain.sealed_to, live.get(writer, 0), sealed.get(writer, 0))
        for writer, chain in sorted(manifest.chains.items())
        if chain.number
    }
    return Checkpoint(CHECKPOINT_VERSION, tenant, text_of(now), marks)


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """A checkpoint as its file."""
    return msgspec.json.format(msgspec.json.encode(checkpoint), indent=1) + b"\n"


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in a file. Raises CheckpointUnusable, NewerData."""
    try:
        raw = path.read_bytes()
        version = _VERSION.decode(raw).get("version")
        if isinstance(version, int) and version > CHECKPOINT_VERSION:
            raise NewerData(
                f"{path} has version {version}, this release knows {CHECKPOINT_VERSION}",
                hint="verify it with the release that wrote it, or a newer one",
            )
        found = _DECODER.decode(raw)
    except OSError as error:
        raise CheckpointUnusable(
            f"cannot read {path}: {error.strerror}", hint="give a file that `otel-audit checkpoint` wrote"
        ) from error
    except msgspec.MsgspecError as error:
        raise CheckpointUnusable(
            f"{path} is not a checkpoint: {error}", hint="give a file that `otel-audit checkpoint` wrote"
        ) from error
    if not found.writers:
        raise CheckpointUnusable(
            f"{path} names no writer, so it proves nothing",
            hint="give a file that `otel-audit checkpoint` wrote",
        )
    return found


def deviations(root: RegionRoot, checkpoint: Checkpoint) -> list[str]:
    """In what the chains do not extend the checkpoint; empty when they do.

    Only the marked entries are compared: that all others lead from one to the next is `verify_tenant`'s part.
    Raises ManifestBroken, NewerData.
    """
    chains = Manifest(root, LocalBlobs(root.path)).load(checkpoint.tenant).chains
    found = []
    for writer, mark in checkpoint.writers.items():
        number = chains[writer].number if writer in chains else 0
        if number < mark.entry:
            found.append(
                f"older than the checkpoint of {checkpoint.time}: the chain of {writer} ends at entry "
                f"{number}, the checkpoint knows {mark.entry}; the disk was put back to an earlier state, "
                "or entries were removed"
            )
            continue
        folder = root.ledger_key(checkpoint.tenant, writer)
        try:
            raw = entry_bytes(LocalBlobs(root.path), folder, mark.entry)
        except FileNotFoundError:
            # The manifest's state spares the reading of old entries, so nobody has missed it yet.
            found.append(f"entry {mark.entry} of {writer}, which the checkpoint knows, is missing")
            continue
        if hashlib.sha256(raw).hexdigest() != mark.sha256:
            found.append(
                f"history was rewritten after the checkpoint of {checkpoint.time}: entry {mark.entry} of "
                f"{writer} is not the one it knows; that entry or one before it was changed"
            )
    return found


def uncovered(root: RegionRoot, checkpoint: Checkpoint) -> int:
    """Rows in live files, at most, of which the checkpoint proves nothing: they came later.

    Raises ManifestBroken, NewerData.
    """
    manifest = Manifest(root, LocalBlobs(root.path)).load(checkpoint.tenant)
    rows = 0
    for file in manifest.files.values():
        mark = checkpoint.writers.get(file.ref.writer)
        # A merged file may hold both: which of its rows came later is not in the manifest.
        rows += max(0, min(file.ref.rows, file.ref.seq_max - (mark.sealed_to if mark else 0)))
    return rows
