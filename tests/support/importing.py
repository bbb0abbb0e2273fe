"""An Importer over a real store in a folder, on a clock that a test sets."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from otel_audit.exporter.importing.evidence import Evidence
from otel_audit.exporter.importing.importer import Counts, Importer
from otel_audit.exporter.importing.kept_aside import KeptAside
from otel_audit.exporter.importing.source import Source
from otel_audit.exporter.receiver.redact import BatchRedactor
from otel_audit.exporter.receiver.rows import RowMaker
from otel_audit.exporter.redaction.engine import Redactor
from otel_audit.exporter.redaction.rules import load_rules
from otel_audit.exporter.store.intake.handed import Intake
from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.regions.keyring import Keyring
from otel_audit.exporter.store.store import Store

RULES = load_rules()
REDACTOR = Redactor(RULES, matcher="re2")


class FailingRedactor(BatchRedactor):
    """The real one, which gives up on a batch with a certain word in a message."""

    word: str | None = None

    def apply(self, batch: pa.RecordBatch, tenant: str) -> pa.RecordBatch:
        if self.word is not None and self.word in str(batch.column("message")):
            raise RuntimeError("a bug")
        return super().apply(batch, tenant)


class Imports:
    """now: the moment of every import until it is set anew."""

    def __init__(self, folder: Path) -> None:
        self.root = RegionRoot(folder)
        self.store = Store(self.root)
        self.keyring = Keyring(self.root.keys)
        self.redactor = FailingRedactor(REDACTOR, self.keyring)
        self.now = datetime(2026, 11, 26, 12, tzinfo=UTC)
        self.rejected: list[tuple[int, str]] = []
        self.aside: Path | None = None

    def load(
        self,
        lines: Iterable[Any],
        tenant: str = "acme",
        *,
        historic: bool = False,
        months: Mapping[str, int] | None = None,
        allow_expired: bool = False,
    ) -> Counts:
        """Import lines, each bytes or a value to be written as JSON."""
        data = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
        aside = KeptAside(self.root.quarantine(tenant), REDACTOR)
        importer = Importer(
            tenant,
            RowMaker(self.redactor, self.keyring),
            Evidence(RULES),
            Intake(self.store),
            aside,
            historic=historic,
            months=months,
            allow_expired=allow_expired,
            now_ns=lambda: int(self.now.timestamp()) * 1_000_000_000,
            on_rejected=lambda file, line, reason: self.rejected.append((line, reason)),
        )
        try:
            importer.load("lines.json", Source(io.BufferedReader(io.BytesIO(data))).lines())
        finally:
            importer.close()
            self.aside = aside.close()
        return importer.counts

    def rows(self, tenant: str = "acme") -> list[dict[str, Any]]:
        """What is stored and not yet sealed, in the order it was numbered."""
        rows: list[dict[str, Any]] = self.store.snapshot(tenant).hot.to_pylist()
        return sorted(rows, key=lambda row: row["seq"])

    def kept_aside(self) -> list[dict[str, Any]]:
        """The entries of the last import's file."""
        return [json.loads(line) for line in self.aside.read_text().splitlines()] if self.aside else []
