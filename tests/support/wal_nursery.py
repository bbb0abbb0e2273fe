"""A process from which victims are forked: starting Python anew would take longer than their lives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

VICTIM = Path(__file__).with_name("wal_victim.py")
ROOT = Path(__file__).parents[2]


class Nursery:
    """Forks one victim at a time; each is a process of its own and ends by SIGKILL."""

    def __enter__(self) -> Nursery:
        self._process = subprocess.Popen(
            [sys.executable, str(VICTIM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def start(self, **life: str | int) -> int:
        """Fork a victim; return its process id."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(life).encode() + b"\n")
        self._process.stdin.flush()
        return int(self.line())

    def line(self) -> bytes:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the nursery ended: see its traceback above"
        return line

    def ended(self) -> int:
        """Wait for the victim's end; return the signal that ended it, 0 when it ended by itself."""
        status = int(self.line())
        assert os.WIFSIGNALED(status) or status == 0, "the victim failed: see its traceback above"
        return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0

    def kill(self, victim: int) -> None:
        os.kill(victim, signal.SIGKILL)
        assert self.ended() == signal.SIGKILL
