"""One event as one line of the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from .clock import Instant, Zone
from .text import CELL_CHARS_MAX, plain, visible


@dataclass(frozen=True, slots=True)
class Row:
    """What the table shows; `detail_url` opens it in place, `url` is its permanent link."""

    event_id: str
    when: Instant
    severity: str
    category: Markup
    action: Markup
    message: Markup | None
    outcome: str
    outcome_text: Markup
    actor: Markup | None
    actor_kind: str | None
    resource_type: Markup | None
    resource: Markup | None
    address: Markup | None
    service: Markup | None
    label: str
    url: str
    open_url: str


def build_row(event: Mapping[str, Any], zone: Zone, *, url: str, open_url: str) -> Row:
    """event: as `search` returns it. Unknown severities and outcomes are shown as they are, uncoloured."""
    actor = actor_of(event)
    resource = event.get("resource_name") or event.get("resource_id")
    kind = event.get("user_type")
    when = zone.instant(str(event["time"]))
    outcome = str(event.get("outcome") or "unknown")
    return Row(
        event_id=str(event["event_id"]),
        when=when,
        severity=str(event.get("severity") or "info"),
        category=cell(event.get("category")) or Markup(""),
        action=cell(event.get("action")) or Markup(""),
        message=cell(event.get("message")),
        outcome=outcome,
        outcome_text=visible(outcome, chars_max=20),
        actor=cell(actor),
        actor_kind=str(kind) if kind in ("service", "system", "anonymous") else None,
        resource_type=cell(event.get("resource_type")),
        resource=cell(resource),
        address=cell(event.get("client_address")),
        service=cell(event.get("service_name")),
        label=plain(f"{event.get('action')} at {when.day} {when.time} by {actor or 'nobody known'}"),
        url=url,
        open_url=open_url,
    )


def actor_of(event: Mapping[str, Any]) -> str | None:
    """The name people recognise: e-mail, else name, else id."""
    value = event.get("user_email") or event.get("user_name") or event.get("user_id")
    return str(value) if value else None


def cell(value: object) -> Markup | None:
    return None if value in (None, "") else visible(value, chars_max=CELL_CHARS_MAX)
