"""Ways to read a text: as written, without disguise, and with its escapes undone.

A view remembers where each of its characters came from: what is found in it is hidden in the original.
"""

from __future__ import annotations

import html
import re
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, chain
from typing import Final

from otel_audit.exporter.redaction.bounds import TooManyLooks

# Percent-encoding inside percent-encoding inside a JSON escape; deeper nesting is not met in practice.
LAYERS_MAX: Final = 3
# Written out: a repeat within a repeat is three times slower.
_HEX: Final = "[0-9A-Fa-f]"
_ESCAPE: Final = re.compile(
    rf"(?:%{_HEX}{_HEX})++|(?:\\u{4 * _HEX})++|(?:\\x{_HEX}{_HEX})++|(?:\\/)++|\\[nrt]"
    r"|&#(?:[0-9]{2,6}|[xX][0-9A-Fa-f]{2,5});|&(?:quot|apos|amp|lt|gt);"
)
# In a form a plus sign is a space; elsewhere it is itself, so both are read.
_FORM_TRIGGER: Final = "[A-Za-z0-9_]=[A-Za-z0-9%:._-]{1,32}[+]"
_FORM: Final = re.compile(_FORM_TRIGGER)
_WHITE: Final = {"n": "\n", "r": "\r", "t": "\t"}
# Nothing a person sees: control characters, joiners, direction marks, variation selectors, tags.
_INVISIBLE_SPANS: Final = (
    (0x00, 0x08), (0x0B, 0x0C), (0x0E, 0x1F), (0x7F, 0x7F), (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C),
    (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0xFE00, 0xFE0F),
    (0xFEFF, 0xFEFF), (0xE0000, 0xE01EF),
)  # fmt: skip
_INVISIBLE: Final = frozenset(chr(c) for first, last in _INVISIBLE_SPANS for c in range(first, last + 1))
_CONTROLS: Final = bytes(ord(char) for char in _INVISIBLE if char.isascii())
_INVISIBLE_CLASS: Final = "".join(f"{chr(first)}-{chr(last)}" for first, last in _INVISIBLE_SPANS)
_INVISIBLE_RE: Final = re.compile(f"[{_INVISIBLE_CLASS}]++")
# A text with more edits than this is made to be slow; its views would cost over 50 ms.
_EDITS_MAX: Final = 10_000
# Replacing one character everywhere is fast; with more of them one pass over a table is.
_REPLACED_ONE_BY_ONE_MAX: Final = 24
_BEGINNING_CHARS: Final = 4096
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_LOOK_ALIKES: Final = dict(
    zip(
        "аеорсухіѕјԁһкмтвѵԛԝΑΒΕΖΗΙΚΜΝΟΡΤΥΧαορνκιАВЕКМНОРСТХІЅЈ",
        "aeopcyxisjdhkmtbvqwABEZHIKMNOPTYXaopvkiABEKMHOPCTXISJ",
        strict=True,
    )
)
DISGUISE_TRIGGERS: Final = (
    "%[0-9A-Fa-f]{2}",
    r"\\[ux][0-9A-Fa-f]{2}",
    r"\\[/nrt]",
    "&#[xX]?[0-9A-Fa-f]{2,6};",
    "&(?:quot|apos|amp|lt|gt);",
    _FORM_TRIGGER,
)
"""Patterns of what a view would undo in ASCII text."""
DISGUISE_OCTETS: Final = bytes(sorted({*b"%\\&+", *range(0x20), 0x7F, *range(0x80, 0x100)} - set(b"\t\n\r")))
"""One of these bytes is in everything that a view reads differently."""


_Edit = Callable[[re.Match[str]], tuple[str, Sequence[int]]]
"""What a match becomes, and the offset in the match of each of its characters."""


class Origin:
    """Where the characters of a view were in the text it was made of, in pieces of neighbours."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._pieces: list[Sequence[int]] = []
        self._length = 0

    def extend(self, places: Sequence[int]) -> None:
        """Add the places of the next characters."""
        if places:
            self._starts.append(self._length)
            self._pieces.append(places)
            self._length += len(places)

    def __getitem__(self, index: int) -> int:
        piece = bisect_right(self._starts, index) - 1
        return self._pieces[piece][index - self._starts[piece]]

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(self._pieces)


@dataclass(frozen=True, slots=True)
class View:
    """text: what the reader sees. origin: index in the original per character plus the end; None is 1:1."""

    text: str
    origin: Origin | None

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
    codes = sorted(disguises())
    spans: list[list[int]] = []
    for code in codes:
        if spans and spans[-1][1] == code - 1:
            spans[-1][1] = code
        else:
            spans.append([code, code])
    return _INVISIBLE_CLASS + "".join(chr(a) if a == b else f"{chr(a)}-{chr(b)}" for a, b in spans)


def views(text: str) -> Iterator[View]:
    """The plain reading of text, as a form, then one a layer of escapes. Raises TooManyLooks."""
    view = _plain(text)
    yield view
    if "+" in view.text and _FORM.search(view.text):
        yield _unescaped(View(view.text.replace("+", " "), view.origin))
    for _ in range(LAYERS_MAX):
        if not any(map(view.text.__contains__, "%\\&")):
            return
        undone = _unescaped(view)
        if undone is view:
            return
        view = undone
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
    view = View(text, None)
    if _has_controls(text) if text.isascii() else not _INVISIBLE.isdisjoint(_characters(text)):
        view = _edited(view, _INVISIBLE_RE, lambda match: ("", range(0)))
    return _undisguised(view)


def _has_controls(text: str) -> bool:
    return len(text.encode().translate(None, _CONTROLS)) < len(text)


def _undisguised(view: View) -> View:
    text = view.text
    if text.isascii():
        return view
    table = disguises()
    found = [char for char in _characters(text) if ord(char) in table]
    if len(found) <= _REPLACED_ONE_BY_ONE_MAX:
        for char in found:
            text = text.replace(char, table[ord(char)])
    else:
        text = text.translate(table)
    return View(text, view.origin) if found else view


def _characters(text: str) -> set[str]:
    """set(text). In a long text most are those of its beginning, and taking them away first is fast."""
    found = set(text[:_BEGINNING_CHARS])
    rest = text[_BEGINNING_CHARS:]
    if rest:
        for char, _ in Counter(text[:_BEGINNING_CHARS]).most_common():
            rest = rest.replace(char, "")
        found.update(rest)
    return found


def _unescaped(view: View) -> View:
    return _undisguised(_edited(view, _ESCAPE, _unescape))


def _unescape(match: re.Match[str]) -> tuple[str, Sequence[int]]:
    found = match.group()
    if found[0] == "&":
        return html.unescape(found)[:1], range(1)
    if found[0] == "%":
        return _from_octets(bytes.fromhex(found.replace("%", "")))
    if found[1] in _WHITE:
        return _WHITE[found[1]], range(1)
    if found[1] == "/":
        return "/" * (len(found) // 2), range(0, len(found), 2)
    size = 6 if found[1] == "u" else 4
    octets = bytes.fromhex(found.replace(found[:2], ""))
    text = octets.decode("latin-1") if size == 4 else octets.decode("utf-16-be", "surrogatepass")
    if len(text) * size != len(found):  # surrogates in pairs
        text = "".join([chr(int(code, 16)) for code in found.split(found[:2])[1:]])
    # A lone surrogate cannot be written as UTF-8; it never is part of a secret either.
    return _SURROGATE.sub("\ufffd", text), range(0, len(found), size)


def _from_octets(octets: bytes) -> tuple[str, Sequence[int]]:
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        text = octets.decode("latin-1")
    if len(text) == len(octets):
        return text, range(0, 3 * len(octets), 3)
    return text, [3 * at for at in accumulate((len(char.encode()) for char in text[:-1]), initial=0)]


def _edited(view: View, pattern: re.Pattern[str], edit: _Edit) -> View:
    pieces: list[str] = []
    origin = Origin()
    old: Sequence[int] = range(len(view.text) + 1) if view.origin is None else list(view.origin)
    last = 0
    for edits, match in enumerate(pattern.finditer(view.text)):
        if edits == _EDITS_MAX:
            raise TooManyLooks
        text, offsets = edit(match)
        start = match.start()
        pieces += (view.text[last:start], text)
        origin.extend(old[last:start])
        if isinstance(offsets, range):
            origin.extend(old[start + offsets.start : start + offsets.stop : offsets.step])
        else:
            origin.extend([old[start + offset] for offset in offsets])
        last = match.end()
    if not pieces:
        return view
    pieces.append(view.text[last:])
    origin.extend(old[last:])
    return View("".join(pieces), origin)
