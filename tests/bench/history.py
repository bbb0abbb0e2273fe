"""A million manifest entries: start-up and planning do not grow with history."""

from __future__ import annotations

import hashlib
import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from otel_audit.exporter.store.files.blobs import LocalBlobs
from otel_audit.exporter.store.files.verified import overlapping
from otel_audit.exporter.store.ledger.entry import MANIFEST_VERSION, encode_entry, text_of
from otel_audit.exporter.store.ledger.history import write_history
from otel_audit.exporter.store.ledger.manifest import Manifest
from otel_audit.exporter.store.ledger.state import write_state
from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.store import Store

ENTRIES = 1_000_000
DAYS = 180
# Entries that came after the last state, as many as there ever are, and one short of it.
AFTER_STATE = 99
START_S_MAX = 2.0
PLAN_MS_MAX = 50.0
WRITER = "w000000000000"


def million_entries(folder: Path) -> dict[str, Any]:
    """Seals of 180 days, each closed day merged to one file; the newest day's files are still apart."""
    entries = int(os.environ.get("ENTRIES", str(ENTRIES)))
    root = RegionRoot(folder / "data")
    blobs = LocalBlobs(root.path)
    chain = _Chain(entries)
    history = list(chain.entries())
    write_history(blobs, root.ledger_key("acme", WRITER), history[:-AFTER_STATE])
    manifest = Manifest(root, blobs)
    began = time.perf_counter()
    state = manifest.replay("acme")
    replay_s = time.perf_counter() - began
    write_state(blobs, root, state)
    for raw in history[-AFTER_STATE:]:
        number = json.loads(raw)["number"]
        blobs.put_new(f"{root.ledger_key('acme', WRITER)}/{number:012d}.json", raw)
    began = time.perf_counter()
    loaded = manifest.load("acme")
    load_s = time.perf_counter() - began
    began = time.perf_counter()
    store = Store(root)
    start_s = time.perf_counter() - began
    day = chain.start + timedelta(days=DAYS // 2)
    plans = []
    for _ in range(20):
        began = time.perf_counter()
        refs = [file.ref for file in loaded.files.values()]
        planned = overlapping(refs, day, day + timedelta(days=1))
        plans.append(1000 * (time.perf_counter() - began))
    store.close()
    ok = start_s < START_S_MAX and max(plans) < PLAN_MS_MAX
    return {
        "entries": entries,
        "live_files": len(loaded.files),
        "files_of_a_day": len(planned),
        "ledger_files": sum(1 for _ in root.ledger("acme").rglob("*.*")),
        "load_s": round(load_s, 3),
        "cold_start_s": round(start_s, 3),
        "plan_day_ms_max": round(max(plans), 2),
        "replay_all_s": round(replay_s, 1),
        "ok": ok,
    }


class _Chain:
    """Entries as the store writes them, without the Parquet files they name."""

    def __init__(self, entries: int) -> None:
        self._count = entries
        self.start = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        self.start -= timedelta(days=DAYS - 1)
        self._number, self._head, self._seq = 0, "0" * 64, 0

    def entries(self) -> Any:
        """`count` entries, the last day's seals not merged."""
        a_day = self._count // DAYS
        for back in range(DAYS):
            day = self.start + timedelta(days=back)
            last = back == DAYS - 1
            seals = a_day - 1 if not last else self._count - self._number
            files = []
            for at in range(seals):
                self._seq += 10
                file = self._file(day + timedelta(seconds=at), self._seq - 9, self._seq)
                files.append(file)
                yield self._entry("seal", [file], [], (self._seq - 9, self._seq))
            if not last:
                merged = self._file(day, self._seq - 10 * seals + 1, self._seq, rows=10 * seals)
                yield self._entry("compact", [merged], files, None)

    def _file(self, at: datetime, low: int, high: int, rows: int = 10) -> dict[str, Any]:
        day = at.date().isoformat()
        name = f"{WRITER}-{low:012d}-{high:012d}-{rows:08x}"
        return {
            "path": f"retention=standard/date={day}/{name}.parquet", "sha256": "ab" * 32, "bytes": 20_000,
            "rows": rows, "writer": WRITER, "retention": "standard", "date": day, "time_min": text_of(at),
            "time_max": text_of(at + timedelta(seconds=9)), "seq_min": low, "seq_max": high,
            "id_min": "0" * 36, "id_max": "f" * 36, "index": f"{name}.idx",
        }  # fmt: skip

    def _entry(self, kind: str, add: list[Any], remove: list[Any], seq: tuple[int, int] | None) -> bytes:
        self._number += 1
        raw = encode_entry(
            {
                "version": MANIFEST_VERSION, "tenant": "acme", "writer": WRITER, "number": self._number,
                "previous": self._head, "kind": kind, "created": text_of(self.start),
                "seq_from": seq[0] if seq else None, "seq_to": seq[1] if seq else None,
                "add": add, "remove": remove, "facts": {"actor": "bench"},
            }
        )  # fmt: skip
        self._head = hashlib.sha256(raw).hexdigest()
        return raw
