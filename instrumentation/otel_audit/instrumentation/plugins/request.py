"""What an HTTP request says about itself, and how much of that is believed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

from opentelemetry import baggage, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otel_audit.instrumentation.config import InvalidConfig
from otel_audit.instrumentation.context import ACTOR_FIELDS
from otel_audit.instrumentation.ids import canonical_uuid, uuid7
from otel_audit.instrumentation.values import clean_text
from otel_audit.instrumentation.vocabulary import ActorType, Attr

Network = IPv4Network | IPv6Network
ROUTES_MAX: Final = 10_000
"""Routes looked at to find a mounted one; no app has more, and a router that contains itself must end."""

_RESOLVED: Final = frozenset({*ACTOR_FIELDS, "tenant", "session_id"})


def parse_networks(proxies: Iterable[str]) -> tuple[Network, ...]:
    """Addresses and CIDR ranges as networks. Raises InvalidConfig."""
    networks = []
    for proxy in proxies:
        try:
            networks.append(ip_network(proxy, strict=False))
        except ValueError:
            raise InvalidConfig(
                "trusted_proxies", f"{proxy!r} is no address", hint="such as 10.0.0.0/8"
            ) from None
    return tuple(networks)


def request_id_of(headers: Mapping[str, str]) -> str:
    """The request's UUID: of X-Request-ID, else of the baggage, else a new one. headers: lower-case names."""
    known = canonical_uuid(headers.get("x-request-id", "").strip())
    if known is None:
        carried = baggage.get_baggage(Attr.REQUEST_ID)
        if carried is None and "baggage" in headers:
            sent = W3CBaggagePropagator().extract({"baggage": headers["baggage"]}, Context())
            carried = baggage.get_baggage(Attr.REQUEST_ID, sent)
        known = canonical_uuid(carried) if isinstance(carried, str) else None
    return known or uuid7()


def remote_span_of(headers: Mapping[str, str]) -> trace.SpanContext | None:
    """The caller's span by its traceparent header, None without a valid one."""
    if "traceparent" not in headers:
        return None
    context = TraceContextTextMapPropagator().extract(headers, Context())
    span = trace.get_current_span(context).get_span_context()
    return span if span.is_valid else None


def client_address_of(peer: str | None, forwarded_for: str, trusted: tuple[Network, ...]) -> str | None:
    """The address of the client: the peer, or what trusted proxies say they forwarded for.

    forwarded_for: the X-Forwarded-For header. It is read from the right, and only as far as each hop is
    trusted: everything further left the client itself may have written.
    """
    if not peer:
        return None
    address = _address(peer)
    for hop in reversed(forwarded_for.split(",")):
        if address is None or not any(address in network for network in trusted):
            break
        before = _address(hop)
        if before is None:
            break
        address = before
    return peer if address is None else str(address)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def cookie_of(header: str, name: str) -> str | None:
    """The value of one cookie, None when absent or empty."""
    for part in header.split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value.strip('"') or None
    return None


def framework_actor(scope: Mapping[str, Any]) -> dict[str, Any]:
    """The actor that Starlette's authentication put into scope["user"]; empty when nobody is signed in."""
    user = scope.get("user")
    if user is None or not getattr(user, "is_authenticated", False):
        return {}
    facts = {"user_id": _attribute(user, "identity", "id", "username", "display_name")}
    facts["user_name"] = _attribute(user, "display_name")
    facts["user_email"] = _attribute(user, "email")
    return checked_actor(facts)


def _attribute(user: Any, *names: str) -> Any:
    for name in names:
        try:
            value = getattr(user, name, None)
        except NotImplementedError:
            continue  # Starlette's BaseUser declares `identity` without giving one.
        if isinstance(value, (str, int)) and value != "":
            return str(value)
    return None


def checked_actor(answer: Any) -> dict[str, Any]:
    """What a resolver answered, without what no event could carry."""
    if not isinstance(answer, Mapping):
        return {}
    facts = {name: answer[name] for name in _RESOLVED if answer.get(name) not in (None, "", ())}
    if facts.get("user_type") not in tuple(ActorType):
        facts.pop("user_type", None)
    roles = facts.pop("user_roles", None)
    cleaned: dict[str, Any] = {name: clean_text(str(value)) for name, value in facts.items()}
    if roles:
        cleaned["user_roles"] = (roles,) if isinstance(roles, str) else tuple(str(role) for role in roles)
    return cleaned


def route_of(scope: Mapping[str, Any]) -> str | None:
    """The template of the matched route, such as /files/{file_id}; None where the framework tells none."""
    matched = scope.get("route")
    path = getattr(matched, "path", None)
    if not isinstance(path, str):
        return None
    # A route inside a mount knows only its own part: find it in the tree for the whole template.
    left = ROUTES_MAX
    stack = [("", getattr(scope.get("router"), "routes", None) or ())]
    while stack and left > 0:
        prefix, routes = stack.pop()
        for route in routes[:left]:
            left -= 1
            whole = f"{prefix}{getattr(route, 'path', '')}"
            if route is matched:
                return whole
            if inner := getattr(route, "routes", None):
                stack.append((whole, inner))
    return path
