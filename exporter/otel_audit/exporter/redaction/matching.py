"""One pattern, two regular-expression engines: the standard library's `re`, or RE2 where it is installed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any, Final, Literal

from otel_audit.exporter.redaction.rules import RuleError

Matcher = Literal["re", "re2"]
Found = tuple[int, int, int, int]
Search = Callable[[int], Found | None]
Find = Callable[[str], Search]
Test = Callable[[str], bool]
MATCHERS: Final = ("re", "re2")


def compile_pattern(pattern: str | bytes, matcher: Matcher) -> Any:
    """A compiled pattern with the interface of `re.Pattern`. Raises RuleError."""
    if matcher == "re":
        return re.compile(pattern)
    if matcher != "re2":
        raise RuleError(f"unknown matcher {matcher!r}", hint="use re or re2")
    try:
        re2 = import_module("re2")
    except ImportError:
        raise RuleError("google-re2 is not installed", hint='pip install "otel-audit[server]"') from None
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise RuleError(f"RE2 refuses the pattern {pattern!r}: {error}", hint="mend rules.toml") from None


def finder(pattern: str, matcher: Matcher) -> Find:
    """A function folded text → search in it: from → (match start, match end, group start, group end) or None.

    A search goes on where the reader wants, never further left than before: what is already taken costs
    nothing, and the text is made ready for the engine once.
    """
    if matcher == "re2":
        encoded = compile_pattern(pattern.encode(), matcher)
        return lambda text: _SearchUtf8(text, encoded)
    compiled = compile_pattern(pattern, matcher)
    group = 1 if compiled.groups else 0

    def find(text: str) -> Search:
        def search(start: int) -> Found | None:
            match = compiled.search(text, start)
            return (*match.span(), *match.span(group)) if match is not None else None

        return search

    return find


class _SearchUtf8:
    """A search by RE2 in UTF-8. Its own wrapper would encode all of the text again for every search."""

    def __init__(self, text: str, pattern: Any) -> None:
        self._text, self._blob = text, text.encode()
        self._plain = len(self._blob) == len(text)
        self._search, self._group = pattern.search, 1 if pattern.groups else 0
        # The same place as an index of the text and of its bytes; it only moves to the right.
        self._char = self._byte = 0

    def __call__(self, start: int) -> Found | None:
        if not self._plain:
            self._byte += len(self._text[self._char : start].encode())
            self._char = start
            start = self._byte
        match = self._search(self._blob, start)
        if match is None:
            return None
        whole, part = match.span(), match.span(self._group)
        return (*whole, *part) if self._plain else (*self._chars(*whole), *self._chars(*part))

    def _chars(self, start: int, end: int) -> tuple[int, int]:
        first = self._char + len(self._blob[self._byte : start].decode())
        return first, first + len(self._blob[start:end].decode())


def tester(literals: Iterable[str], patterns: Iterable[str], matcher: Matcher) -> Test:
    """A function telling whether a folded text contains one of the literals or patterns.

    RE2 runs all of it as one automaton. `re` would try every branch at every character, where a plain
    substring search per literal is eight times faster.
    """
    wanted = tuple(dict.fromkeys(literals))
    triggers = tuple(dict.fromkeys(patterns))
    if matcher == "re2":
        search = compile_pattern(union(wanted, triggers), matcher).search
        return lambda text: search(text) is not None
    searches = tuple(compile_pattern(pattern, matcher).search for pattern in triggers)

    def test(text: str) -> bool:
        for literal in wanted:
            if literal in text:
                return True
        return any(search(text) is not None for search in searches)

    return test


def union(literals: Iterable[str], patterns: Iterable[str]) -> str:
    """One RE2 pattern that matches where any of them does."""
    return "|".join([re.escape(literal) for literal in literals] + [f"(?:{p})" for p in patterns])
