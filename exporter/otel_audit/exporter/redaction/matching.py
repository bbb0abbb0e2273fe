"""One pattern, two regular-expression engines: the standard library's `re`, or RE2 where it is installed."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final, Literal, NamedTuple

from otel_audit.exporter.redaction.bounds import TooManyLooks
from otel_audit.exporter.redaction.literals import Literals, heads
from otel_audit.exporter.redaction.rules import RuleError

Matcher = Literal["re", "re2"]
Found = tuple[int, int, int, int]
Search = Callable[[int], Found | None]
Find = Callable[["Prepared"], Search]
MATCHERS: Final = ("re", "re2")
_UPPER_BOUND: Final = re.compile(r"\{0,[0-9]+\}")
_SHORT_CHARS: Final = 1024
_AUTOMATON_BYTES_MAX: Final = 32 << 20
# An automaton that has found nearly everything grows with each further find. No honest text gets there.
_CHUNK_BYTES: Final = 16_384
_OVERLAP_BYTES: Final = 512
_PARTS_MAX: Final = 128


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
        raise RuleError(f"RE2 refuses the pattern {pattern!r}: {error}", hint="mend the rules") from None


class Prepared:
    """A folded text made ready for many searches: RE2 wants UTF-8, and encoding it once is enough."""

    __slots__ = ("blob", "plain", "text")

    def __init__(self, text: str, matcher: Matcher) -> None:
        self.text = text
        self.blob = text.encode() if matcher == "re2" else b""
        self.plain = len(self.blob) == len(text)


def finder(pattern: str, matcher: Matcher) -> Find:
    """A function prepared text → search in it: from → (match start, end, group start, end) or None.

    A search goes on where the reader wants, never further left than before: what is already taken costs
    nothing.
    """
    compiled = compile_pattern(pattern, "re")
    group = 1 if compiled.groups else 0

    def find(prepared: Prepared) -> Search:
        text = prepared.text

        def search(start: int) -> Found | None:
            match = compiled.search(text, start)
            return (*match.span(), *match.span(group)) if match is not None else None

        return search

    if matcher == "re":
        return find
    encoded = compile_pattern(pattern.encode(), matcher)

    def find_utf8(prepared: Prepared) -> Search:
        # In a short text `re` finds the same in half the time.
        return find(prepared) if len(prepared.text) <= _SHORT_CHARS else _SearchUtf8(prepared, encoded)

    return find_utf8


class _SearchUtf8:
    """A search by RE2 in UTF-8. Its own wrapper would encode all of the text again for every search."""

    def __init__(self, prepared: Prepared, pattern: Any) -> None:
        self._text, self._blob, self._plain = prepared.text, prepared.blob, prepared.plain
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


class Part(NamedTuple):
    """One thing the prefilter looks for: any of the literals or patterns, whatever their case.

    exact: the patterns mean the text as written, upper and lower case apart.
    octets: one of these bytes is in every match, so that most texts need not be searched for it.
    anywhere: a match can begin at nearly every character, and then counts: `[0-9]{12}`.
    needs: literals one of which is in every match of the first pattern, where its beginning does not tell.
    """

    literals: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    exact: bool = False
    octets: bytes = b""
    anywhere: bool = False
    needs: tuple[str, ...] = ()

    def pattern(self) -> str:
        """One RE2 pattern for all of it."""
        branches = [re.escape(literal) for literal in self.literals] + [f"(?:{p})" for p in self.patterns]
        return f"(?:{'|'.join(branches)})" if self.exact else f"(?i:{'|'.join(branches)})"


class Prefilter:
    """Tells which parts a text may hold. What it does not name is certainly not there.

    RE2 runs all parts as a few automata. `re` would try every branch at every character, where a plain
    substring search per literal is eight times faster. Raises RuleError when a pattern does not compile.
    """

    def __init__(self, parts: Sequence[Part], matcher: Matcher) -> None:
        self.automata = [Automaton(parts, group) for group in _groups(parts)] if matcher == "re2" else []
        self.matches = self._run if self.automata else _one_by_one(parts, matcher)

    def _run(self, text: str) -> Sequence[int]:
        """Ascending indexes of the parts. Raises TooManyLooks for a text with a piece of everything."""
        blob = text.encode()
        found: list[int] = []
        for automaton in self.automata:
            found += automaton.matches(blob)
        return sorted(found) if found else found


class Automaton:
    """Some parts, compiled by RE2 to be looked for at once. Raises RuleError."""

    def __init__(self, parts: Sequence[Part], group: Sequence[int]) -> None:
        self._group, self._octets = group, parts[group[0]].octets
        compile_pattern("", "re2")
        re2 = import_module("re2")
        options = re2.Options()
        options.log_errors, options.max_mem = False, _AUTOMATON_BYTES_MAX
        automaton = re2.Set.SearchSet(options)
        try:
            for index in group:
                # Counting an upper bound would multiply the states, and finding too much does no harm.
                automaton.Add(_UPPER_BOUND.sub("*", parts[index].pattern()))
            automaton.Compile()
        except re2.error as error:
            raise RuleError(f"RE2 refuses the prefilter: {error}", hint="mend the rules") from None
        self._match: Callable[[bytes], list[int] | None] = automaton.Match
        for number, index in enumerate(group):
            if any(number not in (self._match(text.encode()) or ()) for text in parts[index].literals):
                # It answers nothing at all when its memory does not suffice.
                raise RuleError("the prefilter is too large for RE2", hint="fewer rules, shorter triggers")

    def matches(self, text: bytes) -> Sequence[int]:
        """Indexes of the parts that UTF-8 text may hold, in any order. Raises TooManyLooks."""
        if self._octets and len(text.translate(None, self._octets)) == len(text):
            return ()
        if len(text) <= _CHUNK_BYTES:
            hits = self._match(text)
            return [self._group[hit] for hit in hits] if hits else ()
        found: set[int] = set()
        for start in range(0, len(text), _CHUNK_BYTES - _OVERLAP_BYTES):
            found.update(self._match(text[start : start + _CHUNK_BYTES]) or ())
            if len(found) > _PARTS_MAX:
                raise TooManyLooks
        return [self._group[hit] for hit in found]


def _one_by_one(parts: Sequence[Part], matcher: Matcher) -> Callable[[str], Sequence[int]]:
    # Each pattern has a number; literals that its matches begin with tell when it need not be tried.
    searches = [
        (compile_pattern(pattern, matcher).search, part, index, _needed(part, number))
        for index, part in enumerate(parts)
        for number, pattern in enumerate(part.patterns)
    ]
    literals = Literals((text, -1 - index) for index, part in enumerate(parts) for text in part.literals)
    begins = Literals((head, number) for number, search in enumerate(searches) for head in search[3])

    def matches(text: str) -> Sequence[int]:
        folded = text.lower()
        found = {-1 - value for value in literals.find(folded)}
        begun = begins.find(folded)
        octets: dict[bytes, bool] = {}
        for number, (search, part, index, needed) in enumerate(searches):
            if index in found or (needed and number not in begun):
                continue
            if part.octets and part.octets not in octets:
                blob = text.encode("utf-8", "surrogatepass")
                octets[part.octets] = len(blob.translate(None, part.octets)) < len(blob)
            if octets.get(part.octets, True) and search(text if part.exact else folded):
                found.add(index)
        return sorted(found)

    return matches


def _needed(part: Part, number: int) -> Sequence[str]:
    if number == 0 and part.needs:
        return part.needs
    return heads(part.patterns[number]) if not part.exact else ()


def _groups(parts: Sequence[Part]) -> list[list[int]]:
    """Indexes of the parts that share an automaton.

    Parts that count from anywhere would multiply the states of all others.
    """
    groups: dict[tuple[bool, bytes], list[int]] = {}
    for index, part in enumerate(parts):
        groups.setdefault((part.anywhere, part.octets), []).append(index)
    return list(groups.values())
