"""What a reader sees: an exact, consistent list of verified files and the hot rows above them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class FileRef:
    """One live Parquet file as the manifest describes it. Times are event times, UTC, inclusive.

    index: its sidecar (files.sidecar), derived data that may be missing.
    """

    path: Path
    index: Path
    retention: str
    date: str
    rows: int
    bytes: int
    time_min: datetime
    time_max: datetime
    writer: str
    seq_min: int
    seq_max: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Damage:
    """A file that could not be used: its rows are missing from the answer.

    differs: its bytes were read and are not the manifest's, as opposed to missing or unreadable.
    """

    file: str
    reason: str
    time_from: datetime
    time_to: datetime
    differs: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One tenant's rows at one moment: every acknowledged event, each once.

    files: verified against the manifest, ascending by (date, path).
    hot: rows not yet in a file, schema `store.schema.VIEW`.
    position: writer → highest sequence number seen; `as_of` and the stream's `after` are made of it.
    damaged: files left out because their bytes do not match the manifest.
    """

    tenant: str
    files: tuple[FileRef, ...]
    hot: pa.Table
    position: Mapping[str, int]
    damaged: tuple[Damage, ...] = field(default=())


class SnapshotSource(Protocol):
    """Implemented by the store: in `serve` with its hot rows in memory, in the CLI from the WAL on disk."""

    def snapshot(
        self,
        tenant: str,
        *,
        time_from: datetime | None = None,
        time_to: datetime | None = None,
        as_of: Mapping[str, int] | None = None,
        text: str | None = None,
    ) -> Snapshot:
        """The rows of `tenant`; files that cannot hold an event in [time_from, time_to) are left out.

        text: files that cannot hold it in a free-text column (upper and lower case alike) are left out too.
        as_of: rows a writer numbered above its position there, or by a writer it does not name, are left
        out of `hot`; files may still hold such rows, so queries filter on (writer, seq) as well.
        Raises UnknownTenant.
        """
        ...


@dataclass(frozen=True, slots=True)
class Published:
    """Rows of one tenant that have just become durable, in sequence order. rows: schema VIEW."""

    tenant: str
    writer: str
    seq_min: int
    seq_max: int
    rows: pa.Table
