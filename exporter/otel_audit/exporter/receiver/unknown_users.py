"""A failed sign-in of nobody we know: what was typed may be a password, so only its keyed hash is kept."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from otel_audit.exporter.redaction import policy
from otel_audit.exporter.redaction.identity import unknown_user
from otel_audit.exporter.redaction.replacement import marker
from otel_audit.exporter.redaction.rules import ENGINE_ERROR
from otel_audit.exporter.redaction.tree import NotJson, free_name, parse_json, write_json

if TYPE_CHECKING:
    from otel_audit.exporter.receiver.redact import Evidence, Keyring

KEY_PURPOSE: Final = "unknown_user"
# Shorter typed texts would be found inside innocent words of the message.
_REPEATED_CHARS_MIN: Final = 3
_REPEATED_IN: Final = ("message", "on_behalf_of", "resource_id", "resource_name", "http_route")
_ANONYMOUS: Final = "anonymous"


class UnknownUsers:
    """Hashes the typed identity of failed sign-ins without an account, wherever the event repeats it."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def hide(self, columns: dict[str, pa.Array], tenant: str, evidence: Evidence) -> None:
        """Replace, in place, the typed identity of the rows of `columns` that have no account."""
        rows = _rows(columns)
        if not rows:
            return
        key = self._keyring.key(tenant, KEY_PURPOSE)
        texts = {
            name: columns[name].to_pylist()
            for name in (*policy.UNKNOWN_USER_COLUMNS, *_REPEATED_IN, *policy.JSON_TEXT_COLUMNS)
        }
        for row in rows:
            self._hide_row(texts, row, key, evidence)
        for name, values in texts.items():
            columns[name] = pa.array(values, type=pa.string())

    def _hide_row(self, texts: dict[str, list[str | None]], row: int, key: bytes, evidence: Evidence) -> None:
        typed: dict[str, str] = {}
        counts = evidence.setdefault(row, Counter())
        for name in policy.UNKNOWN_USER_COLUMNS:
            value = texts[name][row]
            if value:
                typed[value] = texts[name][row] = unknown_user(value, key)
                counts[policy.UNKNOWN_USER_RULE, name] += 1
        repeated = _Repeated(typed)
        for name in (*_REPEATED_IN, *policy.JSON_TEXT_COLUMNS):
            value = texts[name][row]
            if value and repeated.pattern is not None:
                hide = repeated.in_json if name in policy.JSON_TEXT_COLUMNS else repeated.in_text
                texts[name][row] = hide(value)
                if texts[name][row] != value:
                    counts[policy.UNKNOWN_USER_RULE, name] += 1


def _rows(columns: dict[str, pa.Array]) -> list[int]:
    """Rows of failed sign-ins that name no account."""
    failed = pc.is_in(columns["action"], value_set=pa.array(policy.UNKNOWN_USER_ACTIONS))
    if not pc.any(failed).as_py():
        return []
    ids, types = columns["user_id"].to_pylist(), columns["user_type"].to_pylist()
    rows: list[int] = pc.indices_nonzero(failed).to_pylist()
    return [row for row in rows if not ids[row] or types[row] == _ANONYMOUS]


class _Repeated:
    """Finds what was typed in other texts, as a whole word, whatever its case."""

    def __init__(self, typed: dict[str, str]) -> None:
        self._markers = {value.lower(): mark for value, mark in typed.items()}
        words = sorted((v for v in typed if len(v) >= _REPEATED_CHARS_MIN), key=lambda v: (-len(v), v))
        choice = "|".join(map(re.escape, words))
        self.pattern = re.compile(rf"(?<!\w)(?:{choice})(?!\w)", re.IGNORECASE) if words else None

    def in_text(self, text: str) -> str:
        if self.pattern is None:
            return text
        # Another letter of the same case class may not be the same lower case; the marker then says nothing.
        hidden = marker(policy.UNKNOWN_USER_RULE)
        return self.pattern.sub(lambda m: self._markers.get(m.group().lower(), hidden), text)

    def in_json(self, text: str) -> str:
        try:
            document = parse_json(text)
            changed = self._walk(document)
        except NotJson:
            return self.in_text(text)
        except RecursionError:
            return write_json({ENGINE_ERROR: marker(ENGINE_ERROR)})
        return text if changed == document else write_json(changed)

    def _walk(self, value: Any) -> Any:
        if isinstance(value, dict):
            result: dict[str, Any] = {}
            for name, item in value.items():
                result[free_name(self.in_text(name), result)] = self._walk(item)
            return result
        if isinstance(value, list):
            return [self._walk(item) for item in value]
        return self.in_text(value) if type(value) is str else value
