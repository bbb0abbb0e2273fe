"""From `record()` in an app to the message on the WebSocket."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from otel_audit.instrumentation import audit
from tests.bench.figures import summary
from tests.support.api_client import admin, tenant_with_key
from tests.support.process import Serve

EVENTS = 400
PAUSE_S = 0.01
P95_MS_MAX = 250.0


def record_to_stream(folder: Path) -> dict[str, Any]:
    """The app is this process; receiver, store and stream are `otel-audit serve`, in another."""
    with Serve(folder / "data") as server:
        key = tenant_with_key(server)
        api = admin(server)
        url = f"ws://{server.addresses['http']}{api.prefix}/stream?action=bench_event"
        headers = {"authorization": api.http.headers["authorization"]}
        audit.configure(
            endpoint=server.url("", "otlp_http"), key=key, service_name="bench", schedule_delay_ms=1
        )
        with connect(url, additional_headers=headers) as stream:
            seen: dict[str, float] = {}
            reader = threading.Thread(target=_read, args=(stream, seen), daemon=True)
            reader.start()
            sent: dict[str, float] = {}
            for _ in range(EVENTS):
                started = time.perf_counter()
                record_id = audit.record("system", "bench_event", message="how long does it take")
                assert record_id is not None
                sent[record_id] = started
                time.sleep(PAUSE_S)
            reader.join(30)
        audit.shutdown()
    delays = [1000 * (seen[record_id] - started) for record_id, started in sent.items()]
    figures = summary(delays)
    return {"events": len(delays), **figures, "p95_ms_max": P95_MS_MAX, "ok": figures["p95_ms"] < P95_MS_MAX}


def _read(stream: ClientConnection, seen: dict[str, float]) -> None:
    for message in stream:
        arrived = time.perf_counter()
        data = json.loads(message)
        if data["type"] == "event":
            seen[data["event"]["event_id"]] = arrived
            if len(seen) == EVENTS:
                return
