"""The real receiver on loopback ports: gRPC, HTTP, redaction, keys, store, all in one folder."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from otel_audit.exporter.receiver.admission import Admission, RefusedAttempt
from otel_audit.exporter.receiver.grpc import start_grpc
from otel_audit.exporter.receiver.http import otlp_http_app
from otel_audit.exporter.receiver.ingest import Ingest
from otel_audit.exporter.receiver.limits import IngestLimits
from otel_audit.exporter.receiver.redact import BatchRedactor
from otel_audit.exporter.redaction.engine import Redactor
from otel_audit.exporter.redaction.rules import load_rules
from otel_audit.exporter.store.errors import StoreUnavailable
from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.regions.keyring import Keyring
from otel_audit.exporter.store.store import Store
from otel_audit.exporter.wal.files import OS, FileSystem
from tests.support.asgi_server import served
from tests.support.control import Control


class WatchedStore:
    """The real store, which a test can make refuse as a full disk would."""

    def __init__(self, root: Path, fs: FileSystem = OS) -> None:
        self.inner = Store(RegionRoot(root), fs=fs)
        self.full = False
        self._failures = 0

    def fail(self, times: int) -> None:
        """Refuse the next requests."""
        self._failures = times

    def append(self, rows: Mapping[str, pa.RecordBatch], *, own: bool = False) -> None:
        if self.full:
            raise StoreUnavailable("the disk is full", retry_after_s=7)
        if self._failures:
            self._failures -= 1
            raise StoreUnavailable("not now", retry_after_s=1)
        self.inner.append(rows, own=own)

    def rows(self, tenant: str) -> list[dict[str, Any]]:
        """What the store holds, in the order it was numbered."""
        hot: list[dict[str, Any]] = self.inner.snapshot(tenant).hot.to_pylist()
        return sorted(hot, key=lambda row: row["seq"])


class Receiver:
    """Both listeners over one Ingest. http, grpc: "127.0.0.1:PORT" once started."""

    http: str
    grpc: str

    def __init__(self, folder: Path, limits: IngestLimits | None = None, *, fs: FileSystem = OS) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.control = Control(folder)
        self.store = WatchedStore(folder, fs)
        self.keyring = Keyring(folder / "keys")
        self.refused: list[RefusedAttempt] = []
        self.limits = limits or IngestLimits()
        redactor = BatchRedactor(Redactor(load_rules()), self.keyring)
        self.ingest = Ingest(self.store, redactor, self.control.keys, self.keyring, time.time_ns, self.limits)
        self.admission = Admission(self.control.keys, self.control.clock, on_refused=self.refused.append)

    def key(self, *tenants: str, **options: Any) -> str:
        """A key for tenants, added when they are not there yet; for all of them when none is named."""
        for tenant in tenants:
            if not self.control.tenants.exists(tenant):
                self.control.tenants.add(tenant)
        return self.control.keys.create(tenants or None, **options).text

    def rows(self, tenant: str = "acme") -> list[dict[str, Any]]:
        return self.store.rows(tenant)

    def close(self) -> None:
        self.store.inner.close()
        self.control.db.close()


@contextmanager
def running(receiver: Receiver) -> Iterator[Receiver]:
    with ExitStack() as stack:
        stack.callback(receiver.close)
        grpc = start_grpc(receiver.ingest, receiver.admission, "127.0.0.1:0")
        stack.callback(grpc.stop, 1.0)
        receiver.grpc = grpc.address
        receiver.http = stack.enter_context(served(otlp_http_app(receiver.ingest, receiver.admission)))
        yield receiver


def smaller(**bounds: Any) -> IngestLimits:
    """The default limits with some of them smaller."""
    return replace(IngestLimits(), **bounds)
