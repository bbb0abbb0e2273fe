"""All events of one request or trace, in order across services, as a list with a time axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from markupsafe import Markup

from .clock import Instant, Zone, span_words
from .rows import Row, actor_of, build_row, cell


@dataclass(frozen=True, slots=True)
class Step:
    """row: the event; x: where on the axis, per cent; offset: time since the first event."""

    row: Row
    x: float
    offset: str


@dataclass(frozen=True, slots=True)
class Journey:
    steps: tuple[Step, ...]
    services: tuple[Markup, ...]
    actor: Markup | None
    start: Instant | None
    duration: str


def build_journey(
    events: Sequence[Mapping[str, Any]], zone: Zone, event_url: Callable[[str], str]
) -> Journey:
    """events: ascending by time; services are listed in order of first appearance."""
    if not events:
        return Journey((), (), None, None, "")
    times = [datetime.fromisoformat(str(e["time"])) for e in events]
    whole = max((times[-1] - times[0]).total_seconds(), 0.0)
    steps: list[Step] = []
    for event, time in zip(events, times, strict=True):
        since = max(time - times[0], timedelta(0))
        url = event_url(str(event["event_id"]))
        steps.append(
            Step(
                row=build_row(event, zone, url=url, open_url=url),
                # Kept off both edges, so that the first and last marks are whole.
                x=round(3 + 94 * since.total_seconds() / whole, 2) if whole else 3,
                offset="0" if not since else f"+{span_words(since)}",
            )
        )
    services = dict.fromkeys(str(event.get("service_name") or "") for event in events)
    actors = [a for a in (actor_of(e) for e in events) if a]
    return Journey(
        steps=tuple(steps),
        services=tuple(cell(name) or Markup("unknown service") for name in services),
        actor=cell(actors[0]) if actors else None,
        start=zone.of(times[0]),
        duration=span_words(times[-1] - times[0]),
    )
