"""Ten million events of one organization over 180 days beside twenty small ones.

`VOLUME=1000000` makes a smaller run; the promise is for ten million.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.store import Store
from otel_audit.exporter.store.upkeep.retention import DEFAULT_MONTHS
from tests.bench.made import Template
from tests.support.api_client import admin, tenant_with_key
from tests.support.process import Serve

DAYS = 180
SEAL_ROWS = 25_000
SMALL_TENANTS = 20
BYTES_AN_EVENT_MAX = 140.0
COMPACT_DAY_S_MAX = 10.0
DELETE_S_MAX = 1.0
MEMORY_MB_MAX = 1_500.0
PARTITIONS_DELETED = 90


def ten_million(folder: Path) -> dict[str, Any]:
    """Fill through the store in a process of its own, delete partitions, read through the server."""
    events = int(os.environ.get("VOLUME", "10000000"))
    data_dir = folder / "data"
    filled = _in_a_process("fill", data_dir, events)
    size = _bytes(data_dir / "store")
    deleted = _in_a_process("delete", data_dir, events)
    served = _serve(data_dir)
    figures = {
        "events": events,
        "files": filled["files"],
        "bytes_an_event": round(size / events, 1),
        "fill_events_a_second": filled["events_a_second"],
        "compact_day_s_max": filled["compact_day_s_max"],
        "compact_day_events": events // DAYS,
        "partitions_deleted": deleted["partitions"],
        "delete_s": deleted["delete_s"],
        "memory_mb": {"writing": filled["memory_mb"], "serving": served, "deleting": deleted["memory_mb"]},
    }
    ok = (
        figures["bytes_an_event"] <= BYTES_AN_EVENT_MAX
        and figures["compact_day_s_max"] < COMPACT_DAY_S_MAX
        and figures["partitions_deleted"] >= PARTITIONS_DELETED
        and figures["delete_s"] < DELETE_S_MAX
        and max(figures["memory_mb"].values()) < MEMORY_MB_MAX
    )
    return figures | {"ok": ok}


def _in_a_process(step: str, data_dir: Path, events: int) -> dict[str, Any]:
    """One step, so that its memory is its own."""
    command = [sys.executable, "-m", "tests.bench.volume", step, str(data_dir), str(events)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def fill(data_dir: Path, events: int) -> dict[str, Any]:
    """Append day by day, sealed every 25,000 rows, each day merged when it is over."""
    store = Store(RegionRoot(data_dir))
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    a_day = events // DAYS
    parts = max(1, round(a_day / SEAL_ROWS))
    template = Template(a_day // parts, timedelta(days=1) / parts)
    small = Template(20, timedelta(days=1), seed=1)
    slowest, started = 0.0, time.perf_counter()
    for back in range(DAYS, 0, -1):
        day = today - timedelta(days=back)
        for part in range(parts):
            store.append({"acme": template.starting(day + part * timedelta(days=1) / parts)})
            store.seal("acme")
        store.append({f"small-{n}": small.starting(day) for n in range(SMALL_TENANTS)})
        store.seal()
        began = time.perf_counter()
        store.compact()
        slowest = max(slowest, time.perf_counter() - began)
    passed = time.perf_counter() - started
    files = store.live_files
    store.close()
    return {
        "files": files,
        "events_a_second": round(events / passed),
        "compact_day_s_max": round(slowest, 2),
        "memory_mb": _peak_mb(),
    }


def delete(data_dir: Path, events: int) -> dict[str, Any]:
    """Ninety days of the class `rag` are older than three months at once."""
    store = Store(RegionRoot(data_dir))
    began = time.perf_counter()
    # Three months are 88 to 92 days.
    now = datetime.now(UTC) + timedelta(days=3)
    due = store.run_retention(
        lambda tenant, _: DEFAULT_MONTHS if tenant == "acme" else {"standard": 12, "rag": 12},
        now=now, actor="bench",
    )  # fmt: skip
    passed = time.perf_counter() - began
    store.close()
    return {"partitions": len(due), "delete_s": round(passed, 2), "memory_mb": _peak_mb()}


def _serve(data_dir: Path) -> float:
    """Queries, histograms and a whole export through the server; its peak memory, MB."""
    with Serve(data_dir) as server:
        tenant_with_key(server)
        api = admin(server)
        draw = random.Random(3)
        for _ in range(40):
            chosen = {"range": draw.choice(["24h", "7d", "30d", "90d"]), "limit": 100}
            filters = [
                {"category": "security"},
                {"q": "login"},
                {"q": "nowhere-at-all"},
                {"severity": "error"},
            ]
            api.get("/events", **chosen, **draw.choice(filters))
            api.get("/histogram", range=chosen["range"])
            api.get("/facets", range=chosen["range"])
        with api.http.stream(
            "GET", f"{api.prefix}/export", params={"format": "csv", "range": "30d"}
        ) as answer:
            assert answer.status_code == 200
            for _ in answer.iter_bytes():
                pass
        assert server.process is not None
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        return round(int(status.split("VmHWM:")[1].split()[0]) / 1024, 1)


def _peak_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def _bytes(folder: Path) -> int:
    """What the live store takes: files, sidecars, manifest; not what waits an hour in `_retired/`."""
    paths = (path for path in folder.rglob("*") if path.is_file() and "_retired" not in path.parts)
    return sum(path.stat().st_blocks * 512 for path in paths)


if __name__ == "__main__":
    STEPS = {"fill": fill, "delete": delete}
    print(json.dumps(STEPS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))))
