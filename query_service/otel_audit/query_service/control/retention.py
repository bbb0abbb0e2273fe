"""How long an organization keeps its events, and when a shorter time may begin."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from otel_audit.instrumentation.errors import AuditError

DEFAULT: Final[Mapping[str, int]] = {"standard": 6, "rag": 3}
"""Months per retention class."""

# Somebody who stole an administrator's session cannot have the trail deleted before it is noticed.
SHORTENING_DELAY_S: Final = 7 * 86_400
# A hundred years: past it a calendar date could leave the range of Python's dates.
MONTHS_MAX: Final = 1_200
_SPELLING: Final = re.compile(r"([a-z]+)=([0-9]{1,4})(mo|y)")


class InvalidRetention(AuditError):
    """A retention setting that cannot be used."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A shortening that waits. effective_at: seconds since 1970-01-01 UTC."""

    months: int
    effective_at: float
    reason: str


@dataclass(frozen=True, slots=True)
class Retention:
    """The months of each class that were last in force, and shortenings by class that wait."""

    months: Mapping[str, int]
    pending: Mapping[str, Pending]

    def at(self, now: float) -> Retention:
        """The same with every shortening whose time has come in force."""
        due = {name: p for name, p in self.pending.items() if p.effective_at <= now}
        return Retention(
            {**self.months, **{name: p.months for name, p in due.items()}},
            {name: p for name, p in self.pending.items() if name not in due},
        )

    def changed(
        self, asked: Mapping[str, int], *, now: float, reason: str | None, at_once: bool
    ) -> Retention:
        """The setting after a change; classes that `asked` does not name stay.

        A longer time is in force at once and takes back a shortening that waited. A shorter one needs a
        reason and waits SHORTENING_DELAY_S unless `at_once`. Raises InvalidRetention.
        """
        current = self.at(now)
        months, pending = dict(current.months), dict(current.pending)
        for name, asked_months in asked.items():
            pending.pop(name, None)
            if asked_months >= months[name]:
                months[name] = asked_months
                continue
            if not (reason or "").strip():
                raise InvalidRetention(
                    f"{name}={asked_months}mo is shorter than the {months[name]} months in force",
                    hint="give --reason; it takes effect after 7 days unless --now",
                )
            if at_once:
                months[name] = asked_months
            else:
                pending[name] = Pending(asked_months, now + SHORTENING_DELAY_S, str(reason).strip())
        return replace(current, months=months, pending=pending)


def parse_retention(text: str) -> dict[str, int]:
    """Months per class of `standard=6mo,rag=3mo` (also `1y`). Raises InvalidRetention."""
    asked: dict[str, int] = {}
    for part in text.split(","):
        found = _SPELLING.fullmatch(part.strip())
        name = found[1] if found else ""
        months = int(found[2]) * (12 if found[3] == "y" else 1) if found else 0
        if name not in DEFAULT or name in asked or not 1 <= months <= MONTHS_MAX:
            raise InvalidRetention(
                f"retention {text!r} is not understood",
                hint=f"write standard=6mo,rag=3mo: 1mo to {MONTHS_MAX}mo, or years as 1y",
            )
        asked[name] = months
    return asked


def retention_to_json(retention: Retention) -> tuple[str, str]:
    """The two columns of the tenants table."""
    pending = {
        name: {"months": p.months, "effective_at": p.effective_at, "reason": p.reason}
        for name, p in retention.pending.items()
    }
    return json.dumps(dict(retention.months), sort_keys=True), json.dumps(pending, sort_keys=True)


def retention_from_json(months: str, pending: str) -> Retention:
    """The setting that `retention_to_json` wrote."""
    return Retention(
        json.loads(months), {name: Pending(**value) for name, value in json.loads(pending).items()}
    )
