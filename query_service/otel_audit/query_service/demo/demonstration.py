"""The demonstration: the real service and a small audited app as children, and people who use the app."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import httpx

from otel_audit.exporter.store.files.blobs import make_folder
from otel_audit.exporter.store.lock import RootLock
from otel_audit.exporter.store.partition import RegionRoot

from ..settings import Settings
from .child import Child, DemoFailed
from .driver.cast import ACME, accounts, cast
from .driver.pace import Pace
from .driver.traffic import Traffic
from .grants import Grants
from .ports import free_addresses

Say = Callable[[str], None]

LISTENERS: Final = ("otlp_grpc", "otlp_http", "http", "metrics")
FIRST_EVENTS: Final = 10
FIRST_EVENTS_WITHIN_S: Final = 30.0
LOCK_TIMEOUT_S: Final = 5.0
"""Time for the service of a run that was killed a moment ago to notice and leave."""
SERVICE_STOP_S: Final = 30.0
APP_STOP_S: Final = 12.0
PORT_TRIES: Final = 3
"""Another program may take a port between looking and binding; that it does so thrice is no chance."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SEAL_INTERVAL: Final = "OTEL_AUDIT__STORE__SEAL_INTERVAL_S"


async def demonstrate(data_dir: Path, *, for_s: float | None, say: Say, show: Say) -> None:
    """Run until a signal, or for so many seconds once events arrive; everything started has ended then.

    say: told what goes on, a sentence at a time. show: given the console's address, once.
    Raises StoreLocked when another process owns `data_dir`, DemoFailed when a part ends by itself.
    """
    loop = asyncio.get_running_loop()
    work = asyncio.create_task(_Demonstration(data_dir, say, show).run(for_s))
    stopping = False

    def stop() -> None:
        # Once only: a second Ctrl-C must not cut the orderly end short, which is bounded by itself.
        nonlocal stopping
        if not stopping:
            stopping = True
            work.cancel()
            say("Stopping…")

    for name in _SIGNALS:
        loop.add_signal_handler(name, stop)
    try:
        await work
    except asyncio.CancelledError:
        if not stopping:
            raise
    finally:
        for name in _SIGNALS:
            loop.remove_signal_handler(name)


class _Demonstration:
    """One run. What it starts goes on a stack and ends in reverse order."""

    def __init__(self, data_dir: Path, say: Say, show: Say) -> None:
        self._data_dir = data_dir
        self._say = say
        self._show = show
        self._root = RegionRoot(data_dir)

    async def run(self, for_s: float | None) -> None:
        make_folder(self._data_dir)
        # Only to say at once who owns it; the service takes the lock for itself.
        lock = await asyncio.to_thread(RootLock, self._root.run, timeout_s=LOCK_TIMEOUT_S)
        lock.release()
        pace = Pace()
        async with AsyncExitStack() as stack:
            service, addresses = await self._start_service(stack)
            grants = Grants(self._data_dir)
            stack.callback(grants.close)
            grants.organizations()
            key = grants.ingest_key()
            stack.callback(grants.take_back, key)
            people = cast()
            app = await self._start_app(stack, addresses["otlp_http"], key.text, accounts(people))
            base_url = f"http://{(await app.ready())['quire']}"
            self._say(f"Quire, a small audited app, is at {base_url}; people are using it.")
            using = asyncio.create_task(Traffic(people, base_url, pace).run())
            stack.push_async_callback(_end, using)
            await self._while_running(service, app, using, _first_events(addresses["metrics"]))
            self._say(f"OTLP/gRPC {addresses['otlp_grpc']} · OTLP/HTTP {addresses['otlp_http']}")
            self._say(f"Data in {self._data_dir}. Ctrl-C stops everything.")
            self._say("Console (this link logs in once, within 10 minutes):")
            self._show(grants.console_url())
            await self._while_running(service, app, using, asyncio.sleep(for_s or float("inf")))
        self._say(f"Done after {pace.turns} requests.")

    async def _start_service(self, stack: AsyncExitStack) -> tuple[Child, dict[str, str]]:
        self._say("Starting the service…")
        settings = Settings.load(self._data_dir)
        wanted = {name: getattr(settings, name) for name in LISTENERS}
        # Files every minute instead of every ten: whoever looks wants to see one.
        environment = {_SEAL_INTERVAL: "60", **os.environ}
        for tries_left in reversed(range(PORT_TRIES)):
            flags = [
                part
                for name, address in free_addresses(wanted, self._say).items()
                for part in (f"--{name.replace('_', '-')}", address)
            ]
            service = await Child.start(
                "the service",
                [
                    "otel_audit.query_service.demo.leash",
                    *("serve", "--data-dir", str(self._data_dir), "--lock-timeout", "5s"),
                    *flags,
                ],
                environment=environment,
                log=self._root.run / "demo-service.log",
            )
            stack.push_async_callback(service.stop, SERVICE_STOP_S)
            try:
                return service, await service.ready()
            except DemoFailed as failure:
                if "cannot listen" not in failure.message or not tries_left:
                    raise
        raise DemoFailed("no ports could be had", hint="start the demonstration again")

    async def _start_app(
        self, stack: AsyncExitStack, otlp_http: str, key: str, known: list[dict[str, Any]]
    ) -> Child:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        environment |= {
            "OTEL_AUDIT_ENDPOINT": f"http://{otlp_http}",
            "OTEL_AUDIT_KEY": key,
            "OTEL_AUDIT_TENANT": ACME,
            "OTEL_SERVICE_NAME": "quire",
            "OTEL_RESOURCE_ATTRIBUTES": "service.version=1.4.2,deployment.environment.name=demo",
        }
        app = await Child.start(
            "Quire",
            ["otel_audit.query_service.demo.app"],
            environment=environment,
            log=self._root.run / "demo-quire.log",
            first_line=json.dumps(known).encode(),
        )
        stack.push_async_callback(app.stop, APP_STOP_S)
        return app

    @staticmethod
    async def _while_running(
        service: Child, app: Child, using: asyncio.Task[None], until: Coroutine[Any, Any, None]
    ) -> None:
        """Wait for `until`. Raises DemoFailed when a child or the people end first."""
        waiting = asyncio.create_task(until)
        ends = {asyncio.create_task(child.wait()): child for child in (service, app)}
        try:
            await asyncio.wait([waiting, using, *ends], return_when=asyncio.FIRST_COMPLETED)
            for end, child in ends.items():
                if end.done():
                    raise child.failure()
            if using.done():
                using.result()
            await waiting
        finally:
            for task in (waiting, *ends):
                await _end(task)


async def _first_events(metrics: str) -> None:
    """Return when the receiver has acknowledged some events. Raises DemoFailed."""
    try:
        async with (
            asyncio.timeout(FIRST_EVENTS_WITHIN_S),
            httpx.AsyncClient(base_url=f"http://{metrics}", trust_env=False) as http,
        ):
            # The metrics, because a search would itself be an event of the trail.
            while _acknowledged((await http.get("/metrics")).text) < FIRST_EVENTS:
                await asyncio.sleep(0.1)
    except (TimeoutError, httpx.HTTPError) as error:
        raise DemoFailed(
            f"no events arrived within {FIRST_EVENTS_WITHIN_S:.0f} s", hint="see the logs in the folder run"
        ) from error


def _acknowledged(metrics: str) -> float:
    rows = (line for line in metrics.splitlines() if line.startswith("otel_audit_ingest_rows_total{"))
    return sum(float(line.rpartition(" ")[2]) for line in rows if 'transport="http"' in line)


async def _end(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait until it has ended, however."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        # Looked at, so that asyncio does not report it as forgotten; whoever cares has raised it already.
        task.exception()
