"""What a legal hold covers: the filters of a search over absolute time; without any, everything."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from otel_audit.exporter.store.snapshot import FileRef

from .filters import FilterError, Filters, TokensOf, parse_time

# What is absolute means the same at any moment, so it is read at a fixed one.
_MOMENT: Final = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class HoldScope:
    """Checked filters of a hold. time_from: inclusive, time_to: exclusive; None is without an end.

    No filter at all is every event of the organization, past and future.
    """

    filters: Filters
    time_from: datetime | None
    time_to: datetime | None

    @classmethod
    def parse(cls, items: Iterable[tuple[str, str]]) -> HoldScope:
        """Check (name, value) pairs. Raises FilterError, for an empty value and for `range` too."""
        items = list(items)
        for name, value in items:
            if not value.strip():
                # Elsewhere this counts as not given; here a slip would hold everything.
                raise FilterError(name, value, "is empty", allowed="a value, or leave the filter out")
            if name == "range":
                raise FilterError(
                    name, value, "moves with the clock, a hold does not",
                    allowed="from and to, as absolute times; neither is all time",
                )  # fmt: skip
        filters = Filters.parse(items, now=_MOMENT)
        start, end = ([parse_time(value) for value in filters.values(name)] for name in ("from", "to"))
        return cls(filters, start[0] if start else None, end[0] if end else None)

    @classmethod
    def from_json(cls, text: str) -> HoldScope:
        """The scope that `to_json` wrote. Raises FilterError, ValueError."""
        return cls.parse([(str(name), str(value)) for name, value in json.loads(text)])

    def with_tokens(self, tokens_of: TokensOf) -> HoldScope:
        """The same scope, which also covers what the organization's policy has tokenised."""
        return replace(self, filters=self.filters.with_tokens(tokens_of))

    def to_json(self) -> str:
        """Canonical: equal scopes give equal text."""
        return json.dumps(self.filters.items(), ensure_ascii=False, separators=(",", ":"))

    def overlaps(self, ref: FileRef) -> bool:
        """Whether the file may have a row in the scope's time."""
        return (self.time_from is None or ref.time_max >= self.time_from) and (
            self.time_to is None or ref.time_min < self.time_to
        )

    def covers(self, ref: FileRef) -> bool:
        """Whether every row of the file is in the scope, as far as the manifest alone tells."""
        return (
            not self.filters.any_besides_time
            and (self.time_from is None or ref.time_min >= self.time_from)
            and (self.time_to is None or ref.time_max < self.time_to)
        )

    def where(self) -> tuple[str, dict[str, Any]]:
        """An SQL condition over the columns of schema VIEW and its named parameters."""
        condition, params = self.filters.where(time=False)
        tests = [condition]
        if self.time_from is not None:
            tests.append("time >= $hold_from")
            params["hold_from"] = self.time_from
        if self.time_to is not None:
            tests.append("time < $hold_to")
            params["hold_to"] = self.time_to
        return " AND ".join(tests), params
