"""How often an organization may export: only finished and running exports count."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Literal, Protocol

from otel_audit.instrumentation.errors import AuditError

AT_ONCE_MAX: Final = 2
"""An export reads everything; more of one organization at a time would starve its neighbours."""

Outcome = Literal["done", "failed", "cancelled"]
_RATE: Final = re.compile(r"([1-9][0-9]{0,5})/([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
# How long a client should wait for a running export of its neighbour to end.
_BUSY_RETRY_S: Final = 5.0
# An export that runs for longer than a day has no reader any more.
_RUNNING_MAX_S: Final = 86_400


class ExportLimited(AuditError):
    """No export now; one may start in `retry_after_s` seconds."""

    def __init__(self, message: str, *, hint: str, retry_after_s: float) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class Export(Protocol):
    """One export as the log keeps it. outcome: None while it runs."""

    @property
    def started_at(self) -> float: ...
    @property
    def outcome(self) -> str | None: ...


class ExportLog(Protocol):
    """Where exports are kept, so that the rate outlives a restart."""

    def recent(self, org: str, since: float) -> Sequence[Export]: ...
    def add(self, org: str, user: str) -> str: ...
    def finish(self, export_id: str, outcome: Outcome) -> None: ...


class ExportPermit:
    """Leave for one export; `finish` must be called however it ends."""

    def __init__(self, log: ExportLog, export_id: str) -> None:
        self._log = log
        self.id = export_id

    def finish(self, outcome: Outcome) -> None:
        """Say how it ended; `failed` and `cancelled` give the leave back."""
        self._log.finish(self.id, outcome)


class ExportLimiter:
    """Grants exports. now: seconds since 1970-01-01 UTC."""

    def __init__(self, log: ExportLog, now: Callable[[], float] = time.time) -> None:
        self._log = log
        self._now = now
        self._lock = threading.Lock()  # counting and adding are one step

    def start(self, org: str, user: str, rate: str) -> ExportPermit:
        """Leave for one export of `org`. rate: such as `10/h`. Raises ExportLimited."""
        count, period_s = parse_rate(rate)
        with self._lock:
            now = self._now()
            begun = self._log.recent(org, now - max(period_s, _RUNNING_MAX_S))
            if sum(export.outcome is None for export in begun) >= AT_ONCE_MAX:
                raise ExportLimited(
                    f"{AT_ONCE_MAX} exports of this organization are running",
                    hint="wait until one of them is done",
                    retry_after_s=_BUSY_RETRY_S,
                )
            since = now - period_s
            counted = [e for e in begun if e.outcome in (None, "done") and e.started_at > since]
            if len(counted) >= count:
                # The window moves on when the oldest of the last `count` leaves it.
                free_at = sorted(export.started_at for export in counted)[-count] + period_s
                raise ExportLimited(
                    f"this organization may export {rate}",
                    hint="wait, or ask the operator for another --export-rate",
                    retry_after_s=max(1.0, free_at - now),
                )
            return ExportPermit(self._log, self._log.add(org, user))


def parse_rate(rate: str) -> tuple[int, int]:
    """`10/h` as (10, 3600). Raises AuditError."""
    found = _RATE.fullmatch(rate)
    if found is None:
        raise AuditError(f"{rate!r} is not a rate", hint="such as 10/h or 100/d")
    return int(found[1]), _SECONDS[found[2]]
