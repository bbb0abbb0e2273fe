"""Text from outside, made harmless to read: nothing hidden, nothing endless, nothing that reorders its line.

Markup is safe by autoescaping; this module is about what a reader's eye is told. An event's values come from
whoever attacked the app, so characters that print nothing or turn the line around become visible badges.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from markupsafe import Markup, escape

CELL_CHARS_MAX: Final = 120
"""A table cell never shows more than one line of these; the opened row has the rest."""
FIELD_CHARS_MAX: Final = 2_000
"""Longer values are cut in the field list, with the count; the JSON below it is whole."""

_HIDDEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
# Letters and symbols by category, yet blank on the screen.
_BLANK: Final = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5")
_MARKER: Final = re.compile(r"\[(?:REDACTED|UNKNOWN_USER):[A-Za-z0-9_.\-]{1,64}\]")


def is_hidden(char: str) -> bool:
    """Whether a character prints nothing, moves other characters, or steers a terminal."""
    code = ord(char)
    if code < 0x7F:
        return code < 0x20
    if char in _BLANK or 0xFE00 <= code <= 0xFE0E or 0xE0100 <= code <= 0xE01EF:
        return True
    return unicodedata.category(char) in _HIDDEN_CATEGORIES


def code_point(char: str) -> str:
    """`U+202E`: four to six upper-case hex digits."""
    return f"U+{ord(char):04X}"


def visible(value: object, *, chars_max: int = FIELD_CHARS_MAX, lines: bool = False) -> Markup:
    """One value as markup: isolated, escaped, hidden characters as badges, cut with the count of the rest.

    lines: keep line feeds and tabs as they are (for preformatted text).
    """
    text = str(value)
    shown, left = text[:chars_max], len(text) - chars_max
    body = Markup("").join(_pieces(shown, lines=lines))
    if left > 0:
        body += Markup('<span class="cut">… {:,} more characters</span>').format(left)
    return Markup("<bdi>{}</bdi>").format(body)


def plain(value: object, *, chars_max: int = CELL_CHARS_MAX) -> str:
    """The same for places that take text only (titles, labels): hidden characters spelled out as <U+…>."""
    text = str(value)
    spelled = "".join(f"<{code_point(c)}>" if is_hidden(c) else c for c in text[:chars_max])
    return spelled + ("…" if len(text) > chars_max else "")


def _pieces(text: str, *, lines: bool) -> Iterator[Markup]:
    at = 0
    for match in _MARKER.finditer(text):
        yield _badged(text[at : match.start()], lines=lines)
        kind, _, rule = match.group()[1:-1].partition(":")
        label = "redacted" if kind == "REDACTED" else "unknown user"
        yield Markup('<mark class="redacted" title="{}">{} <b>{}</b></mark>').format(
            match.group(), label, rule
        )
        at = match.end()
    yield _badged(text[at:], lines=lines)


def _badged(text: str, *, lines: bool) -> Markup:
    """Runs of ordinary text escaped, each hidden character as a badge that names it."""
    out: list[Markup] = []
    run: list[str] = []
    for char in text:
        if not is_hidden(char) or (lines and char in "\n\t"):
            run.append(char)
            continue
        out.append(escape("".join(run)))
        run.clear()
        name = unicodedata.name(char, "control character").lower()
        out.append(Markup('<span class="cp" title="{}">{}</span>').format(name, code_point(char)))
    out.append(escape("".join(run)))
    return Markup("").join(out)
