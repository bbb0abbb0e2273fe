"""Instants as people read them, in the zone that the link names."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

_ZONE_CHARS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment, split so that a template can set its parts apart.

    iso: RFC 3339 UTC with µs, for machines. day `23 Nov`, year `2025`, time `14:05:09`, fraction `.123`.
    """

    iso: str
    day: str
    year: str
    time: str
    fraction: str
    zone: str


@dataclass(frozen=True, slots=True)
class Zone:
    """The time zone of a page. name: an IANA name, or UTC. known: False when the asked one does not exist."""

    name: str
    info: tzinfo
    known: bool = True

    @classmethod
    def named(cls, name: str | None) -> Zone:
        """UTC when nothing is asked for or the name is unknown here; a link must never fail over its zone."""
        if not name or name == "UTC":
            return cls("UTC", UTC)
        try:
            if len(name) > _ZONE_CHARS_MAX:
                return cls("UTC", UTC, known=False)
            return cls(name, ZoneInfo(name))
        except (OSError, ValueError, KeyError):
            return cls("UTC", UTC, known=False)

    def instant(self, text: str) -> Instant:
        """From RFC 3339 text. A text that is no time is shown as it is."""
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return Instant(text, text, "", "", "", "")
        return self.of(moment)

    def of(self, moment: datetime) -> Instant:
        local = moment.astimezone(self.info)
        return Instant(
            iso=rfc3339(moment),
            day=f"{local.day} {local:%b}",
            year=f"{local:%Y}",
            time=f"{local:%H:%M:%S}",
            fraction=f".{local.microsecond // 1000:03d}",
            zone=local.tzname() or self.name,
        )

    def full(self, moment: datetime) -> str:
        """`23 Nov 2025, 14:05:09.123456 UTC`."""
        local = moment.astimezone(self.info)
        return f"{local.day} {local:%b %Y, %H:%M:%S}.{local.microsecond:06d} {local.tzname() or self.name}"

    def short(self, moment: datetime) -> str:
        """`23 Nov 14:05`."""
        local = moment.astimezone(self.info)
        return f"{local.day} {local:%b %H:%M}"

    def from_input(self, text: str) -> str:
        """A `datetime-local` value of this zone as RFC 3339 UTC; anything else unchanged."""
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return text
        if moment.tzinfo is not None or len(text) <= len("2025-11-23"):
            return text
        return rfc3339(moment.replace(tzinfo=self.info))

    def to_input(self, moment: datetime) -> str:
        """The value of a `datetime-local` input, to the second."""
        return f"{moment.astimezone(self.info):%Y-%m-%dT%H:%M:%S}"


def rfc3339(moment: datetime) -> str:
    """UTC with µs and Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def span_words(span: timedelta) -> str:
    """A duration in its largest fitting unit: `85 ms`, `2.4 s`, `3 min 5 s`, `2 h 10 min`, `4 d 3 h`."""
    seconds = span.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    for unit, name, below, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= unit:
            rest = int(seconds % unit // below)
            return f"{int(seconds // unit)} {name}" + (f" {rest} {part}" if rest else "")
    return f"{seconds:.0f} s"
