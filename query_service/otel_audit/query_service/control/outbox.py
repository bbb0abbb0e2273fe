"""Audit events of changes, written in the transaction of the change and drained into the store later."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, delete, func, insert, select

from otel_audit.instrumentation.event import AuditEvent
from otel_audit.instrumentation.ids import canonical_uuid, uuid7
from otel_audit.instrumentation.vocabulary import default_severity

from .database import OPERATOR, ControlDatabase, ControlUnavailable
from .free_text import redacted
from .tables import OUTBOX

if TYPE_CHECKING:
    from ..auth.request_facts import RequestFacts

# Only administrators' changes come here, so more than this means that nothing has drained it for years;
# a change that could not be recorded is refused instead.
WAITING_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class Actor:
    """Who made a change. user_type: `user`, `service` or `system`."""

    user_id: str
    user_type: str = "user"


SERVICE: Final = Actor("otel-audit", "system")


def os_actor() -> Actor:
    """The operating system's user of this process, as `os:<name>`."""
    # Not from the environment: LOGNAME and USER say whatever the caller wants.
    uid = os.getuid()
    try:
        return Actor(f"os:{pwd.getpwuid(uid).pw_name}")
    except KeyError:
        return Actor(f"os:{uid}")


@dataclass(frozen=True, slots=True)
class Change:
    """What an administrator changed. target: (type, id, name); changes: field → (before, after)."""

    category: str
    action: str
    message: str
    target: tuple[str, str, str | None]
    changes: Mapping[str, tuple[Any, Any]] | None = None
    attributes: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """One event of the outbox that is not yet in the store."""

    seq: int
    tenant: str
    event: AuditEvent


def put_change(
    connection: Connection, organizations: Iterable[str], change: Change, *, actor: Actor, now: float
) -> None:
    """Record a change for each organization concerned and for the operator, who administers them all.

    connection: the transaction of the change itself. now: seconds since 1970-01-01 UTC.
    The copies share a request id. Raises ControlUnavailable when too many events wait.
    """
    request_id = uuid7()
    for tenant in dict.fromkeys([*organizations, OPERATOR]):
        put_event(connection, tenant, _event_of(change, actor, now, request_id))


def put_own_change(
    connection: Connection,
    organization: str,
    change: Change,
    *,
    actor: Actor,
    now: float,
    facts: RequestFacts | None = None,
) -> None:
    """Record a change that is the organization's own affair: nobody else gets a copy.

    facts: of the HTTP request that asked for it. Otherwise as `put_change`.
    """
    request_id = canonical_uuid(facts.request_id) if facts else None
    event = _event_of(change, actor, now, request_id or uuid7())
    if facts is not None:
        event = replace(
            event,
            client_address=facts.client_address,
            user_agent=facts.user_agent,
            http_method=facts.method,
            http_route=facts.route,
        )
    put_event(connection, organization, event)


def put_event(connection: Connection, tenant: str, event: AuditEvent) -> None:
    """Add one event, redacted, to the transaction of `connection`.

    Raises ControlUnavailable when too many wait.
    """
    waiting = connection.execute(select(func.max(OUTBOX.c.seq) - func.min(OUTBOX.c.seq))).scalar()
    if waiting is not None and waiting >= WAITING_MAX:
        raise ControlUnavailable(
            f"{waiting} changes wait to be recorded", hint="run 'otel-audit serve' on this data directory"
        )
    connection.execute(
        insert(OUTBOX).values(tenant=tenant, record_id=event.record_id, event=event_to_json(redacted(event)))
    )


class Outbox:
    """The events that wait, in the order of the changes they tell of."""

    def __init__(self, database: ControlDatabase) -> None:
        self._database = database

    def put(self, tenant: str, event: AuditEvent) -> None:
        """Keep one event durably until the server has stored it. Raises ControlUnavailable."""
        with self._database.write() as connection:
            put_event(connection, tenant, event)

    def waiting(self, rows_max: int, *, without: Collection[str] = ()) -> Sequence[Waiting]:
        """The oldest events, at most `rows_max`, none of the tenants `without`. Raises ControlUnavailable."""
        wanted = select(OUTBOX).where(OUTBOX.c.tenant.not_in(without)).order_by(OUTBOX.c.seq)
        with self._database.read() as connection:
            rows = connection.execute(wanted.limit(rows_max)).all()
        return [Waiting(row.seq, row.tenant, event_from_json(row.event)) for row in rows]

    def done(self, rows: Iterable[Waiting]) -> None:
        """Remove events that are durable in the store. Raises ControlUnavailable."""
        with self._database.write() as connection:
            connection.execute(delete(OUTBOX).where(OUTBOX.c.seq.in_([row.seq for row in rows])))


def utc_text(seconds: float | None) -> str | None:
    """A time in seconds UTC as RFC 3339 text, None as it is."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def event_to_json(event: AuditEvent) -> str:
    """The event's fields as one JSON object, without those that are None."""
    values = {field.name: getattr(event, field.name) for field in fields(event)}
    kept = {name: value for name, value in values.items() if value is not None}
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":"), default=_plain)


def event_from_json(text: str) -> AuditEvent:
    """The event that `event_to_json` wrote."""
    values: dict[str, Any] = json.loads(text)
    changes = values.get("changes")
    if changes is not None:
        values["changes"] = {name: tuple(pair) for name, pair in changes.items()}
    if values.get("user_roles") is not None:
        values["user_roles"] = tuple(values["user_roles"])
    return AuditEvent(**values)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is no attribute value")


def _event_of(change: Change, actor: Actor, now: float, request_id: str) -> AuditEvent:
    target_type, target_id, target_name = change.target
    return AuditEvent(
        record_id=uuid7(),
        time_unix_nano=int(now * 1_000_000) * 1_000,
        category=change.category,
        action=change.action,
        outcome="success",
        severity=default_severity(change.category, change.action),
        message=change.message,
        user_id=actor.user_id,
        user_type=actor.user_type,
        target_type=target_type,
        target_id=target_id,
        target_name=target_name,
        changes=change.changes,
        request_id=request_id,
        attributes=dict(change.attributes or {}),
    )
