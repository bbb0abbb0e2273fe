"""`make bench`: the promised figures, measured on real servers; the last line is JSON.

`make bench ARGS=latency` runs one of them.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.dedupe import ids_of_a_week
from tests.bench.history import million_entries
from tests.bench.latency import record_to_stream
from tests.bench.queries import filter_queries
from tests.bench.redaction import worst_values
from tests.bench.redaction_speed import throughput
from tests.bench.tenants import small_tenants
from tests.bench.volume import ten_million
from tests.bench.wal import append_to_durable

BENCHES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "latency": record_to_stream,
    "queries": filter_queries,
    "history": million_entries,
    "tenants": small_tenants,
    "dedupe": ids_of_a_week,
    "volume": ten_million,
    "redaction": worst_values,
    "redaction_speed": throughput,
    "wal": append_to_durable,
}


def main(names: list[str]) -> int:
    """Run the named benches, or all; 1 when a figure misses its bound."""
    results: dict[str, Any] = {"machine": {"cpus": os.cpu_count(), "system": platform.platform()}}
    for name in names or BENCHES:
        sys.stderr.write(f"bench {name} …\n")
        with tempfile.TemporaryDirectory(prefix="otel-audit-bench-") as folder:
            results[name] = BENCHES[name](Path(folder))
    print(json.dumps(results))
    return 0 if all(result.get("ok", True) for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
