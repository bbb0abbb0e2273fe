"""The search box: free text and `key:value`, `-key:value`, quotes."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

CHARS_MAX: Final = 1_000
"""Longer than any search a person types; bounds the work of parsing."""
_TERM: Final = re.compile(r'(-)?(?:([A-Za-z_][\w.]*):)?(?:"([^"]*)"|(\S+))')
_SPACE: Final = re.compile(r"\s*")


@dataclass(frozen=True, slots=True)
class Parsed:
    """items: filters to add; q: the free text that is left; error: what could not be understood, or None."""

    items: tuple[tuple[str, str], ...] = ()
    q: str = ""
    error: str | None = None


def parse(text: str, *, names: Collection[str], negatable: Collection[str]) -> Parsed:
    """Split what was typed. names: filters that may stand before a colon; negatable: also after a minus.

    Never guesses: an unknown key, an open quote or an empty value is an error, and nothing is dropped.
    """
    if len(text) > CHARS_MAX:
        return Parsed(error=f"The search is longer than {CHARS_MAX:,} characters.")
    if text.count('"') % 2:
        return Parsed(error='A quotation mark is not closed: write "like this".')
    items: list[tuple[str, str]] = []
    free: list[str] = []
    at = _after_space(text, 0)
    while at < len(text):
        match = _TERM.match(text, at)
        if match is None:
            return Parsed(error=f"Cannot read “{text[at : at + 20]}”. Put plain text in quotation marks.")
        minus, name, quoted, bare = match.groups()
        value = quoted if quoted is not None else bare
        at = _after_space(text, match.end())
        if name is None:
            free.append(("-" if minus else "") + value)
            continue
        problem = _problem(name, value, negative=bool(minus), names=names, negatable=negatable)
        if problem:
            return Parsed(error=problem)
        items.append((f"not.{name}" if minus else name, value))
    return Parsed(tuple(items), " ".join(free))


def _problem(
    name: str, value: str, *, negative: bool, names: Collection[str], negatable: Collection[str]
) -> str | None:
    if name not in names:
        known = ", ".join(sorted(names))
        return f"There is no filter “{name}”. Known: {known}. To search for a colon, use quotation marks."
    if negative and name not in negatable:
        return f"“{name}” cannot be excluded. These can: {', '.join(sorted(negatable))}."
    if not value:
        return f"“{name}:” needs a value."
    return None


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
