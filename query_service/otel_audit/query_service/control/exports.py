"""Exports of each organization, kept so that its hourly rate outlives a restart."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import delete, insert, select, update

from otel_audit.instrumentation.ids import uuid7

from .database import ControlDatabase
from .tables import EXPORTS

Outcome = Literal["done", "failed", "cancelled"]

# The longest period a rate is given for is a day; older rows count for nothing.
_KEPT_S: Final = 2 * 86_400


@dataclass(frozen=True, slots=True)
class Export:
    """One export. Times are seconds UTC; outcome is None while it runs."""

    id: str
    org: str
    user: str
    started_at: float
    finished_at: float | None
    outcome: str | None


class Exports:
    """Who exported when. Whether one more is allowed is not decided here."""

    def __init__(self, database: ControlDatabase, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now

    def recent(self, org: str, since: float) -> Sequence[Export]:
        """Exports of `org` begun at or after `since`, oldest first. Raises ControlUnavailable."""
        wanted = select(EXPORTS).where(EXPORTS.c.org == org, EXPORTS.c.started_at >= since)
        with self._database.read() as connection:
            rows = connection.execute(wanted.order_by(EXPORTS.c.started_at, EXPORTS.c.id)).all()
        return [Export(*row) for row in rows]

    def add(self, org: str, user: str) -> str:
        """Begin an export; its id, for `finish`. Raises ControlUnavailable."""
        now, export_id = self._now(), uuid7()
        with self._database.write() as connection:
            connection.execute(delete(EXPORTS).where(EXPORTS.c.started_at < now - _KEPT_S))
            connection.execute(insert(EXPORTS).values(id=export_id, org=org, user=user, started_at=now))
        return export_id

    def finish(self, export_id: str, outcome: Outcome) -> None:
        """Say how an export ended; later calls change nothing. Raises ControlUnavailable."""
        with self._database.write() as connection:
            connection.execute(
                update(EXPORTS)
                .where(EXPORTS.c.id == export_id, EXPORTS.c.outcome.is_(None))
                .values(finished_at=self._now(), outcome=outcome)
            )

    def fail_unfinished(self) -> int:
        """Call when a server starts: what ran when the last one died has failed; how many."""
        with self._database.write() as connection:
            return connection.execute(
                update(EXPORTS)
                .where(EXPORTS.c.outcome.is_(None))
                .values(finished_at=self._now(), outcome="failed")
            ).rowcount
