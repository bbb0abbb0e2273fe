"""One pattern, two regular-expression engines: the standard library's `re`, or RE2 where it is installed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any, Final, Literal

from otel_audit.exporter.redaction.rules import RuleError

Matcher = Literal["re", "re2"]
Found = tuple[int, int, int, int]
Find = Callable[[str, int], Iterator[Found]]
Test = Callable[[str], bool]
MATCHERS: Final = ("re", "re2")


def compile_pattern(pattern: str, matcher: Matcher) -> Any:
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
    """A function (folded text, from) → (match start, match end, group start, group end), left to right."""
    compiled = compile_pattern(pattern, matcher)
    group = 1 if compiled.groups else 0

    def find(text: str, start: int) -> Iterator[Found]:
        for match in compiled.finditer(text, start):
            yield match.start(), match.end(), match.start(group), match.end(group)

    return find


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
