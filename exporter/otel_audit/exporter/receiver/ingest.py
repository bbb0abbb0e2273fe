"""From an admitted request to durable rows: decode → route → identify → redact → append, in one function.

A request is stored whole or refused whole, and the caller acknowledges only after `accept` has returned.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import pyarrow as pa
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from otel_audit.exporter.store.partition import OPERATOR, TENANT_PATTERN

from .decode import decode
from .errors import AdmissionUnavailable
from .keys import IngestKey, KeyDirectory
from .limits import IngestLimits
from .rows import Keys, RowMaker, RowRedactor, with_ids, with_notes

_log = logging.getLogger(__name__)

FLAG_TENANT_DENIED: Final = "tenant_denied"
FLAG_TENANT_MISSING: Final = "tenant_missing"


class RowWriter(Protocol):
    """What the store offers: all rows durable when `append` returns, or none. own: of the service itself."""

    def append(self, rows: Mapping[str, pa.RecordBatch], *, own: bool = False) -> None: ...


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
        self._maker = RowMaker(redactor, keyring)
        self._keys = keys
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
        self.limits.check_rows(batch)
        batch = with_ids(batch)
        rows_of: dict[str, list[int]] = {}
        notes: list[tuple[str | None, str | None]] = []
        for index, claimed in enumerate(batch.column("claimed_tenant").to_pylist()):
            tenant, flag, kept_claim = route(claimed)
            rows_of.setdefault(tenant, []).append(index)
            notes.append((flag, kept_claim))
        batch = with_notes(batch, notes)
        rows = {
            tenant: self._maker.rows(tenant, batch if len(rows_of) == 1 else batch.take(pa.array(indices)))
            for tenant, indices in rows_of.items()
        }
        self._writer.append(rows, own=own)
        self._on_stored(rows)
        return int(batch.num_rows)


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
