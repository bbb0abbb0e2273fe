"""Ten thousand small organizations, three events each a minute: what sealing them costs."""

from __future__ import annotations

import os
import resource
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.store import Store
from tests.bench.made import Template

TENANTS = 10_000
ROWS_A_MINUTE = 3
# Tenants of one request, as a Collector sends them.
GROUP = 500
# Hot rows are sealed when they are ten minutes old, the default of `store.seal_interval_s`.
SEAL_MINUTES = 10
SHARE_MAX = 0.15


def small_tenants(folder: Path) -> dict[str, Any]:
    """Ten minutes of rows of every tenant, appended minute by minute, then sealed at once.

    Share of one core: processor time of the seals over the ten minutes they are for.
    """
    tenants = int(os.environ.get("TENANTS", str(TENANTS)))
    store = Store(RegionRoot(folder / "data"))
    template = Template(ROWS_A_MINUTE * GROUP, timedelta(minutes=1))
    start = datetime.now(UTC) - timedelta(minutes=SEAL_MINUTES)
    names = [f"t{n:05d}" for n in range(tenants)]
    append_cpu = seal_cpu = seal_s = 0.0
    shares = []
    # The first round makes folders that the second finds, as every later one does.
    for round_ in range(2):
        for minute in range(SEAL_MINUTES):
            began = time.process_time()
            at = start + timedelta(minutes=minute + round_ * SEAL_MINUTES)
            for low in range(0, tenants, GROUP):
                rows = template.starting(at)
                mine = enumerate(names[low : low + GROUP])
                store.append({name: rows.slice(ROWS_A_MINUTE * n, ROWS_A_MINUTE) for n, name in mine})
            append_cpu += time.process_time() - began
        began, wall = time.process_time(), time.perf_counter()
        sealed = store.seal()
        seal_cpu, seal_s = time.process_time() - began, time.perf_counter() - wall
        assert sealed == tenants * SEAL_MINUTES * ROWS_A_MINUTE
        shares.append(seal_cpu / (60 * SEAL_MINUTES))
    live = store.live_files
    store.close()
    return {
        "tenants": tenants,
        "rows_a_minute": tenants * ROWS_A_MINUTE,
        "files": live,
        "seal_ms_a_tenant": round(1000 * seal_cpu / tenants, 2),
        "seal_wall_s": round(seal_s, 1),
        "seal_share_of_a_core": [round(share, 3) for share in shares],
        "share_max": SHARE_MAX,
        "memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "ok": shares[-1] <= SHARE_MAX,
    }
