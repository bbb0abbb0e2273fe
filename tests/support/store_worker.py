"""A process that uses a store in every way at once and notes what was acknowledged, until it is killed.

python -m tests.support.store_worker <region root> <file of acknowledgements> <cycle>
"""

from __future__ import annotations

import os
import random
import sys
import threading
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

# pyarrow imports both on first use: the first rows would come later than most kills.
import pandas  # type: ignore[import-untyped]  # noqa: F401
import pyarrow.dataset  # noqa: F401

from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.store import Store
from tests.support.rows import batch, row
from tests.support.store_operations import HELD, NOW, OLD, TENANT, expire_with_a_hold

WRITERS = 3
# Kinds of rows, told by the last digit of their id: what becomes of them is in store_operations.
YOUNG_ROW, HELD_ROW, DUE_ROW = 0, 1, 2


def worked_id(cycle: int, who: int, number: int, kind: int) -> str:
    return f"{cycle:08x}-{who:04x}-7000-8000-{number:011x}{kind}"


def send(store: Store, notes: int, cycle: int, who: int) -> None:
    rng = random.Random(cycle * WRITERS + who)
    last: list[dict[str, object]] = []
    number = 0
    while True:
        rows = []
        for _ in range(rng.randint(1, 12)):
            number += 1
            kind = rng.choice((YOUNG_ROW, YOUNG_ROW, HELD_ROW, DUE_ROW))
            day = NOW - timedelta(days=rng.choice((0, 1, 5))) if kind == YOUNG_ROW else OLD
            message = HELD if kind == HELD_ROW else "x" * rng.randrange(300)
            rows.append(row(event_id=worked_id(cycle, who, number, kind), time=day, message=message))
        # Now and then a delivery comes twice, in other company. Not of rows that may be gone by now: what
        # retention has deleted is new when it comes again.
        again = [each for each in last if rng.random() < 0.3 and each["message"] == HELD]
        store.append({TENANT: batch(*rows, *again)})
        os.write(notes, "".join(f"{each['event_id']}\n" for each in rows).encode())
        last = rows


def maintain(store: Store) -> None:
    while True:
        store.seal()
        store.compact()
        expire_with_a_hold(store)
        store.tidy()


def main(root: Path, notes_file: Path, cycle: int) -> None:
    store = Store(RegionRoot(root), wal_segment_bytes_max=1 << 16, now=NOW.timestamp)
    notes = os.open(notes_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def run(work: Callable[..., None], *arguments: object) -> None:
        try:
            work(*arguments)
        except Exception:  # noqa: BLE001
            # A worker that ends by itself fails the test.
            traceback.print_exc()
            os._exit(1)

    threads = [
        threading.Thread(target=run, args=(send, store, notes, cycle, who), daemon=True)
        for who in range(WRITERS)
    ]
    threads.append(threading.Thread(target=run, args=(maintain, store), daemon=True))
    print("ready", flush=True)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
