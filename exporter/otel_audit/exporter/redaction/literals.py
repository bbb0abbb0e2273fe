"""Which of many literals a text contains, where there is no RE2 to tell it in one pass."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_GRAM: Final = 3
# A literal, or a group of some, before whatever counts or chooses.
_HEAD: Final = re.compile(r"(?:\(\?:([a-z0-9_ |-]+)\)(?![?*{]))?([a-z0-9_ -]*)(?![?*{])")


class Literals:
    """Finds literals by three characters each has to have: a set of those of the text is made once."""

    def __init__(self, literals: Iterable[tuple[str, int]]) -> None:
        self._by_gram: dict[str, list[tuple[str, int]]] = {}
        self._short: list[tuple[str, int]] = []
        for literal, value in literals:
            if len(literal) < _GRAM:
                self._short.append((literal, value))
            else:
                self._by_gram.setdefault(literal[:_GRAM], []).append((literal, value))

    def find(self, text: str) -> set[int]:
        """The values of the literals that text contains."""
        found = {value for literal, value in self._short if literal in text}
        grams = set(map("".join, zip(text, text[1:], text[2:], strict=False)))
        for gram in self._by_gram.keys() & grams:
            found.update(value for literal, value in self._by_gram[gram] if literal in text)
        return found


def heads(pattern: str) -> list[str]:
    """Literals one of which every match of pattern begins with; none when that cannot be told."""
    found: list[str] = []
    for branch in _branches(pattern):
        match = _HEAD.match(branch)
        group, literal = (match.group(1), match.group(2)) if match else (None, "")
        begins = [choice + literal for choice in group.split("|")] if group else [literal]
        if not all(len(begin) > 1 for begin in begins):
            return []
        found += begins
    return found


def _branches(pattern: str) -> list[str]:
    """The alternatives of a pattern that is one group, or none."""
    if pattern.startswith("(?:") and pattern.endswith(")") and _depths(pattern[:-1])[1] == 1:
        pattern = pattern[3:-1]
    return _depths(pattern)[0]


def _depths(pattern: str) -> tuple[list[str], int]:
    """The pattern cut at every `|` outside of groups and classes, and the least depth after its beginning."""
    branches, depth, least, at, in_class = [""], 0, len(pattern), 0, False
    while at < len(pattern):
        char = pattern[at]
        size = 2 if char == "\\" else 1
        if in_class:
            in_class = char != "]"
        elif char == "[":
            in_class = True
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
        if char == "|" and depth == 0 and not in_class:
            branches.append("")
        else:
            branches[-1] += pattern[at : at + size]
        least = min(least, depth)
        at += size
    return branches, least
