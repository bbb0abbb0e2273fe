"""Forks processes that write a log until they are killed: one for each JSON line; see wal_nursery.py."""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from otel_audit.exporter.wal import Position, Wal
from tests.support.wal_failpoints import RESERVE_BYTES, kill_at, live

WRITERS = 4


def write_until_killed(directory: Path, notes: Path, cycle: int) -> None:
    """Append from several threads and note every acknowledgement, on the thread that gives it."""
    wal = Wal.open(directory, segment_bytes_max=40_000, reserve_bytes=RESERVE_BYTES)
    told = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(who: int) -> None:
        number = 0
        while True:
            number += 1
            name = b"%d %d %d" % (cycle, who, number)

            def acknowledge(position: Position, name: bytes = name) -> None:
                os.write(told, name + b"\n")

            wal.submit(payload(name), acknowledge).result()

    threads = [threading.Thread(target=write, args=(who,), daemon=True) for who in range(WRITERS)]
    for thread in threads:
        thread.start()
    os.write(1, b"ready\n")
    for thread in threads:
        thread.join()


def payload(name: bytes) -> bytes:
    """A frame that says its name; the name tells all its other bytes."""
    number = int(name.split()[2])
    return name + b"\0" + bytes([number % 251]) * (number * 37 % 900)


def live_until_step(directory: Path, notes: Path, step: int, moment: str) -> None:
    told = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(text: str) -> None:
        os.write(told, text.encode() + b"\n")

    live(directory, kill_at(step, moment), note)


def victim(life: dict[str, Any]) -> None:
    directory, notes = Path(life["directory"]), Path(life["notes"])
    if "step" in life:
        live_until_step(directory, notes, life["step"], life["moment"])
    else:
        write_until_killed(directory, notes, life["cycle"])


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                victim(json.loads(line))
            except BaseException:  # noqa: BLE001  a fork must not return into its parent's loop
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        os.write(1, b"%d\n" % child)
        os.write(1, b"%d\n" % os.waitpid(child, 0)[1])


if __name__ == "__main__":
    main()
