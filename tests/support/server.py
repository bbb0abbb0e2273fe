"""The real query service in this process: a real store, control database, ingest and uvicorn."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa

from otel_audit.exporter.store.schema import ROW
from otel_audit.exporter.wal.files import OS, FileSystem
from otel_audit.instrumentation.event import AuditEvent
from otel_audit.instrumentation.ids import uuid7
from otel_audit.query_service.app.core import Core
from otel_audit.query_service.app.listeners import HttpServer, address_of, bind, http_server
from otel_audit.query_service.app.queries import TOKEN_KEY, build_services
from otel_audit.query_service.auth.tokens import TokenService
from otel_audit.query_service.control.own_request import own_request
from otel_audit.query_service.filters import Filters
from otel_audit.query_service.metrics import Metrics
from otel_audit.query_service.search import search
from otel_audit.query_service.services import Services
from otel_audit.query_service.settings import Settings
from otel_audit.query_service.web import build_web
from tests.support.rows import row

START_TIMEOUT_S = 20.0


class QueryServer:
    """One running query service on a free loopback port. address: `127.0.0.1:PORT`."""

    def __init__(self, data_dir: Path, *, fs: FileSystem = OS, **settings: Any) -> None:
        self.settings = Settings(data_dir=data_dir, http="127.0.0.1:0", **settings)
        self.core = Core(self.settings, fs=fs)
        self._ingest = self.core.ingest()
        self._has_store = True
        self.services: Services
        self.address = ""
        self._server: HttpServer
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    async def _serve(self) -> None:
        listener = bind(self.settings.http, "http")
        self.address = address_of(listener)
        self.services = build_services(self.core, Metrics())
        self.core.self_audit.start()
        self._server = http_server(build_web(self.services), drain_s=2)
        serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started and not serving.done():
            await asyncio.sleep(0.005)
        self._ready.set()
        await serving
        await self.services.hub.close()

    def start(self) -> QueryServer:
        self._thread.start()
        if not self._ready.wait(START_TIMEOUT_S):
            raise AssertionError("the query service did not start")
        return self

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(START_TIMEOUT_S)
        self.services.engine.close()
        self.core.self_audit.stop()
        if self._has_store:
            self.core.store.close()
        self.core.db.close()

    def lose_store(self) -> None:
        """From now on nothing can be stored."""
        self._has_store = False
        self.core.store.close()

    def url(self, path: str = "", scheme: str = "http") -> str:
        return f"{scheme}://{self.address}{path}"

    def token(self, org: str | None, role: str = "admin", user: str = "ada@example.com") -> str:
        return self.services.tokens.issue(org, user, role)

    def expired_token(self, org: str, role: str = "admin") -> str:
        """A token that was good an hour ago."""
        earlier = TokenService(self.core.db, self.core.root.keys / TOKEN_KEY, lambda: time.time() - 3600)
        return earlier.issue(org, "ada@example.com", role, 60)

    def client(self, token: str | None = None, **headers: str) -> httpx.Client:
        bearer = {"authorization": f"Bearer {token}"} if token else {}
        # There is no TLS to verify; loading the certificate store would cost more than most tests.
        return httpx.Client(base_url=self.url(), headers=bearer | headers, timeout=30, verify=False)

    def ingest(self, org: str, count: int = 1, **fields: Any) -> list[str]:
        """Store events of one organization through the receiver's pipeline; their ids, oldest first."""
        now_ns = time.time_ns()
        given = {"category": "data_access", "action": "read", "user_id": "u-1", **fields}
        events = [
            AuditEvent(**{"record_id": uuid7(), "time_unix_nano": now_ns + 1000 * number, **given})
            for number in range(count)
        ]
        self._ingest.accept_own(org, own_request(events))
        return [event.record_id for event in events]

    def fill(self, org: str, count: int, start: datetime) -> None:
        """Store many wide events directly, one a millisecond from `start`: more than sockets buffer."""
        template = row(time=start, message="x" * 500)
        times = [start + timedelta(milliseconds=number) for number in range(count)]
        varying: dict[str, list[Any]] = {"event_id": [uuid7() for _ in times], "time": times}
        columns = [
            pa.array(varying[name] if name in varying else [template[name]] * count, ROW.field(name).type)
            for name in ROW.names
        ]
        whole = pa.RecordBatch.from_arrays(columns, schema=ROW)
        for offset in range(0, count, 5000):
            self.core.store.append({org: whole.slice(offset, 5000)})

    def trail(self, org: str, *filters: tuple[str, str]) -> list[dict[str, Any]]:
        """Up to 1,000 stored events, newest first, read past the API so that nothing is recorded."""
        asked = Filters.parse(filters, now=datetime.now(UTC))
        return search(self.services.engine, self.core.store, org, asked, limit=1000).events
