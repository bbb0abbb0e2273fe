"""From an admitted request to durable rows: decode → route → identify → redact → append, in one function.

A request is stored whole or refused whole, and the caller acknowledges only after `accept` has returned.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import pyarrow as pa
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from otel_audit.exporter.store.partition import OPERATOR, TENANT_PATTERN
from otel_audit.exporter.store.schema import ROW
from otel_audit.instrumentation.vocabulary import Attr

from .decode import FLAG_TIME_MISSING, decode
from .errors import AdmissionUnavailable
from .keys import IngestKey, KeyDirectory
from .limits import IngestLimits
from .record_id import derived_id, named_id

_log = logging.getLogger(__name__)

FLAG_TENANT_DENIED: Final = "tenant_denied"
FLAG_TENANT_MISSING: Final = "tenant_missing"
DIGEST_PURPOSE: Final = "content-digest"
_DIGEST_BYTES: Final = 16
_RECORD_ID_KEY: Final = json.dumps(Attr.RECORD_ID)


class RowWriter(Protocol):
    """What the store offers: all rows durable when `append` returns, or none."""

    def append(self, rows: Mapping[str, pa.RecordBatch], *, own: bool = False) -> None: ...


class RowRedactor(Protocol):
    """What redaction offers: RECEIVED in, the fields of ROW without content_digest out."""

    def apply(self, batch: pa.RecordBatch, tenant: str) -> pa.RecordBatch: ...


class Keys(Protocol):
    """What the keyring offers: 32 secret bytes a tenant and purpose."""

    def key(self, tenant: str, purpose: str) -> bytes: ...


class Ingest:
    """Takes decoded OTLP requests of admitted senders. Safe to call from many threads."""

    def __init__(
        self,
        writer: RowWriter,
        redactor: RowRedactor,
        keys: KeyDirectory,
        keyring: Keys,
        now_ns: Callable[[], int],
        limits: IngestLimits | None = None,
        on_stored: Callable[[Mapping[str, pa.RecordBatch]], None] = lambda _: None,
    ) -> None:
        """on_stored: called with the rows of each request once they are durable; it must be quick."""
        self._writer = writer
        self._redactor = redactor
        self._keys = keys
        self._keyring = keyring
        self._now_ns = now_ns
        self._on_stored = on_stored
        self.limits = limits or IngestLimits()

    def accept(self, request: ExportLogsServiceRequest, key: IngestKey) -> int:
        """Store a request's records for the tenants its key may write to; how many, once durable.

        Blocks until the rows are on disk. Raises TooLarge, AdmissionUnavailable, StoreUnavailable: then
        nothing was stored.
        """
        return self._accept(request, _Router(self._keys, key).route)

    def accept_own(self, tenant: str, request: ExportLogsServiceRequest) -> int:
        """Store the service's own events for `tenant`, as `accept` does."""
        return self._accept(request, lambda _: (tenant, None, None), own=True)

    def _accept(
        self,
        request: ExportLogsServiceRequest,
        route: Callable[[str | None], _Route],
        *,
        own: bool = False,
    ) -> int:
        self.limits.check_records(
            sum(len(scope.log_records) for source in request.resource_logs for scope in source.scope_logs)
        )
        batch = decode(request, self._now_ns())
        if not batch.num_rows:
            return 0
        if batch.nbytes > self.limits.row_bytes_max:
            for index in range(batch.num_rows):
                self.limits.check_row(batch.slice(index, 1).nbytes)
        batch = _with_ids(batch)
        rows_of: dict[str, list[int]] = {}
        notes: list[tuple[str | None, str | None]] = []
        for index, claimed in enumerate(batch.column("claimed_tenant").to_pylist()):
            tenant, flag, kept_claim = route(claimed)
            rows_of.setdefault(tenant, []).append(index)
            notes.append((flag, kept_claim))
        batch = _with_notes(batch, notes)
        rows = {
            tenant: self._finished(tenant, batch if len(rows_of) == 1 else batch.take(pa.array(indices)))
            for tenant, indices in rows_of.items()
        }
        self._writer.append(rows, own=own)
        self._on_stored(rows)
        return int(batch.num_rows)

    def _finished(self, tenant: str, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One tenant's rows as ROW: digests from the record as received, everything else redacted."""
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


_Route = tuple[str, str | None, str | None]
"""(tenant, flag to add, claim to keep as an attribute)."""


class _Router:
    """Tenant of each record of one request; every distinct claim is looked up once."""

    def __init__(self, keys: KeyDirectory, key: IngestKey) -> None:
        self._keys = keys
        self._key = key
        # Bounded by the records of one request.
        self._found: dict[str, str | None] = {}

    def route(self, claimed: str | None) -> _Route:
        if self._key.tenants is not None and not self._key.forwards:
            # A plain key has one tenant; what the payload says is kept but never believed.
            return next(iter(self._key.tenants), OPERATOR), None, claimed
        if claimed is None:
            return OPERATOR, FLAG_TENANT_MISSING, None
        if claimed not in self._found:
            self._found[claimed] = self._allowed(claimed)
        tenant = self._found[claimed]
        return (OPERATOR, FLAG_TENANT_DENIED, claimed) if tenant is None else (tenant, None, None)

    def _allowed(self, claimed: str) -> str | None:
        try:
            tenant = self._keys.resolve_tenant(claimed)
            if tenant is None and self._key.create_tenants and self._key.tenants is None:
                tenant = self._keys.create_tenant(claimed)
        except Exception as error:
            _log.error("tenant lookup failed: %s", type(error).__name__)
            raise AdmissionUnavailable("the tenant could not be looked up", hint="send again") from error
        if tenant is None or not TENANT_PATTERN.fullmatch(tenant):
            return None
        if self._key.tenants is None:
            # The operator's own tenant belongs to no sender, not even to one that may name every tenant.
            return None if tenant == OPERATOR else tenant
        return tenant if tenant in self._key.tenants else None


def _with_ids(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows, each with an event_id."""
    ids = batch.column("event_id")
    if not ids.null_count:
        return batch
    texts: list[str | None] = ids.to_pylist()
    times = batch.column("time_unix_nano").to_pylist()
    digests = batch.column("record_digest").to_pylist()
    attributes = batch.column("attributes").to_pylist()
    flags = batch.column("flags").to_pylist()
    seen: Counter[bytes] = Counter()
    for index, known in enumerate(texts):
        if known is not None:
            continue
        name = _record_name(attributes[index])
        if name is not None:
            own_time = None if FLAG_TIME_MISSING in flags[index] else times[index]
            texts[index] = named_id(own_time, name)
        else:
            texts[index] = derived_id(times[index], digests[index], seen[digests[index]])
            seen[digests[index]] += 1
    return _replaced(batch, "event_id", texts)


def _record_name(attributes: str) -> str | None:
    """The record id that is no UUID, None when the record has none."""
    if _RECORD_ID_KEY not in attributes:
        return None
    value: Any = json.loads(attributes).get(Attr.RECORD_ID)
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _with_notes(batch: pa.RecordBatch, notes: list[tuple[str | None, str | None]]) -> pa.RecordBatch:
    """The same rows with what routing has found: a flag, the tenant that was claimed in vain."""
    if any(flag is not None for flag, _ in notes):
        flags = [
            known if flag is None else [*known, flag]
            for known, (flag, _) in zip(batch.column("flags").to_pylist(), notes, strict=True)
        ]
        batch = _replaced(batch, "flags", flags)
    if any(claim is not None for _, claim in notes):
        attributes = [
            text if claim is None else _with_claim(text, claim)
            for text, (_, claim) in zip(batch.column("attributes").to_pylist(), notes, strict=True)
        ]
        batch = _replaced(batch, "attributes", attributes)
    return batch


def _with_claim(attributes: str, claim: str) -> str:
    """The JSON object with one name more; the decoder has seen to it that the name is free."""
    added = f"{json.dumps(Attr.TENANT_CLAIMED)}:{json.dumps(claim, ensure_ascii=False)}"
    return "{" + added + ("}" if attributes == "{}" else "," + attributes[1:])


def _replaced(batch: pa.RecordBatch, name: str, values: list[Any]) -> pa.RecordBatch:
    index = batch.schema.get_field_index(name)
    field = batch.schema.field(index)
    return batch.set_column(index, field, pa.array(values, field.type))
