"""Standard input as redaction sees it: one text, one event, or an event a line; and what becomes of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import pyarrow as pa

from otel_audit.exporter.importing.event_line import is_event
from otel_audit.exporter.receiver.redact import REDACTED, BatchRedactor
from otel_audit.exporter.redaction.engine import Redactor
from otel_audit.exporter.redaction.policed import Policed, Redactors
from otel_audit.exporter.redaction.reasons import Reason, reasons
from otel_audit.exporter.redaction.rules import load_rules
from otel_audit.exporter.redaction.tenant_policy import Policy
from otel_audit.exporter.store.regions.token_keys import TokenKey
from otel_audit.exporter.store.schema import JSON_COLUMNS, RECEIVED, TEXT_LIST

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

    def explain(self, text: str, field: str) -> Iterator[Explained]:
        """What becomes of the input. field: the column of a text that is no event."""
        events = _events(text)
        if events is None:
            value = text.removesuffix("\n")
            done = self._one(None, {field: value})
            redacted = done.redacted if isinstance(done.redacted, str) else ""
            yield done._replace(redacted=json.loads(redacted)[field] + text[len(value) :])
            return
        for line, event in events:
            yield self._one(line, event)

    def _one(self, line: int | None, event: dict[str, Any]) -> Explained:
        row = _row(event)
        batch = pa.RecordBatch.from_pylist([row], schema=RECEIVED)
        stored = self._batches.apply(batch, "").to_pylist()[0]
        found: list[Reason] = []
        by_column: dict[str, dict[tuple[str, str], int]] = {}
        for hit in stored["redactions"]:
            column = hit["field"].partition(".")[0]
            by_column.setdefault(column, {})[hit["rule"], hit["field"]] = hit["count"]
        for column, counted in by_column.items():
            value = row[column] if isinstance(row[column], str) else json.dumps(row[column])
            found += reasons(self._policed, column, value, counted)
        shown = {name: stored[name] for name in REDACTED.names if row.get(name) is not None}
        for name in JSON_COLUMNS:
            if isinstance(shown.get(name), str) and not isinstance(event.get(name), str):
                shown[name] = json.loads(shown[name])
        return Explained(line, found, json.dumps(_like(event, shown), ensure_ascii=False))


class _Throwaway:
    """Keys of this run: what is hashed here compares with nothing that is stored."""

    def __init__(self) -> None:
        self._key = os.urandom(32)

    def key(self, tenant: str, purpose: str) -> bytes:
        return self._key

    def token_key(self, tenant: str) -> TokenKey:
        return TokenKey(1, self._key, datetime.now(UTC))


def _events(text: str) -> list[tuple[int, dict[str, Any]]] | None:
    """The events of the input with the lines they begin at; None when it is a text."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        whole = None
    if whole is not None:
        return [(1, whole)] if isinstance(whole, dict) and is_event(whole) else None
    found = []
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
            row[name] = value
        elif name in JSON_COLUMNS and isinstance(value, dict):
            row[name] = json.dumps(value, ensure_ascii=False)
        elif name in _TEXTS and isinstance(value, str):
            row[name] = value
        elif name not in RECEIVED.names and name not in REDACTED.names:
            rest.setdefault(name, value)
    if rest:
        row["attributes"] = json.dumps(rest, ensure_ascii=False)
    return row


def _like(event: dict[str, Any], stored: dict[str, Any]) -> dict[str, Any]:
    """The event with what became of its columns, in its own order; attributes that were found come last."""
    kept = {name: stored.get(name, value) for name, value in event.items() if name in RECEIVED.names}
    return kept | {name: value for name, value in stored.items() if name not in kept}
