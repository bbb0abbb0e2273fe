"""Keeps a child from outliving the demonstration: its stdin ends when the parent does, however it dies."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import BinaryIO, Final

LINGER_S: Final = 2.0
"""The service stays so long after the parent's end, to take the last events of the app."""
STOP_WITHIN_S: Final = 25.0
"""After the parent's end: drain so long at most, then leave without asking."""


class Leash:
    """The pipe from the parent. A first line may carry settings; after that nothing comes but its end.

    linger_s: how long to go on after that end.
    """

    def __init__(self, pipe: BinaryIO, *, linger_s: float = 0.0) -> None:
        self._pipe = pipe
        self._linger_s = linger_s

    def first_line(self) -> bytes:
        """What the parent says at the start; empty when it is gone already."""
        return self._pipe.readline() or sys.exit(1)

    def hold(self) -> None:
        """Watch from a thread; SIGTERM for this process when the parent is gone."""
        threading.Thread(target=self._watch, name="leash", daemon=True).start()

    def _watch(self) -> None:
        try:
            # The descriptor itself: a buffered read would hold a lock that the interpreter wants at its end.
            while os.read(self._pipe.fileno(), 4096):
                pass
        except OSError:
            pass
        time.sleep(self._linger_s)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(STOP_WITHIN_S)
        os._exit(1)


def main() -> None:
    """`python -m otel_audit.query_service.demo.leash serve …`: otel-audit that ends with its parent."""
    from ..cli.main import main as otel_audit

    Leash(sys.stdin.buffer, linger_s=LINGER_S).hold()
    otel_audit(sys.argv[1:])


if __name__ == "__main__":
    main()
