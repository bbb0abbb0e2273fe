"""What a command beside a running server asks of it: one JSON line each way over a Unix socket.

Only the server's own user can connect to the socket; `run/serve.json` says where it is.
"""

from __future__ import annotations

import json
import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from otel_audit.exporter.store.intake.local_socket import bind_local, remove_local
from otel_audit.exporter.store.upkeep.scrub import Scrubbed
from otel_audit.instrumentation.errors import AuditError

from .core import Core

log = logging.getLogger(__name__)

_LINE_BYTES_MAX: Final = 1 << 20
_ANSWER_TIMEOUT_S: Final = 600.0


class ServerRefused(AuditError):
    """The running server could not do what was asked."""


class LocalControl:
    """Serves `commands` to processes of the same OS user."""

    def __init__(self, core: Core) -> None:
        self._run = core.root.run
        commands: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "ping": lambda ask: "pong",
            "seal": lambda ask: core.seal(ask["tenant"]),
            "scrub": lambda ask: scrub_report(core.store.scrub()),
            "tenant_delete": lambda ask: core.delete_tenant(ask["tenant"], actor=ask["actor"]),
            "retention": lambda ask: [
                {"tenant": p.tenant, "retention": p.retention, "date": p.date, "rows": p.rows}
                for p in core.run_retention(
                    datetime.fromisoformat(ask["now"]), dry_run=ask["dry_run"], actor=ask["actor"]
                )
            ],
        }

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(_answer(commands, self.rfile.readline(_LINE_BYTES_MAX)))

        self._server = socketserver.ThreadingUnixStreamServer("", Handler, bind_and_activate=False)
        self.path = bind_local(self._server, self._run, "control.sock")
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="otel-audit-control", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        remove_local(self.path, self._run)


def scrub_report(done: Scrubbed) -> dict[str, Any]:
    """A scrub's result as JSON."""
    damages = [f"{tenant}: {damage.file}: {damage.reason}" for tenant, damage in done.damages]
    return {"files": done.files, "bytes": done.bytes, "damages": damages}


def _answer(commands: Mapping[str, Callable[[Mapping[str, Any]], Any]], line: bytes) -> bytes:
    try:
        ask = json.loads(line)
        reply: dict[str, Any] = {"result": commands[ask["command"]](ask)}
    except AuditError as error:
        reply = {"error": error.message, "hint": error.hint}
    except Exception:
        log.exception("a local command failed")
        reply = {"error": "the server failed", "hint": "see its log"}
    return json.dumps(reply).encode() + b"\n"


def ask_server(data_dir: Path, command: str, **arguments: Any) -> Any | None:
    """The running server's answer, or None when none runs on `data_dir`. Raises ServerRefused."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_ANSWER_TIMEOUT_S)
        try:
            connection.connect(json.loads((data_dir / "run" / "serve.json").read_bytes())["control"])
        except (OSError, ValueError, KeyError):
            return None
        try:
            connection.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline()
        except TimeoutError as error:
            raise ServerRefused(
                f"the server has not answered for {_ANSWER_TIMEOUT_S:g} s",
                hint="it may still be at it: look at its log before you run the command again",
            ) from error
        except OSError:
            line = b""
    if not line.endswith(b"\n"):
        raise ServerRefused("the server went away before it answered", hint="run the command again")
    reply = json.loads(line)
    if "error" in reply:
        raise ServerRefused(reply["error"], hint=reply["hint"])
    return reply["result"]
