"""The real `otel-audit` as processes: serve on free loopback ports, and every other command."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

START_TIMEOUT_S = 60.0
OTEL_AUDIT = str(Path(sys.executable).with_name("otel-audit"))


def environment(**extra: str) -> dict[str, str]:
    """This process's environment without settings of the project or of OpenTelemetry."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "OTEL_AUDIT"))}
    return kept | extra


def run(
    data_dir: Path, *arguments: str, check: bool = True, **extra: str
) -> subprocess.CompletedProcess[str]:
    """One command, as a user types it."""
    done = subprocess.run(
        [OTEL_AUDIT, *arguments, "--data-dir", str(data_dir)],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(**extra),
    )
    if check and done.returncode != 0:
        raise AssertionError(f"{arguments} exited {done.returncode}: {done.stderr}")
    return done


def secret(data_dir: Path, *arguments: str) -> str:
    """The line a `create` command prints."""
    return run(data_dir, *arguments).stdout.strip()


class Serve:
    """`otel-audit serve` on free ports. addresses: as its ready line says."""

    def __init__(self, data_dir: Path, *flags: str, **extra: str) -> None:
        self.data_dir, self.flags, self.extra = data_dir, flags, extra
        self.log = data_dir.parent / f"{data_dir.name}-serve.log"
        self.addresses: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None
        # Clients that talk to it, closed with it.
        self.clients: list[Any] = []

    def start(self, ports: dict[str, str] | None = None) -> Serve:
        """Start and wait for the ready line. ports: addresses to take again after a stop."""
        binds = {
            n: (ports or {}).get(n, "127.0.0.1:0") for n in ("otlp-grpc", "otlp-http", "http", "metrics")
        }
        command = [OTEL_AUDIT, "serve", "--data-dir", str(self.data_dir), *self.flags]
        for name, address in binds.items():
            command += [f"--{name}", address]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, env=environment(**self.extra)
            )
        self.addresses = json.loads(self._ready_line())
        return self

    def _ready_line(self) -> bytes:
        assert self.process is not None
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(START_TIMEOUT_S):
                self.kill()
                raise AssertionError(f"serve was not ready in {START_TIMEOUT_S} s: {self.log.read_text()}")
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"serve exited {self.process.wait()}: {self.log.read_text()}")
        return line

    @property
    def ports(self) -> dict[str, str]:
        """For `start` after a stop: the same addresses."""
        return {name.replace("_", "-"): address for name, address in self.addresses.items()}

    def url(self, path: str = "", listener: str = "http") -> str:
        return f"http://{self.addresses[listener]}{path}"

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self._close()

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        for client in self.clients:
            client.close()
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"serve did not stop: {self.log.read_text()}") from None
        self._close()
        return code

    def _close(self) -> None:
        assert self.process is not None
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None

    def __enter__(self) -> Serve:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None:
            self.stop()


def wait_for(condition: Any, timeout_s: float = 30.0, message: str = "") -> Any:
    """Poll until `condition()` is true; returns its value."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(message or "the condition did not come true in time")


def find_bytes(folder: Path, needles: list[bytes]) -> list[tuple[str, bytes]]:
    """(file, needle) of every needle found in any file below `folder`."""
    hits = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            hits += [(str(path), needle) for needle in needles if needle in data]
    return hits
