"""Facets with counts, and the chips of the filters that are on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from otel_audit.query_service.filters import SPECS

from ..state import TIME_FILTERS, PageState
from .text import plain, visible

FACET_TITLES: Final[Mapping[str, str]] = {
    "category": "Category",
    "severity": "Severity",
    "action": "Action",
    "outcome": "Outcome",
    "user": "User",
    "ip": "IP address",
    "resource_type": "Resource type",
    "service": "Service",
}
SHOWN: Final = 7
"""Values before “more”: all facets stay in sight of each other."""
_SEVERITY_ORDER: Final = {"critical": 0, "error": 1, "warning": 2, "info": 3}
PLACEHOLDERS: Final[Mapping[str, str]] = {"user": "id or e-mail", "ip": "address or CIDR"}


@dataclass(frozen=True, slots=True)
class FacetValue:
    value: str
    text: Markup
    spoken: str
    count: int | None
    share: float
    chosen: bool
    excluded: bool
    url: str
    exclude_url: str | None


@dataclass(frozen=True, slots=True)
class Facet:
    """values: the first ones; more: behind a “more”. typed: what its own box holds, where it has one."""

    name: str
    title: str
    values: tuple[FacetValue, ...]
    more: tuple[FacetValue, ...]
    active: bool
    placeholder: str | None
    typed: str


@dataclass(frozen=True, slots=True)
class Chip:
    name: str
    value: Markup
    spoken: str
    negative: bool
    url: str


def build_facets(answer: Mapping[str, Any], state: PageState) -> tuple[Facet, ...]:
    """From the answer of `aggregate.facets`, in a fixed order, so that no facet moves under the pointer."""
    counted: Mapping[str, Sequence[Mapping[str, Any]]] = answer["facets"]
    made = (_facet(name, title, counted.get(name, ()), state) for name, title in FACET_TITLES.items())
    return tuple(facet for facet in made if facet.values or facet.placeholder)


def _facet(
    name: str,
    title: str,
    counted: Sequence[Mapping[str, Any]],
    state: PageState,
) -> Facet:
    chosen, excluded = state.values(name), state.values(f"not.{name}")
    counts = {str(c["value"]): int(c["count"]) for c in counted if c["value"] not in (None, "")}
    # A chosen value stays visible even where nothing matches it any more.
    for value in (*chosen, *excluded):
        if value.lower() not in (known.lower() for known in counts):
            counts[value] = 0
    order = list(counts)
    if name == "severity":
        order.sort(key=lambda v: _SEVERITY_ORDER.get(v, 9))
    top = max(counts.values(), default=0)
    values = tuple(_value(name, v, counts[v], top, state) for v in order)
    lead = [v for i, v in enumerate(values) if i < SHOWN or v.chosen or v.excluded]
    placeholder = PLACEHOLDERS.get(name)
    return Facet(
        name=name,
        title=title,
        values=tuple(lead),
        more=tuple(v for v in values if v not in lead),
        active=bool(chosen or excluded),
        placeholder=placeholder,
        typed=chosen[-1] if chosen and placeholder else "",
    )


def _value(name: str, value: str, count: int, top: int, state: PageState) -> FacetValue:
    chosen = value.lower() in (v.lower() for v in state.values(name))
    excluded = value in state.values(f"not.{name}")
    exclude_url = None
    if SPECS[name].negatable:
        away = state.dropping(f"not.{name}", value) if excluded else state.adding(f"not.{name}", value)
        exclude_url = away.url()
    toggled = _dropping_any_case(state, name, value) if chosen else only(state, name, value)
    return FacetValue(
        value=value,
        text=visible(value, chars_max=60),
        spoken=plain(value, chars_max=60),
        count=count,
        share=round(100 * count / top, 2) if top else 0,
        chosen=chosen,
        excluded=excluded,
        url=toggled.url(),
        exclude_url=exclude_url,
    )


def only(state: PageState, name: str, value: str) -> PageState:
    """Narrow to a value: beside the other chosen ones of its name, or instead of the one it can hold."""
    return state.adding(name, value, single=not SPECS[name].repeatable)


def _dropping_any_case(state: PageState, name: str, value: str) -> PageState:
    return state.filtered(i for i in state.items if not (i[0] == name and i[1].lower() == value.lower()))


def build_chips(state: PageState) -> tuple[Chip, ...]:
    """Every filter that is on, except the time range, which has a place of its own."""
    return tuple(
        Chip(
            name="text" if name == "q" else name.removeprefix("not."),
            value=visible(value, chars_max=60),
            spoken=plain(f"{name.removeprefix('not.')} {value}", chars_max=80),
            negative=name.startswith("not."),
            url=state.dropping(name, value).url(),
        )
        for name, value in state.items
        if name not in TIME_FILTERS
    )
