"""The histogram as geometry: x in per cent, y in pixels, so that the SVG needs no script and no style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from .clock import Zone, rfc3339

SEVERITIES: Final = ("info", "warning", "error", "critical")
PLOT_HEIGHT_PX: Final = 72
_BAR_SHARE: Final = 0.84
"""Part of its slot that a bar fills; the rest is the gap."""
_SLIVER_PX: Final = 2.0
"""One critical event among a million must still be seen."""
_TICKS: Final = 6


@dataclass(frozen=True, slots=True)
class Segment:
    severity: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One bucket. start and end: RFC 3339 UTC, what a click narrows the page to."""

    x: float
    width: float
    slot_x: float
    slot_width: float
    segments: tuple[Segment, ...]
    start: str
    end: str
    label: str
    counts: Mapping[str, int]
    total: int


@dataclass(frozen=True, slots=True)
class Tick:
    x: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    totals: Mapping[str, int]
    total: int
    peak: int
    bucket_words: str


def build_chart(histogram: Mapping[str, Any], zone: Zone) -> Chart:
    """From the answer of `aggregate.histogram`; buckets are taken as evenly spaced and ascending."""
    buckets: Sequence[Mapping[str, Any]] = histogram["buckets"]
    step = timedelta(seconds=float(histogram["bucket_seconds"]))
    totals = {s: sum(int(b["counts"].get(s, 0)) for b in buckets) for s in SEVERITIES}
    sums = [sum(int(n) for n in b["counts"].values()) for b in buckets]
    peak = max(sums, default=0)
    slot = 100 / max(len(buckets), 1)
    starts = [datetime.fromisoformat(b["start"]) for b in buckets]
    bars = tuple(
        Bar(
            x=round(slot * (i + (1 - _BAR_SHARE) / 2), 3),
            width=round(slot * _BAR_SHARE, 3),
            slot_x=round(slot * i, 3),
            slot_width=round(slot, 3),
            segments=_segments(bucket["counts"], peak),
            start=rfc3339(starts[i]),
            end=rfc3339(starts[i] + step),
            label=zone.short(starts[i]),
            counts={s: int(bucket["counts"].get(s, 0)) for s in SEVERITIES},
            total=sums[i],
        )
        for i, bucket in enumerate(buckets)
    )
    return Chart(bars, _ticks(starts, step, zone), totals, int(histogram["total"]), peak, _words(step))


def _segments(counts: Mapping[str, int], peak: int) -> tuple[Segment, ...]:
    """Stacked from the bottom, the gravest lowest, where the eye reads height exactly."""
    out: list[Segment] = []
    floor = float(PLOT_HEIGHT_PX)
    for severity in reversed(SEVERITIES):
        count = int(counts.get(severity, 0))
        if not count or not peak:
            continue
        height = min(max(count / peak * PLOT_HEIGHT_PX, _SLIVER_PX), floor)
        floor -= height
        out.append(Segment(severity, round(floor, 2), round(height, 2)))
    return tuple(out)


def _ticks(starts: Sequence[datetime], step: timedelta, zone: Zone) -> tuple[Tick, ...]:
    if not starts:
        return ()
    whole = step * len(starts)
    every = max(len(starts) // _TICKS, 1)
    out: list[Tick] = []
    for i in range(0, len(starts), every):
        local = starts[i].astimezone(zone.info)
        label = f"{local.day} {local:%b}" if whole > timedelta(days=3) else f"{local:%H:%M}"
        if whole <= timedelta(days=3) and (not out or local.date() != _day(starts[i - every], zone)):
            label = f"{local.day} {local:%b} {label}"
        # A label near the right edge would be cut off by it.
        if i / len(starts) <= 0.93:
            out.append(Tick(round(100 * i / len(starts), 3), label))
    return tuple(out)


def _day(moment: datetime, zone: Zone) -> object:
    return moment.astimezone(zone.info).date()


def _words(step: timedelta) -> str:
    seconds = int(step.total_seconds())
    for unit, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= unit and seconds % unit == 0:
            count = seconds // unit
            return name if count == 1 else f"{count} {name}s"
    return f"{seconds} seconds" if seconds != 1 else "second"
