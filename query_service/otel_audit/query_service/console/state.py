"""The state of an events page, all of it in its URL, and the links that lead to the next state.

Filters are carried here as (name, value) pairs just as they came, so that a page can still show, link and
drop them when they do not parse.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote, urlencode

from .presentation.clock import Zone

PRESETS: Final = ("24h", "7d", "30d", "90d")
DEFAULT_RANGE: Final = "24h"
OWN_PARAMETERS: Final = frozenset({"tz", "cursor", "as_of", "page", "open", "search"})
"""The console's own names; every other parameter is a filter."""
TIME_FILTERS: Final = frozenset({"range", "from", "to"})
ITEMS_MAX: Final = 64
"""Filters one URL may carry; more than a person clicks together, few enough to plan a query for."""

Items = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class PageState:
    """One state of `/o/{org}/events`.

    as_of: the position of the first page; pages and copied links keep it, so that neither new events nor the
    passing of time move what is shown. page: 1 is the newest, only counted for display.
    open: id of the event whose row is open.
    """

    org: str
    items: Items = ()
    tz: str | None = None
    cursor: str | None = None
    as_of: str | None = None
    page: int = 1
    open: str | None = None

    @classmethod
    def parse(cls, org: str, pairs: Sequence[tuple[str, str]]) -> PageState:
        """From query parameters: empty filters are dropped, the last of a repeated own parameter counts."""
        own = {name: value for name, value in pairs if name in OWN_PARAMETERS and value}
        items = tuple((n, v) for n, v in pairs if n not in OWN_PARAMETERS and v.strip())[:ITEMS_MAX]
        page = own.get("page", "1")
        return cls(
            org,
            items=normal(items, Zone.named(own.get("tz"))),
            tz=own.get("tz"),
            cursor=own.get("cursor"),
            as_of=own.get("as_of"),
            page=int(page) if page.isdecimal() and len(page) < 7 else 1,
            open=own.get("open"),
        )

    @property
    def zone(self) -> Zone:
        return Zone.named(self.tz)

    def values(self, name: str) -> tuple[str, ...]:
        return tuple(v for n, v in self.items if n == name)

    @property
    def range(self) -> str | None:
        """The chosen preset or other relative range; None for a custom span."""
        if self.values("from") or self.values("to"):
            return None
        return (self.values("range") or (DEFAULT_RANGE,))[-1]

    def fixed(self, as_of: str) -> PageState:
        return replace(self, as_of=as_of)

    def filtered(self, items: Iterable[tuple[str, str]]) -> PageState:
        """Another question: starts again at the newest event."""
        return PageState(self.org, items=tuple(items), tz=self.tz)

    def adding(self, name: str, value: str, *, single: bool = False) -> PageState:
        kept = (i for i in self.items if i != (name, value) and not (single and i[0] == name))
        opposite = (name[4:] if name.startswith("not.") else f"not.{name}", value)
        return self.filtered((*(i for i in kept if i != opposite), (name, value)))

    def dropping(self, name: str, value: str | None = None) -> PageState:
        return self.filtered(i for i in self.items if not (i[0] == name and value in (None, i[1])))

    def ranged(self, preset: str) -> PageState:
        return self.filtered((*self.without_time(), ("range", preset)))

    def between(self, start: str, end: str) -> PageState:
        return self.filtered((*self.without_time(), ("from", start), ("to", end)))

    def without_time(self) -> Items:
        return tuple(i for i in self.items if i[0] not in TIME_FILTERS)

    def path(self, *parts: str) -> str:
        return "/o/" + "/".join(quote(p, safe="") for p in (self.org, *parts))

    def url(self) -> str:
        """This state's link; the defaults are left out of it."""
        own = (
            ("tz", self.tz),
            ("as_of", self.as_of),
            ("cursor", self.cursor),
            ("page", str(self.page) if self.page > 1 else None),
            ("open", self.open),
        )
        pairs = [*self.items, *((n, v) for n, v in own if v)]
        return self.path("events") + (f"?{urlencode(pairs)}" if pairs else "")

    def with_zone(self, tz: str | None) -> PageState:
        return replace(self, tz=tz)

    def opening(self, event_id: str | None) -> PageState:
        return replace(self, open=event_id)

    def older(self, cursor: str) -> PageState:
        return replace(self, cursor=cursor, page=self.page + 1, open=None)

    def newest(self) -> PageState:
        return replace(self, cursor=None, page=1, open=None)

    def api_query(self) -> str:
        """The filters alone, as the API takes them."""
        return urlencode(self.items)


def normal(items: Iterable[tuple[str, str]], zone: Zone) -> Items:
    """Trimmed, each pair once, times typed into a form read in the page's zone; a span replaces a range."""
    seen: dict[tuple[str, str], None] = {}
    for name, value in items:
        text = value.strip()
        seen[(name, zone.from_input(text) if name in ("from", "to") else text)] = None
    spans = any(name in ("from", "to") for name, _ in seen)
    return tuple((n, v) for n, v in seen if not (n == "range" and spans))
