"""Secrets beside their name in text: `password=…`, `"apiKey": "…"`, `--token …`, `Cookie: …`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from otel_audit.exporter.redaction.bounds import Looks
from otel_audit.exporter.redaction.matching import Matcher, Prepared, finder
from otel_audit.exporter.redaction.names import Names
from otel_audit.exporter.redaction.rules import NameRule
from otel_audit.exporter.redaction.validators import is_opaque

_JOIN: Final = "[-_. ]?"
_TAIL: Final = r"[a-z0-9_.\[\]-]{0,24}"
_BETWEEN: Final = r"""(["'\\]{0,4}[ \t\r\n]{0,4}(?:=>|:=|=|:|>)[ \t]{0,4}[\[({]{0,2}|[ ]{1,4})"""
_SEPARATOR: Final = re.compile(r"=>|:=|[=:>]")
# Inside an escaped string one backslash and a quote end the value, more backslashes belong to it.
_ESCAPED: Final = re.compile(r"""\\+["'][^"'\\]*(?:\\\\+["']?[^"'\\]*)*""")
_ESCAPED_OPENING: Final = re.compile(r"""\\+["']""")
_QUOTED: Final = re.compile(r"""[bBuU]?"[^"\\]*(?:\\[^\r\n][^"\\]*)*|[bBuU]?'[^'\\]*(?:\\[^\r\n][^'\\]*)*""")
# A quote inside a literal of SQL is written twice.
_DOUBLED: Final = re.compile(r"''[^'\s,;)][^']*")
_STOP: Final = re.compile(r"""[ \t\r\n&"'<>]""")
_EQUALS: Final = re.compile("=")
_LEFT: Final = re.compile(r"[A-Za-z0-9_.\[\]-]{0,64}")
_NAME_CHAR: Final = re.compile(r"[A-Za-z0-9_.\[\]-]")
_OPENING: Final = re.compile(r"""[bBuU]?\\*["']""")
_SPACES: Final = re.compile("[ ]{1,4}")
_NEXT_PAIR: Final = re.compile(r"""[,;][A-Za-z0-9_."'-]{1,40}[=:]""")
_TO_LINE_END: Final = re.compile(r"""[^\r\n"'<>]*""")
_LINE: Final = re.compile(r"[^\r\n]*")
_SCHEME: Final = re.compile(
    r"(bearer|basic|token|negotiate|ntlm|apikey|key|ssws|dpop|digest|hawk|oauth|signature|aws4-hmac-sha256)"
    r"[ ]{1,4}",
    re.IGNORECASE,
)
_SCHEMES_OF_MANY_PARTS: Final = frozenset({"digest", "hawk", "oauth", "signature", "aws4-hmac-sha256"})
_RUN: Final = re.compile(r"""[^ \t\r\n"'<>,;&]+""")
# What people write after "password:" that is no password.
_INNOCENT_WORDS: Final = (
    "true false null none nil undefined empty unset yes no required optional missing invalid incorrect "
    "wrong expired expires changed updated reset removed rotated revoked created deleted set must "
    "should is was has have not too cannot can will may please your the a an for of to with and or "
    "string str number int bool boolean object redacted hidden masked * ** *** **** ***** ****** "
    "******* ******** it never erforderlich requis requise obligatoire obligatorio obbligatoria "
    "minimum minimal mindestens mínimo minimo minimaal inherit"
)
_INNOCENT: Final = frozenset(_INNOCENT_WORDS.split())
# `${DB_PASSWORD}` is filled in elsewhere; two digits are a length or a count.
_UNFILLED: Final = re.compile(r"\$\{{1,2}[ ]?[A-Za-z_][A-Za-z0-9_.-]*[ ]?\}{0,2}|[0-9]{1,2}")
# A longer run without a space is no prose, and refusing only short values keeps one pass linear.
_PROSE_CHARS_MAX: Final = 64
_JUDGED_CHARS_MAX: Final = 256
FILLER: Final = "\x01"
"""Stands for every character that earlier redaction left."""


class Pairs:
    """Finds name–value pairs whose name is sensitive."""

    def __init__(self, rules: Iterable[NameRule], names: Names, matcher: Matcher) -> None:
        words = {word for rule in rules for word in (*rule.words, *rule.exact)}
        # Longest first: both engines take the first alternative that fits.
        keys = "|".join(_JOIN.join(w.split(" ")) for w in sorted(words, key=lambda w: (-len(w), w)))
        self._find = finder(f"(?:{keys}){_TAIL}{_BETWEEN}", matcher)
        self._names = names

    def find(self, text: str, prepared: Prepared, looks: Looks) -> Iterator[tuple[int, int, NameRule]]:
        """(start, end, rule) of every value to drop. text, prepared: one view, markers blanked in prepared.

        looks: counts the candidates. Raises TooManyLooks.
        """
        folded = prepared.text
        search, values = self._find(prepared), _Values(text)
        at = 0
        while (match := search(at)) is not None:
            start, at, between, _ = match
            looks.take()
            found = _SEPARATOR.search(folded, between, at)
            rule = self._named(text, folded, start, between, found.group() if found is not None else " ")
            end = values.end(at) if rule is not None else at
            if rule is None or end == at:
                continue
            assigned = found is not None and found.group() != ":"
            judged = min(end, at + _JUDGED_CHARS_MAX)
            if rule.validator and _narrowed(rule, assigned, text, folded, False, at, judged) is None:
                continue
            span = _narrowed(rule, assigned, text, folded, values.assigns(at, end), at, end)
            if span is not None:
                yield (*span, rule)
                at = max(at, span[1])

    def _named(self, text: str, folded: str, start: int, end: int, separator: str) -> NameRule | None:
        """The rule of the name around folded[start:end], when the separator joins a value to it."""
        left = _LEFT.match(folded[max(0, start - 64) : start][::-1])
        key_start = start - (left.end() if left else 0)
        rule = self._names.rule(text[key_start:end].strip(" -.[]"))
        inside = key_start > 0 and _NAME_CHAR.match(folded, key_start - 1) is not None
        option = text.startswith("--", key_start) and not inside
        if separator == " " and not option:
            # SQL says PASSWORD '…' and IDENTIFIED BY '…'; other names are followed by prose.
            spaces = _SPACES.match(text, end)
            quoted = spaces is not None and text[spaces.end() : spaces.end() + 1] in ("'", '"')
            return rule if quoted and rule is not None and rule.id == "password" else None
        if folded.startswith(":", key_start - 1) and "arn:" in folded[max(0, key_start - 96) : key_start]:
            return None
        if separator == ">" and folded[max(0, key_start - 1) : key_start] not in ("<", ":"):
            return None
        return rule


class _Next:
    """Where a character class comes next. Asked from left to right, it reads every character once."""

    def __init__(self, pattern: re.Pattern[str], text: str) -> None:
        self._search, self._text = pattern.search, text
        self._at = -1

    def at(self, start: int) -> int:
        """The index of the first one from `start` on, the length of the text when there is none."""
        if self._at < start:
            found = self._search(self._text, start)
            self._at = found.start() if found is not None else len(self._text)
        return self._at


class _Values:
    """Where the values of one text end. Asked from left to right; linear however many begin in one run."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._stops, self._equals = _Next(_STOP, text), _Next(_EQUALS, text)
        self._escaped = (0, 0)

    def end(self, start: int) -> int:
        """The end of the value at `start`; `start` itself when there is none."""
        if self._text.startswith("\\", start):
            end = self._end_of_escaped(start)
            if end > start:
                return end
        quoted = _DOUBLED.match(self._text, start) or _QUOTED.match(self._text, start)
        return quoted.end() if quoted is not None else self._stops.at(start)

    def assigns(self, start: int, end: int) -> bool:
        """Whether an equals sign stands between the two."""
        return self._equals.at(start) < end

    def _end_of_escaped(self, start: int) -> int:
        # A value in escaped quotes goes on over quotes that are escaped more often: those that begin inside
        # of it end where it does.
        if _ESCAPED_OPENING.match(self._text, start) is None:
            return start
        if not self._escaped[0] <= start < self._escaped[1]:
            found = _ESCAPED.match(self._text, start)
            self._escaped = found.span() if found is not None else (start, start)
        return self._escaped[1]


def _narrowed(
    rule: NameRule, assigned: bool, text: str, folded: str, assigns: bool, start: int, end: int
) -> tuple[int, int] | None:
    """The value without its quotes and what follows it, or None when it says nothing secret."""
    opening = _OPENING.match(text, start, end)
    quoted = opening is not None
    start = opening.end() if opening else start
    if rule.id == "authorization":
        start, end = _credentials(text, start, end)
    elif rule.id == "cookie" and not quoted and assigns:
        line = _TO_LINE_END.match(text, start)
        end = max(end, line.end()) if line else end
    elif not quoted:
        cut = _NEXT_PAIR.search(text, start, end)
        end = cut.start() if cut else end
        while end > start and text[end - 1] in ",;.)]}":
            end -= 1
    if not folded[start:end].strip(FILLER + " "):
        return None
    if end - start <= _PROSE_CHARS_MAX and _is_prose(rule, assigned or quoted, text[start:end]):
        return None
    # The beginning of a value tells; all of it for every name in one long run would not be linear.
    if not rule.covers(text[start : min(end, start + _JUDGED_CHARS_MAX)]):
        return None
    if rule.id == "password" and text.startswith("/", start) and text.endswith("PWD=", 0, start):
        return None
    return start, end


def _is_prose(rule: NameRule, assigned: bool, value: str) -> bool:
    folded = value.lower()
    if folded.strip(".!,;:?") in _INNOCENT or folded.startswith("//") or _UNFILLED.fullmatch(value):
        return True
    # "token: expired yesterday", "authorization: granted".
    return (
        rule.rule_class == "credential"
        and not assigned
        and not is_opaque(value)
        and not (rule.id == "cookie" and "=" in value)
    )


def _credentials(text: str, start: int, end: int) -> tuple[int, int]:
    """What follows the scheme of an Authorization header."""
    scheme = _SCHEME.match(text, start)
    if scheme is None:
        return start, end
    rest = _LINE if scheme.group(1).lower() in _SCHEMES_OF_MANY_PARTS else _RUN
    found = rest.match(text, scheme.end())
    return (scheme.end(), found.end()) if found else (start, end)
