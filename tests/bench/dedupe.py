"""Memory of deduplication: 2,000 events a second for seven days, ids simulated."""

from __future__ import annotations

import random
import struct
import time
import uuid
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from otel_audit.exporter.store.files.blobs import LocalBlobs
from otel_audit.exporter.store.files.fingerprints import known_in_files
from otel_audit.exporter.store.files.sidecar import MAGIC, Sidecars
from otel_audit.exporter.store.files.verified import VerifiedFiles
from otel_audit.exporter.store.ledger.entry import ManifestFile
from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.snapshot import FileRef

EVENTS_A_SECOND = 2_000
DAYS = 7
# What a merged file holds at most: 128 MB.
ROWS_A_FILE = 1_400_000
BATCH = 512
BATCHES = 3_000
MEMORY_MB_MAX = 200.0


def ids_of_a_week(folder: Path) -> dict[str, Any]:
    """Look up current ids and late repeats among 1.2 billion; how much memory came with it.

    The sidecars are real files of random fingerprints; the Parquet files beside them are not needed, because
    a random fingerprint is never hit.
    """
    root = RegionRoot(folder / "data")
    start = datetime.now(UTC) - timedelta(days=DAYS)
    total = EVENTS_A_SECOND * 86_400 * DAYS
    files = [_file(root, start, n) for n in range(total // ROWS_A_FILE)]
    draw = random.Random(5)
    before = _memory_mb()
    sidecars, verified = Sidecars(root, LocalBlobs(root.path)), VerifiedFiles()
    began = time.perf_counter()
    for number in range(BATCHES):
        # One batch in twenty comes again after minutes or days, as a spool or a Collector sends it.
        back = draw.uniform(0, DAYS * 86_400) if number % 20 == 0 else draw.uniform(0, 30)
        at = datetime.now(UTC) - timedelta(seconds=back)
        known_in_files(sidecars, verified, files, [_id(at, draw) for _ in range(BATCH)])
    passed = time.perf_counter() - began
    memory = {name: round(value - before[name], 1) for name, value in _memory_mb().items()}
    return {
        "ids": total,
        "files": len(files),
        "memory_mb": memory,
        "ids_looked_up_a_second": round(BATCHES * BATCH / passed),
        "memory_mb_max": MEMORY_MB_MAX,
        "ok": sum(memory.values()) <= MEMORY_MB_MAX,
    }


def _file(root: RegionRoot, start: datetime, number: int) -> ManifestFile:
    seconds = ROWS_A_FILE / EVENTS_A_SECOND
    low, high = (start + timedelta(seconds=seconds * (number + n)) for n in (0, 1))
    path = root.tenant("acme") / f"retention=standard/date={low.date()}/{number}.parquet"
    index = root.index("acme") / f"{number}.idx"
    index.parent.mkdir(parents=True, exist_ok=True)
    numbers = np.sort(np.random.default_rng(number).integers(0, 2**64, ROWS_A_FILE, np.uint64))
    body = struct.pack("<8sQQ", MAGIC, ROWS_A_FILE, 0) + numbers.tobytes()
    index.write_bytes(body + struct.pack("<I", zlib.crc32(body)))
    ref = FileRef(
        path, index, "standard", low.date().isoformat(), ROWS_A_FILE, 1, low, high, "w1", 1, 1, "ab" * 32
    )
    draw = random.Random(number)
    return ManifestFile(ref, _id(low, draw), _id(high, draw))


def _id(at: datetime, draw: random.Random) -> str:
    millis, bits = int(at.timestamp() * 1000), draw.getrandbits(74)
    return str(uuid.UUID(int=millis << 80 | 7 << 76 | (bits >> 62) << 64 | 2 << 62 | bits % 2**62))


def _memory_mb() -> dict[str, float]:
    """What this process has for itself, and what it has mapped of files (the kernel may take that back)."""
    status = Path("/proc/self/status").read_text()
    return {
        name: int(status.split(f"{field}:")[1].split()[0]) / 1024
        for name, field in (("own", "RssAnon"), ("mapped", "RssFile"))
    }
