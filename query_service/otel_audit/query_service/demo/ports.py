"""The addresses of the service: the usual ones, and the next free one for each that is taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ..app.listeners import PortTaken, bind
from .child import DemoFailed

SEARCH_MAX: Final = 100
"""So many ports above the usual one are tried; a machine with all of them taken has another problem."""
_TITLES: Final = {
    "otlp_grpc": "OTLP/gRPC",
    "otlp_http": "OTLP/HTTP",
    "http": "the console",
    "metrics": "metrics",
}


def free_addresses(wanted: Mapping[str, str], say: Callable[[str], None]) -> dict[str, str]:
    """listener → `HOST:PORT`, each as wanted or on the next free port, which `say` is told.

    Another program may still be quicker: whoever binds them must be ready to ask again. Raises DemoFailed.
    """
    found: dict[str, str] = {}
    for name, address in wanted.items():
        others = {other for key, other in wanted.items() if key != name} | set(found.values())
        found[name] = _next_free(name, address, others)
        if found[name] != address:
            port, free = address.rpartition(":")[2], found[name].rpartition(":")[2]
            say(f"Port {port} is taken; {_TITLES[name]} is on port {free} instead.")
    return found


def _next_free(name: str, address: str, others: set[str]) -> str:
    host, _, port = address.rpartition(":")
    if port == "0":
        return address
    for number in range(int(port), min(int(port) + SEARCH_MAX, 65_536)):
        candidate = f"{host}:{number}"
        if candidate not in others and _is_free(candidate, name):
            return candidate
    raise DemoFailed(
        f"no free port from {port} on for {_TITLES[name]}",
        hint=f"set OTEL_AUDIT__{name.upper()}__BIND=127.0.0.1:0",
    )


def _is_free(address: str, name: str) -> bool:
    try:
        bind(address, name).close()
    except PortTaken:
        return False
    return True
