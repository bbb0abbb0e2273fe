"""One manifest entry and what entries add up to."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from ..errors import ManifestBroken, NewerData
from ..snapshot import FileRef

# Raised with the form of entries and with schema.SCHEMA_VERSION: an entry vouches for its files, so an older
# release refuses their columns without opening one.
MANIFEST_VERSION: Final = 1
GENESIS: Final = "0" * 64
# msgspec lets the second one through for a name that is no UTF-8.
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError)


class FileItem(msgspec.Struct, frozen=True):
    """A file as an entry lists it; `path` is relative to the tenant's folder, `index` to its `_index/`."""

    path: str
    sha256: str
    bytes: int
    rows: int
    writer: str
    retention: str
    date: str
    time_min: str
    time_max: str
    seq_min: int
    seq_max: int
    id_min: str
    id_max: str
    index: str


class Entry(msgspec.Struct, frozen=True):
    """One entry; `facts` tell who and why."""

    version: int
    tenant: str
    writer: str
    number: int
    previous: str
    kind: str
    created: str
    seq_from: int | None
    seq_to: int | None
    add: list[FileItem]
    remove: list[FileItem]
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A live file: what readers see of it, and what only the store needs."""

    ref: FileRef
    id_min: str
    id_max: str

    def to_item(self, tenant_folder: Path) -> FileItem:
        ref = self.ref
        return FileItem(
            path=ref.path.relative_to(tenant_folder).as_posix(),
            sha256=ref.sha256,
            bytes=ref.bytes,
            rows=ref.rows,
            writer=ref.writer,
            retention=ref.retention,
            date=ref.date,
            time_min=text_of(ref.time_min),
            time_max=text_of(ref.time_max),
            seq_min=ref.seq_min,
            seq_max=ref.seq_max,
            id_min=self.id_min,
            id_max=self.id_max,
            index=ref.index.name,
        )

    @classmethod
    def from_item(cls, item: FileItem, tenant_folder: Path) -> ManifestFile:
        ref = FileRef(
            path=tenant_folder / item.path,
            index=tenant_folder / "_index" / item.index,
            retention=item.retention,
            date=item.date,
            rows=item.rows,
            bytes=item.bytes,
            time_min=datetime.fromisoformat(item.time_min),
            time_max=datetime.fromisoformat(item.time_max),
            writer=item.writer,
            seq_min=item.seq_min,
            seq_max=item.seq_max,
            sha256=item.sha256,
        )
        return cls(ref, item.id_min, item.id_max)


@dataclass(slots=True)
class Chain:
    """Head of one writer's entries for one tenant. sealed_to: its highest number that is in a file."""

    number: int = 0
    head: str = GENESIS
    sealed_to: int = 0


@dataclass(slots=True)
class TenantManifest:
    """The state after all entries of one tenant. files: by path."""

    tenant: str
    files: dict[Path, ManifestFile] = field(default_factory=dict)
    chains: dict[str, Chain] = field(default_factory=dict)

    def sealed_to(self, writer: str) -> int:
        """Highest sequence number of `writer` that is in a file, 0 for none."""
        chain = self.chains.get(writer)
        return chain.sealed_to if chain else 0


_DECODER: Final = msgspec.json.Decoder(Entry)
_CHECKED: Final = re.compile(rb'(.*), "crc32": "([0-9a-f]{8})"\}', re.DOTALL)
_VERSION: Final = msgspec.json.Decoder(dict[str, Any])


def encode_entry(fields: Mapping[str, Any]) -> bytes:
    """An entry's bytes: JSON that ends with the CRC-32 of all before that member."""
    # Every other entry is covered by the hash in the one after it; the newest would be believed as it is.
    body = json.dumps(fields).encode()[:-1]
    return body + b', "crc32": "%08x"}' % zlib.crc32(body)


def entry_of(raw: bytes, tenant: str) -> Entry:
    """The entry in `raw`. Raises ManifestBroken, NewerData."""
    found = _CHECKED.fullmatch(raw)
    if found is None:
        check_version(raw)
    if found is None or int(found[2], 16) != zlib.crc32(found[1]):
        raise _unreadable(tenant)
    try:
        entry = _DECODER.decode(raw)
    except UNREADABLE as error:
        check_version(raw)
        raise _unreadable(tenant) from error
    if entry.version > MANIFEST_VERSION:
        check_version(raw)
    return entry


def _unreadable(tenant: str) -> ManifestBroken:
    return ManifestBroken(
        f"a manifest entry of {tenant} is damaged: it cannot be read", tenant=tenant, entry="the ledger"
    )


def check_version(raw: bytes) -> None:
    """Raise NewerData for a version this release does not know, whatever else has changed with it."""
    try:
        version = _VERSION.decode(raw).get("version")
    except UNREADABLE:
        return
    if isinstance(version, int) and version > MANIFEST_VERSION:
        raise NewerData(
            f"the manifest has version {version}, this release knows {MANIFEST_VERSION}",
            hint="start the newer release",
        )


def text_of(moment: datetime) -> str:
    """A moment as entries write it: RFC 3339, UTC, µs."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
