"""Finds the (event id, content digest) pairs that are already in files."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow.parquet as pq

from ..ledger.entry import ManifestFile
from .sidecar import Sidecars, fingerprints
from .verified import VerifiedFiles


def known_in_files(
    sidecars: Sidecars, verified: VerifiedFiles, files: Iterable[ManifestFile], event_ids: list[str]
) -> dict[str, set[str]]:
    """event id → digests stored under it, for those of `event_ids` that `files` hold.

    A hit is confirmed on the row, so a collision of two fingerprints costs one read and never an event; a
    damaged file confirms nothing. Raises FileNotFoundError when a file is not there.
    """
    low, high = min(event_ids), max(event_ids)
    wanted = fingerprints(event_ids)
    found: dict[str, set[str]] = {}
    for file in files:
        if file.id_max < low or file.id_min > high:
            continue
        sidecar = sidecars.get(file.ref)
        if sidecar is None:
            if verified.check(file.ref) is not None:
                continue
            sidecar = sidecars.rebuild(file.ref)
        numbers = sidecar.fingerprints
        at = np.searchsorted(numbers, wanted)
        hits = numbers[np.minimum(at, len(numbers) - 1)] == wanted
        if hits.any() and verified.check(file.ref) is None:
            _confirm(file, [event_ids[index] for index in np.flatnonzero(hits).tolist()], found)
    return found


def _confirm(file: ManifestFile, event_ids: list[str], found: dict[str, set[str]]) -> None:
    rows = pq.read_table(
        file.ref.path,
        columns=["event_id", "content_digest"],
        filters=[("event_id", "in", event_ids)],
        partitioning=None,
    )
    for event_id, digest in zip(*(rows.column(i).to_pylist() for i in (0, 1)), strict=True):
        found.setdefault(event_id, set()).add(digest)
