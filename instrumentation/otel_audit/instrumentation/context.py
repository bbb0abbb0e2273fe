"""Who is acting and in which request: carried by contextvars through await, threads and nested blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.context import Context

from otel_audit.instrumentation.ids import canonical_uuid
from otel_audit.instrumentation.vocabulary import Attr

ACTOR_FIELDS: Final = ("user_id", "user_email", "user_name", "user_type", "user_roles", "on_behalf_of")
_IDENTITY: Final = ("user_id", "user_email", "user_name")

Resolver = Callable[[Any], Any]
"""scope or request → mapping of user_id, user_email, user_name, user_type, user_roles, on_behalf_of, tenant,
session_id; None while nobody is signed in; or an awaitable of one of these."""


@dataclass(slots=True)
class RequestScope:
    """One request as a framework plugin sees it, shared by everything that runs for the request.

    resolve: actor and tenant, asked when an event is recorded; never raises.
    route: the route template, known only after routing; None where there is none.
    denied: set once a refusal of this request has been recorded, so that it is recorded once.
    """

    request_id: str
    resolve: Callable[[], Mapping[str, Any]]
    route: Callable[[], str | None]
    http_method: str | None = None
    client_address: str | None = None
    user_agent: str | None = None
    session_id: str | None = None
    remote_span: trace.SpanContext | None = None
    denied: bool = False


_bound: ContextVar[Mapping[str, Any] | None] = ContextVar("otel_audit_bound", default=None)
_request: ContextVar[RequestScope | None] = ContextVar("otel_audit_request", default=None)


class Bound:
    """A `with` block in which every event carries `values`, on top of what outer blocks gave."""

    def __init__(self, values: Mapping[str, Any], request: RequestScope | None = None) -> None:
        self._values = {name: value for name, value in values.items() if value is not None}
        self._request = request
        self._tokens: list[Callable[[], None]] = []

    def __enter__(self) -> None:
        values = with_actor(_bound.get() or {}, self._values)
        request_id = self._request.request_id if self._request else values.get("request_id")
        if self._request is not None:
            self._enter(_request, self._request)
            # The request names its own id; a block outside of it must not.
            values.pop("request_id", None)
        elif "request_id" in values:
            request_id = values["request_id"] = canonical_uuid(str(values["request_id"]))
        if request_id and (self._request is not None or "request_id" in self._values):
            token = otel_context.attach(baggage.set_baggage(Attr.REQUEST_ID, request_id))
            self._tokens.append(lambda: otel_context.detach(token))
        self._enter(_bound, values)

    def _enter(self, variable: ContextVar[Any], value: Any) -> None:
        token = variable.set(value)
        self._tokens.append(lambda: _reset(variable, token))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_: TracebackType | None
    ) -> None:
        while self._tokens:
            self._tokens.pop()()


def _reset(variable: ContextVar[Any], token: Token[Any]) -> None:
    try:
        variable.reset(token)
    except ValueError:
        # Frameworks may leave a block in another copy of the context than they entered it in (generator
        # dependencies in a thread pool); the copy that holds the value is thrown away with its work.
        return


def with_actor(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """`base` overlaid with `given`; naming another actor drops what `base` knew of the former one.

    Without that, the e-mail address or the roles of one person could end up on another person's event.
    """
    other = any(
        given.get(name) is not None and base.get(name) is not None and given[name] != base[name]
        for name in _IDENTITY
    )
    kept = {name: value for name, value in base.items() if not (other and name in ACTOR_FIELDS)}
    return {**kept, **{name: value for name, value in given.items() if value is not None}}


def current_request() -> RequestScope | None:
    """The request being served, None outside of one."""
    return _request.get()


def current_facts() -> dict[str, Any]:
    """Everything known here and now: of the request, its resolved actor, and the blocks around."""
    request = _request.get()
    facts: dict[str, Any] = {}
    if request is not None:
        facts = {
            "request_id": request.request_id,
            "client_address": request.client_address,
            "user_agent": request.user_agent,
            "session_id": request.session_id,
            "http_method": request.http_method,
            "http_route": request.route(),
        }
        facts = with_actor(facts, request.resolve())
    else:
        carried = baggage.get_baggage(Attr.REQUEST_ID)
        facts["request_id"] = canonical_uuid(carried) if isinstance(carried, str) else None
    return with_actor(facts, _bound.get() or {})


def event_context() -> Context:
    """The OpenTelemetry context an event belongs to: the active span's, else the caller's trace."""
    current = otel_context.get_current()
    request = _request.get()
    if request is None or request.remote_span is None:
        return current
    if trace.get_current_span(current).get_span_context().is_valid:
        return current
    # Only for the event: attaching it would change the parents of the app's own spans.
    return trace.set_span_in_context(trace.NonRecordingSpan(request.remote_span), current)
