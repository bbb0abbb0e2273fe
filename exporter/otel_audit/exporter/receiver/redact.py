"""Redacts a decoded batch, column by column: what leaves here may touch a disk.

A few automata of all anchors run over whole columns; only values they suspect reach the engine, each distinct
one once a batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, Final, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from otel_audit.exporter.receiver.app_hits import app_hits
from otel_audit.exporter.receiver.suspects import Suspects
from otel_audit.exporter.receiver.unknown_users import UnknownUsers
from otel_audit.exporter.redaction import policy
from otel_audit.exporter.redaction.actions import token
from otel_audit.exporter.redaction.engine import Redactor
from otel_audit.exporter.redaction.identity import session_hash
from otel_audit.exporter.redaction.policed import Hits, Policed, Redacted, Redactors
from otel_audit.exporter.redaction.tenant_policy import DEFAULT, Policy
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

# Tenants with policies of their own share them, or there are few; each holds compiled rules.
_PLANS_MAX: Final = 16

Evidence = dict[int, Counter[tuple[str, str]]]
PolicyOf = Callable[[str], Policy]
"""Tenant → its policy now; raises what refuses the request."""


class TokenKey(Protocol):
    """A tenant's key for tokens. number: from 1, part of every token made with it."""

    @property
    def number(self) -> int: ...
    @property
    def key(self) -> bytes: ...


class Keyring(Protocol):
    """Where tenants' keys are kept."""

    def key(self, tenant: str, purpose: str) -> bytes:
        """32 bytes, the same for the same tenant and purpose."""
        ...

    def token_key(self, tenant: str) -> TokenKey:
        """The key that new tokens are made with."""
        ...


class _Plan(NamedTuple):
    """A policy, ready to run. suspects: by the redactor that they find values for."""

    policed: Policed
    suspects: Mapping[Redactor, Suspects]


class BatchRedactor:
    """Turns batches of RECEIVED into batches of REDACTED. Safe to share between threads."""

    def __init__(self, redactor: Redactor, keyring: Keyring, policy_of: PolicyOf = lambda _: DEFAULT) -> None:
        self._keyring, self._policy_of = keyring, policy_of
        self._unknown_users = UnknownUsers(keyring)
        self._redactors = Redactors(redactor, lambda rules: Redactor(rules, matcher="re2"))
        self._suspects = lru_cache(maxsize=_PLANS_MAX)(Suspects)
        self._plan = lru_cache(maxsize=_PLANS_MAX)(self._planned)
        self.policy_version = self._plan(DEFAULT).policed.version

    def apply(self, batch: pa.RecordBatch, tenant: str) -> pa.RecordBatch:
        """One tenant's rows without secrets, same order and number, plus redactions and policy_version.

        Any error refuses the whole batch; a value the engine fails on becomes `[REDACTED:engine_error]`.
        """
        plan = self._plan(self._policy_of(tenant))
        work = _Work(plan, {name: batch.column(name) for name in batch.schema.names}, self._tokens(tenant))
        self._unknown_users.hide(work.columns, tenant, work.evidence)
        _map_distinct(work.columns, "session_id", session_hash)
        for name, rows in work.suspects(_TEXT_COLUMNS).items():
            work.change(name, rows)
        for name in policy.LIST_COLUMNS:
            work.texts(name)
        work.told(batch.column("app_redactions"))
        columns = work.columns
        columns["redactions"] = _evidence_array(work.evidence, batch.num_rows)
        columns["policy_version"] = pa.repeat(plan.policed.version, batch.num_rows)
        return pa.RecordBatch.from_arrays([columns[field.name] for field in REDACTED], schema=REDACTED)

    def _planned(self, asked: Policy) -> _Plan:
        policed = Policed(asked, self._redactors)
        redactors = {policed.redactor(name) for name in (*_TEXT_COLUMNS, *policy.LIST_COLUMNS)}
        return _Plan(policed, {redactor: self._suspects(redactor) for redactor in redactors})

    def _tokens(self, tenant: str) -> Callable[[str], str]:
        key: TokenKey | None = None

        def tokenise(value: str) -> str:
            nonlocal key
            # One key a batch, and none is made for a tenant that never needs one.
            key = key or self._keyring.token_key(tenant)
            return token(value, key.number, key.key)

        return tokenise


class _Work:
    """One batch on its way. columns: as far as they are done; evidence: row → hits."""

    def __init__(self, plan: _Plan, columns: dict[str, pa.Array], tokenise: Callable[[str], str]) -> None:
        self._policed, self._suspects, self._tokenise = plan.policed, plan.suspects, tokenise
        self.columns = columns
        self.evidence: Evidence = {}

    def suspects(self, names: Sequence[str]) -> dict[str, list[int]]:
        """Column → rows to look at."""
        alike: dict[Redactor, tuple[dict[str, pa.Array], dict[str, pa.Array]]] = {}
        for name in names:
            plain, free = alike.setdefault(self._policed.redactor(name), ({}, {}))
            (free if self._policed.personal(name) else plain)[name] = self.columns[name]
        found: dict[str, list[int]] = {}
        for redactor, (plain, free) in alike.items():
            found |= self._suspects[redactor].rows(plain, free)
        for name in filter(self._policed.names_values, names):
            values = enumerate(self.columns[name].to_pylist())
            named = (row for row, value in values if value and self._policed.is_named(name, value))
            found[name] = sorted({*found.get(name, ()), *named})
        return found

    def texts(self, name: str) -> None:
        distinct = pc.unique(self.columns[name].flatten()).to_pylist()
        hits = {value: self._value(name, value) for value in distinct if value is not None}
        hits = {value: redacted for value, redacted in hits.items() if redacted[1]}
        if not hits:
            return
        lists = self.columns[name].to_pylist()
        for row, items in enumerate(lists):
            for index, item in enumerate(items or ()):
                if item in hits:
                    items[index] = hits[item][0]
                    self._count(row, hits[item][1])
        self.columns[name] = pa.array(lists, type=self.columns[name].type)

    def change(self, name: str, rows: list[int]) -> None:
        """Redact these rows of a column."""
        array = self.columns[name]
        memo: dict[str, Redacted] = {}
        changed: dict[int, str] = {}
        for row, value in zip(rows, array.take(pa.array(rows, pa.int64())).to_pylist(), strict=True):
            if value not in memo:
                memo[value] = self._value(name, value)
            redacted, hits = memo[value]
            if hits:
                self._count(row, hits)
            if redacted != value:
                changed[row] = redacted
        self.columns[name] = _replaced(array, changed)

    def told(self, claims: pa.Array) -> None:
        """Add what apps say they have hidden themselves, as far as it can be true."""
        if claims.null_count == len(claims):
            return
        for row, claim in enumerate(claims.to_pylist()):
            if claim is not None:
                self._count(row, app_hits(claim, self._policed.redactor("attributes")))

    def _value(self, name: str, value: str) -> Redacted:
        return self._policed.value(name, value, self._tokenise)

    def _count(self, row: int, hits: Hits) -> None:
        self.evidence.setdefault(row, Counter()).update(hits)


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
    items: list[dict[str, Any]] = []
    offsets = [0] * (rows + 1)
    for row, counts in sorted(evidence.items()):
        if len(counts) > _EVIDENCE_MAX:
            counts = _by_column(counts)
        items += [{"rule": r, "field": f, "count": n} for (r, f), n in sorted(counts.items())]
        offsets[row + 1] = len(items)
    ends = pa.array(list(accumulate(offsets, max)), pa.int32())
    return pa.ListArray.from_arrays(ends, pa.array(items, type=REDACTIONS.value_type), type=REDACTIONS)


def _by_column(counts: Counter[tuple[str, str]]) -> Counter[tuple[str, str]]:
    summed: Counter[tuple[str, str]] = Counter()
    for (rule, field), count in counts.items():
        summed[rule, field.partition(".")[0]] += count
    return summed
