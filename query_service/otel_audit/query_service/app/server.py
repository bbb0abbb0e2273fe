"""`serve`: everything wired in one place, started and stopped in order."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from otel_audit.exporter.receiver.admission import Admission
from otel_audit.exporter.receiver.grpc import start_grpc
from otel_audit.exporter.receiver.http import otlp_http_app
from otel_audit.exporter.store.intake.handed import Intake
from otel_audit.exporter.store.intake.handover import Handover

from ..metrics import Metrics, metrics_app
from ..services import Services
from ..settings import Settings
from ..web import build_web
from .core import Core
from .listeners import HttpServer, address_of, bind, http_server
from .local_control import LocalControl
from .maintenance import Maintenance
from .meter import stored_meter
from .queries import build_services
from .refused_senders import RefusedSenders

log = logging.getLogger(__name__)

Addresses = dict[str, str]


async def serve(settings: Settings, *, lock_timeout_s: float, ready: Callable[[Addresses], None]) -> None:
    """Run all roles until SIGTERM or SIGINT, then drain: listeners first, the store last.

    ready: called once with the bound addresses, when every listener takes requests.
    Raises PortTaken, StoreLocked and the rooms' own errors before anything is served.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    with ExitStack() as stack:
        sockets = {name: bind(getattr(settings, name), name) for name in ("otlp_http", "http", "metrics")}
        for listener in sockets.values():
            stack.callback(listener.close)
        core = Core(settings, lock_timeout_s=lock_timeout_s)
        stack.callback(core.close)
        metrics = Metrics()
        services = build_services(core, metrics)
        stack.callback(services.engine.close)
        core.self_audit.start()
        refused = RefusedSenders(core.self_audit)
        stack.callback(refused.stop)
        admission = Admission(core.keys, time.time, on_refused=refused.take)
        grpc = start_grpc(
            core.ingest(stored_meter(metrics, "grpc")),
            admission,
            settings.otlp_grpc,
            insecure="otlp_grpc" in settings.insecure,
        )
        stack.callback(grpc.stop, 10.0)
        otlp_http = otlp_http_app(core.ingest(stored_meter(metrics, "http")), admission)
        servers = {
            "otlp_http": http_server(otlp_http),
            "http": http_server(build_web(services)),
            "metrics": http_server(metrics_app(metrics.registry)),
        }
        addresses = {"otlp_grpc": grpc.address, **{name: address_of(sockets[name]) for name in sockets}}
        maintenance = Maintenance(core)
        maintenance.start()
        stack.callback(maintenance.stop)
        control = LocalControl(core)
        stack.callback(control.stop)
        intake = Intake(core.store, stored_meter(metrics, "handover"))
        handover = Handover(intake, core.tenants.exists, core.root.run)
        stack.callback(handover.stop)
        _announce(core, {"control": str(control.path), "handover": str(handover.path)}, addresses)
        stack.callback((core.root.run / "serve.json").unlink, missing_ok=True)
        await _run(servers, sockets, stop, lambda: ready(addresses), services)


async def _run(
    servers: dict[str, HttpServer],
    sockets: dict[str, socket.socket],
    stop: asyncio.Event,
    ready: Callable[[], None],
    services: Services,
) -> None:
    tasks = [asyncio.create_task(servers[name].serve(sockets=[sockets[name]])) for name in servers]
    stopping = asyncio.create_task(stop.wait())
    try:
        while not all(server.started for server in servers.values()):
            await asyncio.sleep(0.01)
            if any(task.done() for task in tasks):
                break
        else:
            ready()
        # A listener that ends by itself takes the others down: half a service misleads.
        await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        await services.hub.close()
        for server in servers.values():
            server.should_exit = True
        await asyncio.gather(*tasks)


def _announce(core: Core, local: Mapping[str, str], addresses: Addresses) -> None:
    """Tell commands on this machine where the server is."""
    path = core.root.run / "serve.json"
    temporary = path.with_suffix(".tmp")
    settings = core.settings
    about = {
        "public_url": settings.public_url,
        "hold_release_delay_s": settings.hold_release_delay_s,
    }
    temporary.write_text(json.dumps({**addresses, **about, **local}))
    temporary.rename(path)
