"""Retention: when a partition goes, in calendar months of its class."""

from __future__ import annotations

import calendar
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from datetime import date as calendar_date
from pathlib import Path
from typing import Final

from ..ledger.entry import ManifestFile

DEFAULT_MONTHS: Final[Mapping[str, int]] = {"standard": 6, "rag": 3}
KEPT_ASIDE: Final = "kept-aside"
"""In place of a class: the lines that imports refused. They are kept as long as standard events."""


@dataclass(frozen=True, slots=True)
class Expired:
    """One partition that is due, or a day's files of refused lines (class KEPT_ASIDE).

    deleted_from: the first day on which it may go; held: rows that stay; aside: the files of refused lines.
    """

    tenant: str
    retention: str
    date: str
    deleted_from: calendar_date
    files: tuple[ManifestFile, ...]
    held: int = 0
    aside: tuple[Path, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows go."""
        return sum(file.ref.rows for file in self.files) - self.held

    def without(self, held: int) -> Expired:
        """The same with so many rows staying."""
        return replace(self, held=held)


def add_months(day: calendar_date, months: int) -> calendar_date:
    """The same day `months` later, clamped to the end of a shorter month."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return calendar_date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def deleted_from(day: calendar_date, months: int) -> calendar_date:
    """A partition is kept for its whole period and goes from 00:00 UTC of the day after it."""
    return add_months(day, months) + timedelta(days=1)


def expired(
    tenant: str, files: Iterable[ManifestFile], months: Mapping[str, int], now: datetime
) -> list[Expired]:
    """Partitions of a tenant due at `now` (aware), oldest first."""
    today = now.astimezone(UTC).date()
    partitions: dict[tuple[str, str], list[ManifestFile]] = {}
    for file in files:
        partitions.setdefault((file.ref.date, file.ref.retention), []).append(file)
    due = []
    for (day, retention), members in sorted(partitions.items()):
        limit = deleted_from(calendar_date.fromisoformat(day), months[retention])
        if today >= limit:
            due.append(Expired(tenant, retention, day, limit, tuple(members)))
    return due


def expired_asides(
    tenant: str, files: Iterable[tuple[Path, float]], months: Mapping[str, int], now: datetime
) -> list[Expired]:
    """Files of refused lines due at `now` (aware), by day. files: each with its mtime, seconds UTC."""
    days: dict[calendar_date, list[Path]] = {}
    for path, written_at in files:
        days.setdefault(datetime.fromtimestamp(written_at, UTC).date(), []).append(path)
    due = []
    for day, members in sorted(days.items()):
        limit = deleted_from(day, months["standard"])
        if now.astimezone(UTC).date() >= limit:
            aside = tuple(sorted(members))
            due.append(Expired(tenant, KEPT_ASIDE, day.isoformat(), limit, (), aside=aside))
    return due
