"""A process that works on copies of a store and is killed at the N-th system call of the work.

It reads lines `<operation> <root> <N>` and answers each with the signal that ended the work, 0 for none.
Each line is worked on by a child, so that the libraries are loaded only once; this process never starts a
thread, so the child starts sound.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path

# pyarrow imports both on first use: 0.2 s in each child.
import pandas  # type: ignore[import-untyped]  # noqa: F401
import pyarrow.dataset  # noqa: F401

from otel_audit.exporter.store.partition import RegionRoot
from tests.support.store_operations import OPERATIONS, open_store
from tests.support.wal_files import FaultyFiles


class DyingFiles(FaultyFiles):
    """Kills the process before the N-th call: between any two steps once, whatever is going on beside."""

    def _call(self, name: str) -> bool:
        if name in self.only:
            self.calls += 1
            if self.calls == self.nth:
                os.kill(os.getpid(), signal.SIGKILL)
        return False


# Killed between them or not, reading calls leave the same on disk.
CHANGING = FaultyFiles.CALLS - {"listdir", "lock", "size", "pread"}


def work(name: str, root: Path, nth: int) -> None:
    fs = DyingFiles(nth, 0, only=CHANGING if name == "start" else frozenset())
    store = open_store(RegionRoot(root), fs)
    fs.only = CHANGING
    OPERATIONS[name].act(store)
    store.close()


def main() -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        name, root, nth = line.split()
        child = os.fork()
        if not child:
            try:
                work(name, Path(root), int(nth))
            except Exception:  # noqa: BLE001
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status), flush=True)


if __name__ == "__main__":
    main()
