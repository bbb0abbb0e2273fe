"""A process that writes a log and notes what was acknowledged, until it is killed.

python wal_victim.py <wal folder> <file of acknowledgements> <cycle>
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from otel_audit.exporter.wal import Position, Wal

WRITERS = 4


def main(directory: Path, notes: Path, cycle: int) -> None:
    wal = Wal.open(directory, segment_bytes_max=40_000)
    told = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(who: int) -> None:
        number = 0
        while True:
            number += 1
            name = b"%d %d %d" % (cycle, who, number)

            def acknowledge(position: Position, name: bytes = name) -> None:
                os.write(told, name + b"\n")

            wal.submit(name + b"\0" + bytes(number * 37 % 900), acknowledge).result()

    threads = [threading.Thread(target=write, args=(who,), daemon=True) for who in range(WRITERS)]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
