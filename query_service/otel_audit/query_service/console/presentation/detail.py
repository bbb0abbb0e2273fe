"""One event, opened: what changed first, then every field, its redactions, and the whole JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from .clock import Zone
from .text import plain, visible

COPY_CHARS_MAX: Final = 20_000
"""A copy button carries its value in the page; longer values are copied from the JSON."""
JSON_CHARS_MAX: Final = 200_000
"""More than this is read by the API, not on a page."""

# Field → filter that finds the same value, where there is one.
FIELD_FILTERS: Final[Mapping[str, str]] = {
    "category": "category",
    "action": "action",
    "severity": "severity",
    "outcome": "outcome",
    "resource_type": "resource_type",
    "service_name": "service",
    "user_id": "user",
    "user_email": "user",
    "client_address": "ip",
    "session_id": "session",
    "request_id": "request",
    "trace_id": "trace",
    "resource_id": "resource_id",
}

GROUPS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("What", ("category", "action", "outcome", "severity", "message", "event_name")),
    ("Who", ("user_email", "user_name", "user_id", "user_type", "user_roles", "on_behalf_of")),
    ("To what", ("resource_type", "resource_name", "resource_id")),
    ("From where", ("client_address", "user_agent", "session_id")),
    ("Request", ("request_id", "trace_id", "span_id", "http_method", "http_route", "http_status")),
    ("When", ("time", "observed_time", "received_time")),
    (
        "Emitted by",
        (
            "service_name",
            "service_version",
            "service_instance_id",
            "deployment_environment",
            "emitter_id",
            "emitter_seq",
        ),
    ),
    (
        "Record",
        (
            "event_id",
            "tenant",
            "retention",
            "date",
            "flags",
            "writer",
            "seq",
            "policy_version",
            "content_digest",
        ),
    ),
)

# Shown in sections of their own, or the same as another field.
_ELSEWHERE: Final = frozenset(
    {"changes", "attributes", "otel_resource", "redactions", "time_unix_nano", "severity_number"}
)

FilterUrl = Callable[[str, str], str | None]
"""(filter name, value) → link, or None where the filter does not exist. `not.<name>` excludes."""


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    value: Markup
    copy: str | None
    only_url: str | None
    exclude_url: str | None
    redacted: str | None
    spoken: str


@dataclass(frozen=True, slots=True)
class Change:
    name: Markup
    before: Markup | None
    after: Markup | None


@dataclass(frozen=True, slots=True)
class Redaction:
    rule: str
    field: Markup
    count: int


@dataclass(frozen=True, slots=True)
class Detail:
    event_id: str
    title: Markup
    changes: tuple[Change, ...]
    groups: tuple[tuple[str, tuple[Field, ...]], ...]
    attributes: tuple[Field, ...]
    resource: tuple[Field, ...]
    redactions: tuple[Redaction, ...]
    flags: tuple[Markup, ...]
    json: Markup
    json_copy: str | None


def build_detail(event: Mapping[str, Any], zone: Zone, filter_url: FilterUrl) -> Detail:
    """event: as `get_event` returns it, all columns; whatever else it holds is listed too."""
    redactions = tuple(
        Redaction(str(r["rule"]), visible(r["field"], chars_max=120), int(r["count"]))
        for r in event.get("redactions") or ()
    )
    by_field = _by_field(event.get("redactions") or ())
    groups = [
        (title, tuple(_field(n, event[n], zone, filter_url, by_field) for n in names if _given(event.get(n))))
        for title, names in GROUPS
    ]
    listed = {n for _, names in GROUPS for n in names} | _ELSEWHERE
    rest = [n for n in event if n not in listed and _given(event[n])]
    if rest:
        groups.append(("More", tuple(_field(n, event[n], zone, filter_url, by_field) for n in rest)))
    whole = json.dumps(event, ensure_ascii=False, indent=2, default=str)
    return Detail(
        event_id=str(event["event_id"]),
        title=visible(
            event.get("message") or event.get("event_name") or event.get("action") or "", chars_max=300
        ),
        changes=_changes(event.get("changes")),
        groups=tuple((title, fields) for title, fields in groups if fields),
        attributes=_tree("attributes", event.get("attributes"), by_field),
        resource=_tree("otel_resource", event.get("otel_resource"), by_field),
        redactions=redactions,
        flags=tuple(visible(f, chars_max=60) for f in event.get("flags") or ()),
        json=visible(whole, chars_max=JSON_CHARS_MAX, lines=True),
        json_copy=whole if len(whole) <= COPY_CHARS_MAX else None,
    )


def _given(value: object) -> bool:
    return value is not None and value != "" and value != [] and value != {}


def _by_field(redactions: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    out: dict[str, str] = {}
    for r in redactions:
        times = f" ×{r['count']}" if int(r["count"]) > 1 else ""
        said = f"{r['rule']}{times}"
        out[str(r["field"])] = f"{out[str(r['field'])]}, {said}" if str(r["field"]) in out else said
    return out


def _field(
    name: str,
    value: Any,
    zone: Zone,
    filter_url: FilterUrl,
    redacted: Mapping[str, str],
    label: str | None = None,
) -> Field:
    text = _text(value)
    shown = visible(text)
    if name in ("time", "observed_time", "received_time") and zone.name != "UTC":
        when = zone.instant(text)
        shown += Markup(' <span class="aside">{} {} {}{} {}</span>').format(
            when.day, when.year, when.time, when.fraction, when.zone
        )
    filter_name = FIELD_FILTERS.get(name)
    return Field(
        name=label or name,
        value=shown,
        copy=text if len(text) <= COPY_CHARS_MAX else None,
        only_url=filter_url(filter_name, text) if filter_name else None,
        exclude_url=filter_url(f"not.{filter_name}", text) if filter_name else None,
        # The marker in the text says it already.
        redacted=None if "[REDACTED:" in text else redacted.get(name),
        spoken=plain(f"{label or name} {text}", chars_max=60),
    )


def _tree(column: str, value: object, redacted: Mapping[str, str]) -> tuple[Field, ...]:
    """A JSON column as its first level; deeper values stay JSON text."""
    if not isinstance(value, Mapping):
        return ()
    return tuple(
        Field(
            name=plain(name),
            value=visible(_text(inner)),
            copy=_text(inner) if len(_text(inner)) <= COPY_CHARS_MAX else None,
            only_url=None,
            exclude_url=None,
            redacted=redacted.get(f"{column}.{name}") or redacted.get(str(name)),
            spoken=plain(f"{name} {_text(inner)}", chars_max=60),
        )
        for name, inner in sorted(value.items(), key=lambda item: str(item[0]))
    )


def _changes(value: object) -> tuple[Change, ...]:
    if not isinstance(value, Mapping):
        return ()
    out: list[Change] = []
    for name, pair in value.items():
        sides: Mapping[str, Any] = pair if isinstance(pair, Mapping) else {"after": pair}
        out.append(
            Change(
                visible(name, chars_max=200),
                _side(sides.get("before")),
                _side(sides.get("after")),
            )
        )
    return tuple(out)


def _side(value: object) -> Markup | None:
    return None if value is None else visible(_text(value))


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return json.dumps(value, ensure_ascii=False, default=str)
