"""A child process of the demonstration: started, waited for, stopped and reaped by its own pid."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from otel_audit.instrumentation.errors import AuditError

START_TIMEOUT_S: Final = 60.0
"""A cold start on a slow, busy machine, with a large data directory to recover."""
LINE_BYTES_MAX: Final = 64 << 10
_LOG_TAIL_BYTES: Final = 8 << 10


class DemoFailed(AuditError):
    """A part of the demonstration ended or never came up."""


class Child:
    """One `python -m …`, on the leash of its stdin and in a session of its own.

    A session of its own, because Ctrl-C reaches every process of the terminal's, and the parent stops its
    children in order.
    """

    def __init__(self, name: str, process: Process, log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process

    @classmethod
    async def start(
        cls,
        name: str,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        first_line: bytes = b"",
    ) -> Child:
        """Start `python -m <arguments>`; its stderr goes to the file `log`, `first_line` to its stdin.

        No secret belongs into the arguments, which every user of the machine can see.
        """
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                # Never a module of the folder the demonstration happens to be started in.
                "-P",
                "-m",
                *arguments,
                stdin=PIPE,
                stdout=PIPE,
                stderr=stderr,
                limit=LINE_BYTES_MAX,
                env=environment,
                start_new_session=True,
            )
        child = cls(name, process, log)
        if process.stdin is not None and first_line:
            process.stdin.write(first_line + b"\n")
        return child

    async def ready(self) -> dict[str, Any]:
        """The JSON line it prints once it serves. Raises DemoFailed."""
        stdout = self._process.stdout or _no_pipe(self.name)
        try:
            line = await asyncio.wait_for(stdout.readline(), START_TIMEOUT_S)
        except TimeoutError:
            raise DemoFailed(
                f"{self.name} was not ready in {START_TIMEOUT_S:.0f} s", hint=f"see {self.log}"
            ) from None
        if not line:
            await self.wait()
            raise self.failure()
        document: dict[str, Any] = json.loads(line)
        return document

    async def wait(self) -> int:
        """Its exit status, once it has ended."""
        return await self._process.wait()

    def failure(self) -> DemoFailed:
        """Why it ended, in its own words where it left any."""
        lines = self.log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").splitlines()
        said = {word: line for line in lines for word in ("error: ", "hint: ") if line.startswith(word)}
        if "error: " in said:
            hint = said.get("hint: ", f"hint: see {self.log}")
            return DemoFailed(said["error: "].removeprefix("error: "), hint=hint.removeprefix("hint: "))
        status = self._process.returncode
        return DemoFailed(f"{self.name} ended unexpectedly (status {status})", hint=f"see {self.log}")

    async def stop(self, within_s: float) -> None:
        """SIGTERM, and SIGKILL when it takes longer than `within_s`; returns when it is reaped."""
        if self._process.returncode is None:
            try:
                self._process.send_signal(signal.SIGTERM)
                await asyncio.wait_for(self._process.wait(), within_s)
            except TimeoutError:
                self._process.kill()
            except ProcessLookupError:
                pass  # It ended by itself in this very moment.
        await self._process.wait()


def _no_pipe(name: str) -> asyncio.StreamReader:
    raise DemoFailed(f"{name} has no output", hint="start the demonstration again")
