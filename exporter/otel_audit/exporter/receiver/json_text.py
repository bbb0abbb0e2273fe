"""JSON text → Python values, for bodies that Python's own parser gives up on.

A value nested thousands deep, or an integer of thousands of digits, is valid JSON. Refusing it would make
the client drop the whole batch, neighbours included.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

# Strings are skipped whole, so that a bracket inside one counts for nothing. Possessive: linear on any input.
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)
# Each level of an OTLP value is three or four containers, and the decoder keeps 24 levels: what is cut here
# is far below what it keeps, so it still sees, and says, that there was more.
_CONTAINERS_MAX: Final = 300
# A 64-bit integer has at most 20 digits; longer ones become text, as Python refuses to convert huge ones.
_DIGITS_MAX: Final = 20


def loads(body: bytes) -> Any:
    """The document. Containers below 300 levels become null, integers beyond 20 digits text.

    Of what is cut only the brackets and strings are looked at.
    Raises ValueError when it is not JSON.
    """
    try:
        return json.loads(body, parse_int=_integer)
    except RecursionError:
        return json.loads(_shallow(body), parse_int=_integer)


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _DIGITS_MAX else digits


def _shallow(body: bytes) -> bytes:
    pieces: list[bytes] = []
    depth = kept = 0
    for token in _TOKEN.finditer(body):
        first = body[token.start()]
        if first in b"[{":
            depth += 1
            if depth == _CONTAINERS_MAX + 1:
                pieces += [body[kept : token.start()], b"null"]
        elif first in b"]}":
            if depth == _CONTAINERS_MAX + 1:
                kept = token.end()
            depth -= 1
    if depth != 0:
        raise ValueError("the brackets do not match")
    return b"".join((*pieces, body[kept:]))
