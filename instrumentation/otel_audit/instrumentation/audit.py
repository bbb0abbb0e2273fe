"""The API of an audited app: `audit.configure`, `audit.record`, `audit.context`, `audit.flush`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from otel_audit.instrumentation.config import Protocol, Redact
from otel_audit.instrumentation.context import Bound, Resolver
from otel_audit.instrumentation.emitter import ProcessorFactory
from otel_audit.instrumentation.trail import SHUTDOWN_S, Counts, OnError, trail

__all__ = ["configure", "context", "counts", "flush", "record", "shutdown"]


def configure(
    *,
    endpoint: str | None = None,
    key: str | None = None,
    resolver: Resolver | str | None = None,
    tenant: str | None = None,
    service_name: str | None = None,
    on_error: OnError = "count",
    exporter: str | ProcessorFactory = "otlp",
    protocol: Protocol | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    certificate: str | None = None,
    client_certificate: str | None = None,
    client_key: str | None = None,
    schedule_delay_ms: float | None = None,
    redact: Redact | None = None,
) -> None:
    """Say where events go. What is left out comes from the OTEL_AUDIT_… variables, then from defaults.

    endpoint: base URL of the receiver, `http://127.0.0.1:4318`. key: ingest key.
    resolver: tells who is acting, or its `package.module:function`.
    on_error: "raise" lets `record` raise AuditError instead of counting.
    exporter: name in the entry-point group otel_audit_exporter, or a factory of an EventProcessor.
    schedule_delay_ms: how long an event may wait for company, 1 to 60000, default 200.
    redact: "secrets" leaves personal data to the receiver's policy of the organization; default "all".
    Raises InvalidConfig. Without an endpoint, or under OTEL_SDK_DISABLED, nothing is recorded and a
    warning says so.
    """
    given = {
        "endpoint": endpoint,
        "key": key,
        "tenant": tenant,
        "service_name": service_name,
        "protocol": protocol,
        "headers": headers,
        "timeout_s": timeout_s,
        "certificate": certificate,
        "client_certificate": client_certificate,
        "client_key": client_key,
        "schedule_delay_ms": schedule_delay_ms,
        "redact": redact,
    }
    trail.configure(given, resolver=resolver, on_error=on_error, exporter=exporter)


def record(
    category: str,
    action: str,
    *,
    target: Sequence[Any] | str | None = None,
    outcome: str | None = None,
    changes: Mapping[str, tuple[Any, Any]] | None = None,
    message: str | None = None,
    severity: str | None = None,
    attributes: Mapping[str, Any] | None = None,
    user_id: str | None = None,
    user_email: str | None = None,
    user_name: str | None = None,
    user_type: str | None = None,
    user_roles: Sequence[str] | None = None,
    on_behalf_of: str | None = None,
    client_address: str | None = None,
    user_agent: str | None = None,
    session_id: str | None = None,
    request_id: str | None = None,
    http_method: str | None = None,
    http_route: str | None = None,
    http_status: int | None = None,
    retention_class: str | None = None,
    tenant: str | None = None,
    record_id: str | None = None,
    time_unix_nano: int | None = None,
) -> str | None:
    """Record one event and return its record id, or None when nothing was recorded.

    target: (type, id, name), the later parts optional. changes: field → (before, after), changed ones only.
    outcome, severity: by the action's name when left out. Everything else left out comes from the request
    and the `context` blocks around the call; naming an actor replaces the one around it.
    Never raises unless configured with on_error="raise" (then AuditError).
    """
    given = {name: value for name, value in locals().items() if value is not None}
    category, action = given.pop("category", ""), given.pop("action", "")
    given.setdefault("target", None)
    return trail.record(category, action, given)


def context(
    *,
    user_id: str | None = None,
    user_email: str | None = None,
    user_name: str | None = None,
    user_type: str | None = None,
    user_roles: Sequence[str] | None = None,
    on_behalf_of: str | None = None,
    tenant: str | None = None,
    client_address: str | None = None,
    user_agent: str | None = None,
    session_id: str | None = None,
    request_id: str | None = None,
    http_method: str | None = None,
    http_route: str | None = None,
) -> Bound:
    """A `with` block whose events carry these facts; blocks nest, the inner one wins.

    It reaches everything awaited inside, and threads started with a copy of the context.
    request_id: a UUID, also put into the W3C baggage of outgoing calls; anything else is ignored.
    """
    return Bound(dict(locals()))


def flush(timeout_s: float = 10.0) -> bool:
    """Send what waits; whether the receiver accepted everything recorded so far, within timeout_s."""
    return trail.flush(timeout_s)


def shutdown(timeout_s: float = SHUTDOWN_S) -> None:
    """Send what waits within timeout_s and stop recording until `configure` is called again."""
    trail.shutdown(timeout_s)


def counts() -> Counts:
    """How many events were recorded, refused as invalid, failed or had nowhere to go, since the start."""
    return trail.counts
