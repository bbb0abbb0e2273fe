"""Redacts a decoded batch, column by column: what leaves here may touch a disk.

One automaton of all anchors runs over whole columns; only values it suspects reach the engine, each distinct
one once a batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from otel_audit.exporter.receiver.suspects import Suspects
from otel_audit.exporter.receiver.unknown_users import UnknownUsers
from otel_audit.exporter.redaction import policy
from otel_audit.exporter.redaction.engine import ENGINE_ERROR_MARKER, Redactor
from otel_audit.exporter.redaction.identity import session_hash
from otel_audit.exporter.redaction.rules import ENGINE_ERROR
from otel_audit.exporter.redaction.tree import NotJson, parse_json, write_json
from otel_audit.exporter.store.schema import REDACTIONS, ROW

REDACTED: Final = pa.schema([field for field in ROW if field.name != "content_digest"])
"""ROW without the digest, which only the owner of the tenant's key can make."""

# Evidence stays small even when a sender hides a secret in every attribute; the rest is summed a column.
_EVIDENCE_MAX: Final = 64
_TEXT_COLUMNS: Final = (
    *policy.IDENTITY_COLUMNS,
    *policy.NAMING_COLUMNS,
    *policy.FREE_TEXT_COLUMNS,
    *policy.JSON_TEXT_COLUMNS,
)

Hits = Mapping[tuple[str, str], int]
Redacted = tuple[str, Hits]
Evidence = dict[int, Counter[tuple[str, str]]]


class Keyring(Protocol):
    """Where tenants' keys are kept."""

    def key(self, tenant: str, purpose: str) -> bytes:
        """32 bytes, the same for the same tenant and purpose."""
        ...


class BatchRedactor:
    """Turns batches of RECEIVED into batches of REDACTED. Safe to share between threads."""

    def __init__(self, redactor: Redactor, keyring: Keyring) -> None:
        self._redactor = redactor
        self._unknown_users = UnknownUsers(keyring)
        self._suspects = Suspects(redactor)
        self.policy_version = f"{policy.POLICY_VERSION}-{redactor.rules.version}"

    def apply(self, batch: pa.RecordBatch, tenant: str) -> pa.RecordBatch:
        """One tenant's rows without secrets, same order and number, plus redactions and policy_version.

        Any error refuses the whole batch; a value the engine fails on becomes `[REDACTED:engine_error]`.
        """
        columns = {name: batch.column(name) for name in batch.schema.names}
        evidence: Evidence = {}
        self._unknown_users.hide(columns, tenant, evidence)
        _map_distinct(columns, "session_id", session_hash)
        for name in _TEXT_COLUMNS:
            self._text(name, columns, evidence)
        for name in policy.LIST_COLUMNS:
            self._list(name, columns, evidence)
        columns["redactions"] = _evidence_array(evidence, batch.num_rows)
        columns["policy_version"] = pa.repeat(self.policy_version, batch.num_rows)
        return pa.RecordBatch.from_arrays([columns[field.name] for field in REDACTED], schema=REDACTED)

    def _text(self, name: str, columns: dict[str, pa.Array], evidence: Evidence) -> None:
        rows = self._suspects.rows(columns[name], personal=policy.is_personal(name))
        if rows:
            columns[name] = self._changed(name, columns[name], rows, evidence)

    def _changed(self, name: str, array: pa.Array, rows: list[int], evidence: Evidence) -> pa.Array:
        memo: dict[str, Redacted] = {}
        changed: dict[int, str] = {}
        for row, value in zip(rows, array.take(pa.array(rows)).to_pylist(), strict=True):
            if value not in memo:
                memo[value] = self._value(name, value)
            redacted, hits = memo[value]
            if hits:
                evidence.setdefault(row, Counter()).update(hits)
            if redacted != value:
                changed[row] = redacted
        return _replaced(array, changed)

    def _value(self, name: str, value: str) -> Redacted:
        if name in policy.JSON_TEXT_COLUMNS:
            return self._json(name, value)
        redacted, counts = self._redactor.text(value, personal=policy.is_personal(name), field=name)
        return redacted, {(rule, name): count for rule, count in counts.items()}

    def _json(self, name: str, value: str) -> Redacted:
        try:
            document = parse_json(value)
        except NotJson:
            text, counts = self._redactor.text(value, personal=True, field=name)
            return write_json({"invalid_json": text}), {(rule, name): n for rule, n in counts.items()}
        redacted, hits = self._redactor.tree(document, personal=True, field=name)
        if not hits:
            return value, hits
        if redacted == ENGINE_ERROR_MARKER:
            redacted = {ENGINE_ERROR: ENGINE_ERROR_MARKER}
        return write_json(redacted), hits

    def _list(self, name: str, columns: dict[str, pa.Array], evidence: Evidence) -> None:
        suspect = self._redactor.suspect
        distinct = pc.unique(columns[name].flatten()).to_pylist()
        hits = {v: self._value(name, v) for v in distinct if v is not None and suspect(v, personal=False)}
        hits = {value: redacted for value, redacted in hits.items() if redacted[1]}
        if not hits:
            return
        lists = columns[name].to_pylist()
        for row, items in enumerate(lists):
            for index, item in enumerate(items or ()):
                if item in hits:
                    items[index] = hits[item][0]
                    evidence.setdefault(row, Counter()).update(hits[item][1])
        columns[name] = pa.array(lists, type=columns[name].type)


def _map_distinct(columns: dict[str, pa.Array], name: str, function: Callable[[str], str]) -> None:
    array = columns[name]
    if array.null_count == len(array):
        return
    encoded = array.dictionary_encode()
    mapped = pa.array([function(value) for value in encoded.dictionary.to_pylist()], type=pa.string())
    columns[name] = mapped.take(encoded.indices)


def _replaced(array: pa.Array, changed: Mapping[int, str]) -> pa.Array:
    if not changed:
        return array
    mask = [False] * len(array)
    for row in changed:
        mask[row] = True
    news = pa.array([changed[row] for row in sorted(changed)], type=pa.string())
    return pc.replace_with_mask(array, pa.array(mask), news)


def _evidence_array(evidence: Evidence, rows: int) -> pa.Array:
    lists: list[list[dict[str, Any]]] = [[] for _ in range(rows)]
    for row, counts in evidence.items():
        if len(counts) > _EVIDENCE_MAX:
            counts = _by_column(counts)
        lists[row] = [{"rule": r, "field": f, "count": n} for (r, f), n in sorted(counts.items())]
    return pa.array(lists, type=REDACTIONS)


def _by_column(counts: Counter[tuple[str, str]]) -> Counter[tuple[str, str]]:
    summed: Counter[tuple[str, str]] = Counter()
    for (rule, field), count in counts.items():
        summed[rule, field.partition(".")[0]] += count
    return summed
