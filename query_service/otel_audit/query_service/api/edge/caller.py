"""Who is at the other end of a connection, as far as the connection itself tells."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Sequence
from typing import Any, Final, cast

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import Scope

from otel_audit.instrumentation.ids import canonical_uuid, uuid7
from otel_audit.query_service.auth.request_facts import RequestFacts

_REQUEST_ID: Final = "otel_audit.request_id"
# A chain of proxies is a handful; what a client prepends beyond this is noise.
_FORWARDED_HOPS_MAX: Final = 16
# Longer agents are cut: the header is the client's to fill.
_AGENT_CHARS_MAX: Final = 512

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def assign_request_id(scope: Scope) -> str:
    """Give the connection its request id: the caller's `X-Request-ID` when it is a UUID, else a new one."""
    given = Headers(scope=scope).get("x-request-id")
    request_id = canonical_uuid(given) or uuid7()
    scope[_REQUEST_ID] = request_id
    return request_id


def request_id_of(connection: HTTPConnection[Any]) -> str:
    """The id that `assign_request_id` gave; a connection that came without one gets it now."""
    found = connection.scope.get(_REQUEST_ID)
    return cast(str, found) if found else assign_request_id(connection.scope)


def facts_of(
    connection: HTTPConnection[Any], route: str, trusted_proxies: Sequence[str] = ()
) -> RequestFacts:
    """What the audit trail keeps about a request. route: the route's template, never the path asked for."""
    agent = connection.headers.get("user-agent")
    return RequestFacts(
        request_id=request_id_of(connection),
        client_address=client_address(connection, trusted_proxies),
        user_agent=agent[:_AGENT_CHARS_MAX] if agent else None,
        method=connection.scope.get("method", "GET"),
        route=route,
    )


def client_address(connection: HTTPConnection[Any], trusted_proxies: Sequence[str]) -> str | None:
    """The peer's address, or the one a listed proxy saw.

    `X-Forwarded-For` is read from its right end and only as long as the hop that wrote it is listed:
    everything further left is what a client claims about itself.
    """
    peer = connection.client.host if connection.client else None
    if peer is None or not trusted_proxies:
        return peer
    networks = _networks(tuple(trusted_proxies))
    claimed = ",".join(connection.headers.getlist("x-forwarded-for")).split(",")
    address = peer
    for hop in reversed(claimed[-_FORWARDED_HOPS_MAX:]):
        if not _is_listed(address, networks) or not _is_address(hop.strip()):
            break
        address = hop.strip()
    return address


@functools.lru_cache(maxsize=4)  # the setting of one process, and those of tests
def _networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_listed(text: str, networks: Sequence[Network]) -> bool:
    if not _is_address(text):
        return False
    address = ipaddress.ip_address(text)
    return any(address in network for network in networks)
