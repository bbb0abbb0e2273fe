"""The manifest: which files make up a tenant's rows, as numbered create-only entries.

    <tenant folder>/_ledger/<writer>/<12-digit number>.json

Each entry carries the SHA-256 of the one before it, so none can be changed, dropped or inserted
unseen. Live files = added - removed over all entries; a removal is final and names are never reused.
An entry of kind `seal` covers one contiguous sequence range of its writer with all its files.
Format: docs/parquet-layout.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from .blobs import put_new
from .errors import ManifestBroken, NewerData
from .partition import RegionRoot
from .snapshot import FileRef

MANIFEST_VERSION: Final = 1
GENESIS: Final = "0" * 64


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A file as an entry lists it; `path` is relative to the tenant's folder."""

    ref: FileRef
    id_min: str
    id_max: str
    index: str

    def to_json(self, tenant_folder: Path) -> dict[str, Any]:
        ref = self.ref
        return {
            "path": ref.path.relative_to(tenant_folder).as_posix(),
            "sha256": ref.sha256,
            "bytes": ref.bytes,
            "rows": ref.rows,
            "retention": ref.retention,
            "date": ref.date,
            "time_min": _text(ref.time_min),
            "time_max": _text(ref.time_max),
            "seq_min": ref.seq_min,
            "seq_max": ref.seq_max,
            "id_min": self.id_min,
            "id_max": self.id_max,
            "index": self.index,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], tenant_folder: Path, writer: str) -> ManifestFile:
        ref = FileRef(
            path=tenant_folder / data["path"],
            retention=data["retention"],
            date=data["date"],
            rows=data["rows"],
            bytes=data["bytes"],
            time_min=datetime.fromisoformat(data["time_min"]),
            time_max=datetime.fromisoformat(data["time_max"]),
            writer=writer,
            seq_min=data["seq_min"],
            seq_max=data["seq_max"],
            sha256=data["sha256"],
        )
        return cls(ref, data["id_min"], data["id_max"], data["index"])


@dataclass(slots=True)
class Chain:
    """Head of one writer's entries for one tenant."""

    number: int = 0
    head: str = GENESIS
    sealed_to: int = 0
    head_path: Path | None = None


@dataclass(slots=True)
class TenantManifest:
    """The state after all entries of one tenant. files: by path."""

    tenant: str
    files: dict[Path, ManifestFile] = field(default_factory=dict)
    removed: set[Path] = field(default_factory=set)
    chains: dict[str, Chain] = field(default_factory=dict)

    def sealed_to(self, writer: str) -> int:
        """Highest sequence number of `writer` that is in a file, 0 for none."""
        chain = self.chains.get(writer)
        return chain.sealed_to if chain else 0


class Manifest:
    """Reads and extends the manifests of a region root. Not thread-safe: the store holds the lock."""

    def __init__(self, root: RegionRoot) -> None:
        self._root = root

    def load(self, tenant: str) -> TenantManifest:
        """Read and check every entry of a tenant. Raises ManifestBroken, NewerData."""
        state = TenantManifest(tenant)
        ledger = self._root.ledger(tenant)
        writers = sorted(path for path in ledger.iterdir() if path.is_dir()) if ledger.is_dir() else []
        # A removal may stand in another writer's chain than the addition: add all first.
        removals: list[Path] = []
        for folder in writers:
            for path in sorted(folder.glob("[0-9]*.json")):
                removals += self._apply_entry(state, folder.name, path)
        self._remove(state, removals)
        return state

    def _apply_entry(self, state: TenantManifest, writer: str, path: Path) -> list[Path]:
        raw = path.read_bytes()
        chain = state.chains.setdefault(writer, Chain())
        try:
            entry = json.loads(raw)
            version = entry["version"]
            known = (entry["tenant"], entry["writer"], entry["number"], entry["previous"])
        except (ValueError, KeyError, TypeError) as error:
            raise ManifestBroken(
                f"manifest entry {path.name} of {state.tenant} cannot be read",
                tenant=state.tenant,
                entry=str(path),
            ) from error
        if version > MANIFEST_VERSION:
            raise NewerData(
                f"{path.name} has manifest version {version}, this release knows {MANIFEST_VERSION}",
                hint="start the newer release",
            )
        if known != (state.tenant, writer, chain.number + 1, chain.head) or path.stem != f"{known[2]:012d}":
            raise ManifestBroken(
                f"manifest entry {path.name} of {state.tenant} does not follow the one before it",
                tenant=state.tenant,
                entry=str(path),
            )
        self._advance(state, chain, entry, raw, path)
        folder = self._root.tenant(state.tenant)
        return [folder / item["path"] for item in entry["remove"]]

    def _advance(
        self, state: TenantManifest, chain: Chain, entry: Mapping[str, Any], raw: bytes, path: Path
    ) -> None:
        folder = self._root.tenant(state.tenant)
        for item in entry["add"]:
            file = ManifestFile.from_json(item, folder, entry["writer"])
            state.files[file.ref.path] = file
        chain.number = entry["number"]
        chain.head = hashlib.sha256(raw).hexdigest()
        chain.head_path = path
        if entry["kind"] == "seal":
            chain.sealed_to = entry["seq_to"]

    @staticmethod
    def _remove(state: TenantManifest, paths: Iterable[Path]) -> None:
        for path in paths:
            state.files.pop(path, None)
            state.removed.add(path)

    def commit(
        self,
        state: TenantManifest,
        writer: str,
        kind: str,
        *,
        add: Sequence[ManifestFile] = (),
        remove: Sequence[ManifestFile] = (),
        seq: tuple[int, int] | None = None,
        facts: Mapping[str, Any] | None = None,
        now: datetime,
    ) -> bytes:
        """Make one entry durable; `apply` makes it visible.

        kind: `seal` (seq is its range) or `retention`. facts: policy, actor, reason.
        Returns the entry's bytes. Raises FileExistsError when another process wrote that number.
        """
        folder = self._root.tenant(state.tenant)
        chain = state.chains.get(writer, Chain())
        entry = {
            "version": MANIFEST_VERSION,
            "tenant": state.tenant,
            "writer": writer,
            "number": chain.number + 1,
            "previous": chain.head,
            "kind": kind,
            "created": _text(now),
            "seq_from": seq[0] if seq else None,
            "seq_to": seq[1] if seq else None,
            "add": [file.to_json(folder) for file in add],
            "remove": [file.to_json(folder) for file in remove],
            "facts": dict(facts or {}),
        }
        raw = json.dumps(entry, indent=1, sort_keys=True).encode()
        put_new(self._path(state.tenant, writer, chain.number + 1), raw)
        return raw

    def apply(self, state: TenantManifest, writer: str, raw: bytes) -> None:
        """Make a committed entry visible in `state`."""
        entry = json.loads(raw)
        chain = state.chains.setdefault(writer, Chain())
        self._advance(state, chain, entry, raw, self._path(state.tenant, writer, entry["number"]))
        folder = self._root.tenant(state.tenant)
        self._remove(state, [folder / item["path"] for item in entry["remove"]])

    def _path(self, tenant: str, writer: str, number: int) -> Path:
        return self._root.ledger(tenant) / writer / f"{number:012d}.json"


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
