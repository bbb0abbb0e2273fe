"""Refused requests counted: the first of a minute is told at once, its repeats together with a count."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from .principal import Principal
from .request_facts import RequestFacts

# Some 500 bytes each. A flood from more callers than this within a minute is told as one caller.
OPEN_MAX: Final = 10_000
# Enough to see what somebody who tries names is after.
NAMES_MAX: Final = 20
MANY: Final = "(many callers)"
_MINUTE_NS: Final = 60_000_000_000


class RefusalKey(NamedTuple):
    """What makes refusals the same.

    tenant: where the event goes. caller: None where no credential was believed, then the address counts.
    minute: since 1970-01-01 UTC.
    """

    tenant: str
    caller: Principal | str | None
    address: str | None
    method: str | None
    route: str | None
    status: int
    reason: str
    minute: int


@dataclass(slots=True)
class Tally:
    """Repeats of one refusal that are not yet told.

    facts: of the last of them. names: organizations asked for, the first few.
    """

    count: int
    first_ns: int
    last_ns: int
    facts: RequestFacts
    names: dict[str, None] = field(default_factory=dict)

    def take_in(self, other: Tally) -> None:
        """Add another tally of the same key."""
        self.first_ns = min(self.first_ns, other.first_ns) if self.count else other.first_ns
        if other.last_ns >= self.last_ns:
            self.last_ns, self.facts = other.last_ns, other.facts
        self.count += other.count
        for name in list(other.names)[: NAMES_MAX - len(self.names)]:
            self.names[name] = None


class RefusalCounter:
    """Counts per key; nothing counted is forgotten before `take` handed it out, except with the process.

    Holds at most open_max keys and one more for each organization, route, status and reason.
    """

    def __init__(self, open_max: int = OPEN_MAX) -> None:
        self._open_max = open_max
        self._lock = threading.Lock()
        self._tallies: dict[RefusalKey, Tally] = {}

    def count(self, key: RefusalKey, one: Tally) -> tuple[RefusalKey, bool]:
        """Count one refusal; the key it goes under, and whether it is the first of its minute.

        A first one is not counted: the caller tells it at once, or gives it back with `add`.
        """
        with self._lock:
            if key not in self._tallies and len(self._tallies) >= self._open_max:
                key = key._replace(caller=None, address=MANY)
            tally = self._tallies.get(key)
            if tally is None:
                self._tallies[key] = Tally(0, one.first_ns, one.last_ns, one.facts)
                return key, True
            tally.take_in(one)
            return key, False

    def add(self, key: RefusalKey, tally: Tally) -> None:
        """Put back what could not be told."""
        with self._lock:
            known = self._tallies.setdefault(key, Tally(0, tally.first_ns, tally.last_ns, tally.facts))
            known.take_in(tally)

    def take(self, before_ns: int | None) -> Sequence[tuple[RefusalKey, Tally]]:
        """Remove and return the repeats of every minute that ended before; None is all of them."""
        minute = None if before_ns is None else minute_of(before_ns)
        with self._lock:
            over = [key for key in self._tallies if minute is None or key.minute < minute]
            taken = [(key, self._tallies.pop(key)) for key in over]
        return [(key, tally) for key, tally in taken if tally.count]


def minute_of(now_ns: int) -> int:
    """The minute of a time in ns since 1970-01-01 UTC."""
    return now_ns // _MINUTE_NS
