"""Standard input as redaction sees it: one text, one event, or an event a line; and what becomes of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import pyarrow as pa

from otel_audit.exporter.importing.event_line import is_event
from otel_audit.exporter.receiver.redact import BatchRedactor
from otel_audit.exporter.redaction.engine import Redactor
from otel_audit.exporter.redaction.policed import Policed, Redactors
from otel_audit.exporter.redaction.reasons import Reason, reasons
from otel_audit.exporter.redaction.rules import load_rules
from otel_audit.exporter.redaction.tenant_policy import Policy
from otel_audit.exporter.redaction.views import writable
from otel_audit.exporter.store.regions.token_keys import TokenKey
from otel_audit.exporter.store.schema import COLUMN_NAMES, JSON_COLUMNS, RECEIVED, TEXT_LIST

# As many as a request of a busy sender: redaction is fastest in batches.
_BATCH_ROWS: Final = 512
_LISTS: Final = frozenset(field.name for field in RECEIVED if field.type == TEXT_LIST)
_TEXTS: Final = frozenset(field.name for field in RECEIVED if field.type == pa.string())


class Explained(NamedTuple):
    """redacted: what would be stored. line: of the input, from 1, where an event began; None for a text."""

    line: int | None
    reasons: list[Reason]
    redacted: str


class Explainer:
    """Redacts as the receiver does under a policy, with keys that nobody keeps."""

    def __init__(self, policy: Policy) -> None:
        """Raises RuleError."""
        redactor = Redactor(load_rules(), matcher="re2")
        self._policed = Policed(policy, Redactors(redactor, lambda rules: Redactor(rules, matcher="re2")))
        self._batches = BatchRedactor(redactor, _Throwaway(), lambda _: policy)

    def explain(self, text: str, field: str, *, why: bool = True) -> Iterator[Explained]:
        """What becomes of the input. field: the column of a text that is no event. why: with reasons."""
        events = _events(text)
        if events is None:
            value = text.removesuffix("\n")
            for done in self._some([(None, {field: value})], why):
                yield done._replace(redacted=json.loads(done.redacted)[field] + text[len(value) :])
            return
        for start in range(0, len(events), _BATCH_ROWS):
            yield from self._some(events[start : start + _BATCH_ROWS], why)

    def _some(self, events: Sequence[tuple[int | None, dict[str, Any]]], why: bool) -> Iterator[Explained]:
        rows = [_row(event) for _, event in events]
        done = self._batches.apply(pa.RecordBatch.from_pylist(rows, schema=RECEIVED), "").to_pylist()
        for (line, event), row, stored in zip(events, rows, done, strict=True):
            found = self._reasons(row, stored["redactions"]) if why else []
            yield Explained(line, found, json.dumps(_like(event, row, stored), ensure_ascii=False))

    def _reasons(self, row: dict[str, Any], evidence: list[dict[str, Any]]) -> list[Reason]:
        by_column: dict[str, dict[tuple[str, str], int]] = {}
        for hit in evidence:
            column = hit["field"].partition(".")[0]
            by_column.setdefault(column, {})[hit["rule"], hit["field"]] = hit["count"]
        found: list[Reason] = []
        for column, counted in by_column.items():
            value = row[column] if isinstance(row[column], str) else "\n".join(row[column])
            found += reasons(self._policed, column, value, counted)
        return found


class _Throwaway:
    """Keys of this run: what is hashed here compares with nothing that is stored."""

    def __init__(self) -> None:
        self._key = os.urandom(32)

    def key(self, tenant: str, purpose: str) -> bytes:
        return self._key

    def token_key(self, tenant: str) -> TokenKey:
        return TokenKey(1, self._key, datetime.now(UTC))


def _events(text: str) -> list[tuple[int | None, dict[str, Any]]] | None:
    """The events of the input with the lines they begin at; None when it is a text."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        whole = None
    if whole is not None:
        return [(1, whole)] if isinstance(whole, dict) and is_event(whole) else None
    found: list[tuple[int | None, dict[str, Any]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(event, dict) or not is_event(event):
            return None
        found.append((number, event))
    return found or None


def _row(event: dict[str, Any]) -> dict[str, Any]:
    """The text columns of an event; what has no column of its own is an attribute, as in the receiver."""
    row: dict[str, Any] = dict.fromkeys(RECEIVED.names)
    attributes = event.get("attributes")
    rest: dict[str, Any] = dict(attributes) if isinstance(attributes, dict) else {}
    for name, value in event.items():
        if value is None or (name == "attributes" and isinstance(value, dict)):
            continue
        if name in _LISTS and isinstance(value, list) and all(isinstance(item, str) for item in value):
            row[name] = [writable(item) for item in value]
        elif name in JSON_COLUMNS and isinstance(value, dict):
            row[name] = json.dumps(value)
        elif name in _TEXTS and isinstance(value, str):
            row[name] = writable(value)
        elif name not in RECEIVED.names and name not in COLUMN_NAMES:
            rest.setdefault(name, value)
    if rest:
        row["attributes"] = json.dumps(rest)
    return row


def _like(event: dict[str, Any], row: dict[str, Any], stored: dict[str, Any]) -> dict[str, Any]:
    """The event's own columns in its order with what became of them; attributes that were found come last.

    Where a column is a text, what is neither text nor a number is left out: nobody has redacted it.
    """
    names = [*(name for name in event if name in RECEIVED.names), "attributes"]
    shown = {name: stored[name] for name in names if row[name] is not None}
    plain = {name: event[name] for name in names if name in event and _says_nothing(event[name])}
    for name in JSON_COLUMNS:
        if name in shown and not isinstance(event.get(name), str):
            shown[name] = json.loads(shown[name])
    # A lone surrogate may have come as an escape, and cannot be written.
    return {
        name: _writable(shown.get(name, plain.get(name))) for name in names if name in shown or name in plain
    }


def _says_nothing(value: Any) -> bool:
    """Whether a value outside of the texts may be shown as it is: a number, or a time."""
    if isinstance(value, str):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            return False
        return True
    return value is None or isinstance(value, bool | int | float)


def _writable(value: Any) -> Any:
    if isinstance(value, dict):
        return {writable(name): _writable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_writable(item) for item in value]
    return writable(value) if isinstance(value, str) else value
