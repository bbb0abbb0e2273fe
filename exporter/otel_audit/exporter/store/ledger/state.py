"""The state of a manifest at some entry, so that start-up and planning do not grow with history.

    line 1   SHA-256 of line 2
    line 2   JSON: tenant, heads (writer → number, SHA-256, sealed_to), live files

Derived data: one that is damaged, or that does not stand on the entries that are there, is not used.
Two are kept, so that a reader never finds none.
"""

from __future__ import annotations

import hashlib
import logging
from typing import Final

import msgspec

from ..files.blobs import Blobs
from ..partition import RegionRoot
from .entry import MANIFEST_VERSION, UNREADABLE, Chain, FileItem, ManifestFile, TenantManifest, check_version
from .history import entry_bytes

log = logging.getLogger(__name__)

# Reading an entry takes some 50 µs: a start reads at most this many a tenant besides the state.
STATE_EVERY_ENTRIES: Final = 100


class _Head(msgspec.Struct, frozen=True):
    number: int
    sha256: str
    sealed_to: int


class _State(msgspec.Struct, frozen=True):
    version: int
    tenant: str
    heads: dict[str, _Head]
    files: list[FileItem]


_DECODER: Final = msgspec.json.Decoder(_State)


def latest_state(blobs: Blobs, root: RegionRoot, tenant: str) -> TenantManifest | None:
    """The newest state that can be trusted, None when history must be read. Raises NewerData."""
    for key in reversed(list(blobs.list(root.state_key(tenant)))):
        try:
            sha256, raw = blobs.get(key).split(b"\n", 1)
        except (FileNotFoundError, ValueError):  # replaced by a newer one a moment ago, or cut off
            continue
        state = _read(raw, sha256)
        if state is not None and state.tenant == tenant and _stands(blobs, root, state):
            return _unpacked(state, root)
        log.error("%s cannot be used; the manifest's history is read instead", key)
    return None


def _read(raw: bytes, sha256: bytes) -> _State | None:
    if hashlib.sha256(raw).hexdigest().encode() != sha256:
        return None
    check_version(raw)
    try:
        return _DECODER.decode(raw)
    except UNREADABLE:
        return None


def _stands(blobs: Blobs, root: RegionRoot, state: _State) -> bool:
    """Whether the entries that the state was made from are the ones on disk."""
    for writer, head in state.heads.items():
        if not head.number:
            continue
        try:
            raw = entry_bytes(blobs, root.ledger_key(state.tenant, writer), head.number)
        except FileNotFoundError:
            return False
        if hashlib.sha256(raw).hexdigest() != head.sha256:
            return False
    return True


def _unpacked(state: _State, root: RegionRoot) -> TenantManifest:
    folder = root.tenant(state.tenant)
    files = (ManifestFile.from_item(item, folder) for item in state.files)
    chains = {name: Chain(head.number, head.sha256, head.sealed_to) for name, head in state.heads.items()}
    return TenantManifest(state.tenant, {file.ref.path: file for file in files}, chains)


def write_state(blobs: Blobs, root: RegionRoot, manifest: TenantManifest) -> None:
    """Keep the state of now for the next start; the two newest stay."""
    folder, tenant_folder = root.state_key(manifest.tenant), root.tenant(manifest.tenant)
    state = _State(
        MANIFEST_VERSION,
        manifest.tenant,
        {name: _Head(chain.number, chain.head, chain.sealed_to) for name, chain in manifest.chains.items()},
        [file.to_item(tenant_folder) for file in manifest.files.values()],
    )
    raw = msgspec.json.encode(state)
    known = list(blobs.list(folder))
    counter = int(known[-1].rpartition("/")[2].partition(".")[0]) + 1 if known else 1
    digest = hashlib.sha256(raw).hexdigest().encode()
    blobs.put_new(f"{folder}/{counter:012d}.json", digest + b"\n" + raw)
    for key in known[:-1]:
        blobs.delete(key)
