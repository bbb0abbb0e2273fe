"""From decoded records to rows for the store: an id each, what routing found, redaction, the digest."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, Protocol

import pyarrow as pa

from otel_audit.exporter.store.schema import ROW
from otel_audit.instrumentation.vocabulary import Attr

from .decode import FLAG_TIME_MISSING
from .record_id import derived_id, named_id

DIGEST_PURPOSE: Final = "content-digest"
_DIGEST_BYTES: Final = 16
_RECORD_ID_KEY: Final = json.dumps(Attr.RECORD_ID)

Note = tuple[str | None, str | None]
"""(flag to add, claimed tenant to keep as an attribute)."""


class RowRedactor(Protocol):
    """What redaction offers: RECEIVED in, the fields of ROW without content_digest out."""

    def apply(self, batch: pa.RecordBatch, tenant: str) -> pa.RecordBatch: ...


class Keys(Protocol):
    """What the keyring offers: 32 secret bytes a tenant and purpose."""

    def key(self, tenant: str, purpose: str) -> bytes: ...


class RowMaker:
    """Makes batches of ROW of batches of RECEIVED. Safe to share between threads."""

    def __init__(self, redactor: RowRedactor, keyring: Keys) -> None:
        self._redactor = redactor
        self._keyring = keyring

    def rows(self, tenant: str, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One tenant's rows: digests from the record as received, everything else redacted.

        Every row has an event_id already (`with_ids`).
        """
        key = self._keyring.key(tenant, DIGEST_PURPOSE)
        digests = [
            hmac.digest(key, digest, hashlib.sha256)[:_DIGEST_BYTES].hex()
            for digest in batch.column("record_digest").to_pylist()
        ]
        redacted = self._redactor.apply(batch, tenant)
        columns = [
            pa.array(digests, pa.string()) if name == "content_digest" else redacted.column(name)
            for name in ROW.names
        ]
        return pa.RecordBatch.from_arrays(columns, schema=ROW)


def with_ids(
    batch: pa.RecordBatch, requests: Sequence[int] | None = None, timeless: Counter[bytes] | None = None
) -> pa.RecordBatch:
    """The same rows, each with an event_id.

    requests: number of the request each row came in, all of one when None.
    timeless: how often each record without any time has come before in the same file. Given, such records get
    the same ids whenever the file is read; without it each one that is received is a new event.
    """
    ids = batch.column("event_id")
    if not ids.null_count:
        return batch
    texts: list[str | None] = ids.to_pylist()
    times = batch.column("time_unix_nano").to_pylist()
    digests = batch.column("record_digest").to_pylist()
    attributes = batch.column("attributes").to_pylist()
    flags = batch.column("flags").to_pylist()
    seen: Counter[tuple[int, bytes]] = Counter()
    for index, known in enumerate(texts):
        if known is not None:
            continue
        name, digest = _record_name(attributes[index]), digests[index]
        has_time = FLAG_TIME_MISSING not in flags[index]
        if name is not None:
            texts[index] = named_id(times[index] if has_time else None, name)
        elif timeless is not None and not has_time:
            texts[index] = derived_id(0, digest, timeless[digest])
            timeless[digest] += 1
        else:
            equals = (requests[index] if requests is not None else 0, digest)
            texts[index] = derived_id(times[index], digest, seen[equals])
            seen[equals] += 1
    return replaced(batch, "event_id", texts)


def _record_name(attributes: str) -> str | None:
    """The record id that is no UUID, None when the record has none."""
    if _RECORD_ID_KEY not in attributes:
        return None
    value: Any = json.loads(attributes).get(Attr.RECORD_ID)
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def with_notes(batch: pa.RecordBatch, notes: list[Note]) -> pa.RecordBatch:
    """The same rows with what routing has found: a flag, the tenant that was claimed in vain."""
    if any(flag is not None for flag, _ in notes):
        flags = [
            known if flag is None else [*known, flag]
            for known, (flag, _) in zip(batch.column("flags").to_pylist(), notes, strict=True)
        ]
        batch = replaced(batch, "flags", flags)
    if any(claim is not None for _, claim in notes):
        attributes = [
            text if claim is None else _with_claim(text, claim)
            for text, (_, claim) in zip(batch.column("attributes").to_pylist(), notes, strict=True)
        ]
        batch = replaced(batch, "attributes", attributes)
    return batch


def _with_claim(attributes: str, claim: str) -> str:
    """The JSON object with one name more; the decoder has seen to it that the name is free."""
    added = f"{json.dumps(Attr.TENANT_CLAIMED)}:{json.dumps(claim, ensure_ascii=False)}"
    return "{" + added + ("}" if attributes == "{}" else "," + attributes[1:])


def replaced(batch: pa.RecordBatch, name: str, values: list[Any]) -> pa.RecordBatch:
    """The same rows with other values in one column."""
    index = batch.schema.get_field_index(name)
    field = batch.schema.field(index)
    return batch.set_column(index, field, pa.array(values, field.type))
