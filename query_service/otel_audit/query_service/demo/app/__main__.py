"""Quire as a process: accounts as one JSON line on stdin, the address as one on stdout.

The audit trail is set up by OTEL_AUDIT_… alone. The database is in a folder of its own that goes with the
process.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import tempfile
from pathlib import Path

import uvicorn

from ...app.listeners import HttpServer, address_of, bind
from ..leash import Leash
from .web import build_app


def main() -> None:
    """Serve on a free loopback port until SIGTERM, or until stdin ends."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # An exit, not a death: the folder below has to be removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    leash = Leash(sys.stdin.buffer)
    accounts = json.loads(leash.first_line())
    leash.hold()
    with tempfile.TemporaryDirectory(prefix="quire-") as folder, bind("127.0.0.1:0", "http") as listener:
        app = build_app(Path(folder), accounts)
        config = uvicorn.Config(
            app,
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=3,
        )
        server = HttpServer(config)
        signal.signal(signal.SIGTERM, lambda *_: setattr(server, "should_exit", True))
        sys.stdout.write(json.dumps({"quire": address_of(listener)}) + "\n")
        sys.stdout.flush()
        server.run(sockets=[listener])


if __name__ == "__main__":
    main()
