"""Base64 inside a text: what it says when it is decoded, so that encoding does not hide a secret."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from typing import Final

# Four characters of base64 that stand for three of ASCII: their bytes' highest bits show as classes of
# characters. Five in a row are no accident: one random place in 32,000 looks like that.
_QUAD: Final = "[A-Za-f][A-HQ-Xg-nw-z0-3][ABEFIJMNQRUVYZcdghklopstwx014589][A-Za-z0-9+/_-]"
ENCODED_TRIGGER: Final = f"(?:{_QUAD}){{5}}"
"""Pattern, upper and lower case apart, of what every run with 15 characters of ASCII contains."""

_RUN: Final = re.compile(r"[A-Za-z0-9+/_-]{20,}+={0,2}")
_READABLE: Final = re.compile(rb"[\x09\x0a\x0d\x20-\x7e]{12,}")
# Bytes that no text has: what decodes to them was no base64, or began elsewhere.
_UNREADABLE: Final = bytes({*range(32), 127} - {9, 10, 13})
_READABLE_AS_ONE: Final = bytes(97 if _READABLE.match(bytes([octet]) * 12) else 0 for octet in range(256))
_READABLE_RUN: Final = b"a" * 12
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")


def decoded(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, what it says) of every run of base64 in text that says something in ASCII.

    Standard and URL-safe alphabets, with and without padding, wherever the encoding began in the run.
    """
    for run in _RUN.finditer(text):
        start, end = run.span()
        octets = run.group().rstrip("=").encode().translate(_STANDARD)
        for offset in range(4):
            said = _said(octets[offset:])
            if said:
                yield start + offset, end, said


def _said(encoded: bytes) -> str:
    # One character more than whole quads is no byte: something else stands behind.
    size = len(encoded) - (len(encoded) % 4 == 1)
    try:
        octets = binascii.a2b_base64(encoded[:size] + b"=" * (-size % 4))
    except (binascii.Error, ValueError):
        return ""
    try:
        if len(octets.translate(None, _UNREADABLE)) == len(octets):
            return octets.decode()
    except UnicodeDecodeError:
        pass
    # Looking for a run of one letter is much faster than for a run of a class.
    if _READABLE_RUN not in octets.translate(_READABLE_AS_ONE):
        return ""
    return "\n".join(part.decode("ascii") for part in _READABLE.findall(octets))
