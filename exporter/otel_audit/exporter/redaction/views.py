"""Ways to read a text: as written, without disguise, and with its escapes undone.

A view remembers where each of its characters came from: what is found in it is hidden in the original.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

# Percent-encoding inside percent-encoding inside a JSON escape; deeper nesting is not met in practice.
LAYERS_MAX: Final = 3
_ESCAPE: Final = re.compile(r"(?:%[0-9A-Fa-f]{2})+|\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|(?:\\/)+")
_ZERO_WIDTH: Final = (
    "\u00ad\u034f\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u2060\u2061\u2062\u2063\u2064\ufeff"
)
_ZERO_WIDTH_RE: Final = re.compile(f"[{_ZERO_WIDTH}]+")
_LOOK_ALIKES: Final = dict(
    zip(
        "аеорсухіѕјԁһкмтвѵԛԝΑΒΕΖΗΙΚΜΝΟΡΤΥΧαορνκιАВЕКМНОРСТХІЅЈ",
        "aeopcyxisjdhkmtbvqwABEZHIKMNOPTYXaopvkiABEKMHOPCTXISJ",
        strict=True,
    )
)
DISGUISE_TRIGGERS: Final = ("%[0-9a-f]{2}", r"\\[ux][0-9a-f]{2}", r"\\/")
"""Folded patterns of what a view would undo in ASCII text."""


_Edit = Callable[[re.Match[str]], tuple[str, list[int]]]
"""What a match becomes, and the offset in the match of each of its characters."""


@dataclass(frozen=True, slots=True)
class View:
    """text: what the reader sees. origin: index in the original per character plus the end; None is 1:1."""

    text: str
    origin: tuple[int, ...] | None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The span of the original that made text[start:end]."""
        return (start, end) if self.origin is None else (self.origin[start], self.origin[end])


@cache
def disguises() -> Mapping[int, str]:
    """Characters read as another one, all one to one: full-width and mathematical forms, look-alikes, …"""
    table = {ord(k): v for k, v in _LOOK_ALIKES.items()}
    for code in (*range(0xFF01, 0xFF5F), *range(0x1D400, 0x1D800), *range(0x24B6, 0x24EA)):
        plain = unicodedata.normalize("NFKC", chr(code))
        if len(plain) == 1 and plain != chr(code):
            table[code] = plain
    table.update(dict.fromkeys((*range(0x2010, 0x2016), 0x2212, 0xFE58, 0xFE63), "-"))
    table.update(dict.fromkeys((0x201C, 0x201D, 0x201E, 0x201F, 0x2033), '"'))
    table.update(dict.fromkeys((0x2018, 0x2019, 0x201A, 0x201B, 0x2032), "'"))
    table.update(dict.fromkeys((0xA0, 0x2007, 0x202F, 0x205F, 0x3000, *range(0x2000, 0x2007)), " "))
    # `İ` is the one character whose lower case is longer than itself.
    table.update({0x130: "i", 0x131: "i", 0x17F: "s", 0x212A: "k"})
    return table


def disguise_class() -> str:
    """Body of a character class with every character that a view reads differently."""
    codes = sorted({*disguises(), *map(ord, _ZERO_WIDTH)})
    spans: list[list[int]] = []
    for code in codes:
        if spans and spans[-1][1] == code - 1:
            spans[-1][1] = code
        else:
            spans.append([code, code])
    return "".join(chr(a) if a == b else f"{chr(a)}-{chr(b)}" for a, b in spans)


def views(text: str) -> Iterator[View]:
    """The plain reading of text, then one view a layer of escapes, at most LAYERS_MAX."""
    view = _plain(text)
    yield view
    for _ in range(LAYERS_MAX):
        if ("%" not in view.text and "\\" not in view.text) or not _ESCAPE.search(view.text):
            return
        view = _unescaped(view)
        yield view


def writable(text: str) -> str:
    """text without lone surrogates, which neither UTF-8 nor RE2 can carry."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def fold(text: str) -> str:
    """Lower case of the same length: `views` has replaced the one character that would grow."""
    folded = text.lower()
    return folded if len(folded) == len(text) else "".join(c.lower()[0] for c in text)


def _plain(text: str) -> View:
    if text.isascii():
        return View(text, None)
    plain = text.translate(disguises())
    if not _ZERO_WIDTH_RE.search(plain):
        return View(plain, None)
    return _edited(View(plain, None), _ZERO_WIDTH_RE, lambda match: ("", []))


def _unescaped(view: View) -> View:
    return _edited(view, _ESCAPE, _unescape)


def _unescape(match: re.Match[str]) -> tuple[str, list[int]]:
    found = match.group()
    if found[0] == "\\":
        if found[1] == "/":
            return "/" * (len(found) // 2), list(range(0, len(found), 2))
        char = chr(int(found[2:], 16))
        # A lone surrogate cannot be written as UTF-8; it never is part of a secret either.
        return ("\ufffd" if "\ud800" <= char <= "\udfff" else char), [0]
    octets = bytes.fromhex(found.replace("%", ""))
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1"), list(range(0, len(found), 3))
    offsets, at = [], 0
    for char in text:
        offsets.append(at * 3)
        at += len(char.encode())
    return text, offsets


def _edited(view: View, pattern: re.Pattern[str], edit: _Edit) -> View:
    pieces: list[str] = []
    origin: list[int] = []
    old = view.origin if view.origin is not None else range(len(view.text) + 1)
    last = 0
    for match in pattern.finditer(view.text):
        text, offsets = edit(match)
        start = match.start()
        if last < start:
            pieces.append(view.text[last:start])
            origin.extend(old[last:start])
        pieces.append(text)
        origin.extend([old[start + offset] for offset in offsets])
        last = match.end()
    pieces.append(view.text[last:])
    origin.extend(old[last:])
    plain = "".join(pieces)
    if not plain.isascii():
        plain = plain.translate(disguises())
    return View(plain, tuple(origin))
