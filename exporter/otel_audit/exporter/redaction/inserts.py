"""SQL that names its columns once and gives their values elsewhere: `INSERT INTO t (…) VALUES (…)`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from otel_audit.exporter.redaction.bounds import Looks
from otel_audit.exporter.redaction.names import Names
from otel_audit.exporter.redaction.rules import NameRule

INSERT_TRIGGER: Final = r"\)[ \t\r\n]{0,8}values[ \t\r\n]{0,8}\("
"""Folded pattern of every such statement."""

_INSERT: Final = re.compile(r"\(([^()]{1,4000})\)[ \t\r\n]{0,8}values[ \t\r\n]{0,8}(?=\()", re.IGNORECASE)
# One value of a row: quoted, or anything up to a comma with at most one call inside.
_VALUE: Final = re.compile(
    r"""[ \t\r\n]{0,8}"""
    r"""([a-zA-Z]{0,8}'[^']{0,4000}(?:''[^']{0,4000}){0,8}'|"[^"]{0,4000}"|"""
    r"""[^(),'"]{0,400}(?:\([^()]{0,400}\)[^(),'"]{0,100})?)"""
    r"""[ \t\r\n]{0,8}([,)])"""
)
_NEXT_ROW: Final = re.compile(r"[ \t\r\n]{0,8},[ \t\r\n]{0,8}(?=\()")
_PARAMETERS: Final = re.compile(r"param(?:eter)?s['\"]?[ ]{0,4}[:=]?[ ]{0,4}[\[]?(?=\()", re.IGNORECASE)
_PLACEHOLDER: Final = re.compile(r"\?[0-9]{0,4}|%s|%\([A-Za-z0-9_]{1,64}\)s|[$:@][A-Za-z0-9_]{1,64}")
_NOTHING_SAID: Final = frozenset({"null", "default", "true", "false", "''", '""', ""})
_ROWS_MAX: Final = 1_000
_STATEMENTS_MAX: Final = 64
# Between a statement and the values of its placeholders in an error message.
_PARAMETERS_WITHIN: Final = 200


def inserted(text: str, names: Names, looks: Looks) -> Iterator[tuple[int, int, NameRule]]:
    """(start, end, rule) of the values of columns with a sensitive name. Raises TooManyLooks."""
    for count, statement in enumerate(_INSERT.finditer(text)):
        looks.take()
        if count == _STATEMENTS_MAX:
            return
        columns = [column.strip(" \t\r\n\"'`[]") for column in statement.group(1).split(",")]
        rules = [names.rule(column) for column in columns]
        if any(rules):
            yield from _rows(text, statement.end(), rules, looks)


def _rows(
    text: str, at: int, rules: list[NameRule | None], looks: Looks
) -> Iterator[tuple[int, int, NameRule]]:
    for _ in range(_ROWS_MAX):
        looks.take()
        spans, end = _row(text, at, len(rules))
        placeholders = bool(spans) and all(_PLACEHOLDER.fullmatch(text[a:b]) for a, b in spans)
        if placeholders:
            given = _PARAMETERS.search(text, end, end + _PARAMETERS_WITHIN)
            spans, end = _row(text, given.end(), len(rules)) if given else ([], end)
        for (start, stop), rule in zip(spans, rules, strict=False):
            value = text[start:stop]
            if rule is not None and value.lower() not in _NOTHING_SAID and rule.covers(value):
                yield start, stop, rule
        following = _NEXT_ROW.match(text, end)
        if following is None:
            return
        at = following.end()


def _row(text: str, at: int, columns: int) -> tuple[list[tuple[int, int]], int]:
    """The values of the row that opens at text[at], without their quotes, and where it ends."""
    spans: list[tuple[int, int]] = []
    at += 1
    for _ in range(columns):
        value = _VALUE.match(text, at)
        if value is None:
            break
        start, end = value.span(1)
        while end > start and text[end - 1] in " \t\r\n":
            end -= 1
        at = value.end()
        opening = re.match("[A-Za-z]{0,8}(['\"])", text[start:end])
        if opening and end - start > opening.end():
            start, end = start + opening.end(), end - 1
        spans.append((start, end))
        if value.group(2) == ")":
            break
    return spans, at
