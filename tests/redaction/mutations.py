"""What happens to a secret on its way into a log: quotes, JSON, URLs, encodings, disguises."""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Callable, Mapping
from types import MappingProxyType

from tests.redaction.seeded import Seeded

Mutated = tuple[str, str]
"""The text, and the secret as it is written in it."""

Mutation = Callable[[Seeded], Mutated | None]


def _around(before: str, after: str) -> Mutation:
    return lambda s: (f"{before}{s.text}{after}", s.secret)


def _through(edit: Callable[[str], str], before: str = "", after: str = "") -> Mutation:
    return lambda s: (f"{before}{edit(s.text)}{after}", edit(s.secret))


def _cased(edit: Callable[[str], str]) -> Mutation:
    return lambda s: None if s.case_matters else (edit(s.text), edit(s.secret))


def _inside(edit: Callable[[str], str]) -> Mutation:
    """Only the secret itself is disguised."""

    def mutation(s: Seeded) -> Mutated | None:
        hidden = edit(s.secret)
        return s.text.replace(s.secret, hidden), hidden

    return mutation


def _json(value: str) -> str:
    return json.dumps(value)[1:-1]


def _percent_some(text: str) -> str:
    return "".join(f"%{ord(c):02X}" if c.isascii() and (ord(c) % 3 == 0 or c == "%") else c for c in text)


def _percent_all(text: str) -> str:
    return "".join(f"%{octet:02x}" for octet in text.encode())


def _zero_width(text: str) -> str:
    middle = len(text) // 2
    return f"{text[:2]}\u200b{text[2:middle]}\u200d{text[middle:]}"


def _full_width(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if c.isascii() and c.isalnum() else c for c in text)


def _base64(s: Seeded) -> Mutated:
    encoded = base64.b64encode(f"request was {s.text} end".encode()).decode()
    return f"payload {encoded}", encoded


MUTATIONS: Mapping[str, Mutation] = MappingProxyType(
    {
        "as written": _around("", ""),
        "upper case": _cased(str.upper),
        "lower case": _cased(str.lower),
        "double quotes": _through(_json, '"', '"'),
        "single quotes": _around("'", "'"),
        "brackets": _around("[(", ")]"),
        "end of sentence": _around("It was ", "."),
        "list": _around("a, ", ", b"),
        "markdown": _around("`", "`"),
        "JSON": _through(_json, '{"id": 7, "note": "', '", "ok": true}'),
        "JSON in JSON": _through(lambda t: _json(_json(t)), '{"body": "{\\"note\\": \\"', '\\"}"}'),
        "cut JSON": _through(_json, '{"id": 7, "note": "', '", "ok": tr'),
        "URL query": _through(lambda t: urllib.parse.quote(t, safe=""), "https://app.example/x?q=", "&p=1"),
        "form body": _through(urllib.parse.quote_plus, "id=7&note=", "&ok=1"),
        "header": _around("Host: a.example\r\nX-Note: ", "\r\nAccept: */*"),
        "SQL literal": _through(
            lambda t: t.replace("'", "''"), "INSERT INTO notes (id, text) VALUES (7, '", "');"
        ),
        "stack trace": _around(
            'Traceback (most recent call last):\n  File "/srv/main.py", line 7, in run\nValueError: bad ',
            "\n",
        ),
        "log line": _around("2025-03-01T10:00:00.123Z ERROR app.worker[17] - got ", " from upstream"),
        "XML": _around("<note>", "</note>"),
        "percent, some": _through(_percent_some),
        "percent, all": _through(_percent_all),
        "base64": _base64,
        "zero width": _inside(_zero_width),
        "full width": _inside(_full_width),
    }
)
