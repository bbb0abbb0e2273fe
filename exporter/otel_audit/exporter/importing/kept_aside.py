"""What an import did not store, for a person to look at: where it is, why, and what may be shown of it.

    store/tenant=<id>/_quarantine/import-<16 hex digits of its SHA-256>.ndjson

The same file imported again gives the same name, so it is there once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from otel_audit.exporter.redaction.engine import Redactor
from otel_audit.exporter.store.files.blobs import make_folder, sync_folder
from otel_audit.exporter.store.schema import COLUMN_NAMES, JSON_COLUMNS

from .source import Line

# More than a person reads of a line; and a longer one is not cut before redaction, as half a secret is
# not recognised.
_SHOWN_CHARS_MAX: Final = 4_096
_REDACTED_BYTES_MAX: Final = 64 << 10
_HIDDEN: Final = "…"
_OTLP_NAMES: Final = (
    "resourceLogs scopeLogs logRecords resource scope schemaUrl attributes key value stringValue intValue "
    "boolValue doubleValue bytesValue arrayValue kvlistValue values body timeUnixNano observedTimeUnixNano "
    "severityNumber severityText traceId spanId flags eventName droppedAttributesCount name version"
)
_NAMES: Final = frozenset(COLUMN_NAMES) | frozenset(_OTLP_NAMES.split())
_JSON_SIGNS: Final = re.compile(r"(?:[\s\[\]{}:,0-9.+-]|true|false|null)*")
# Differ from one run to the next, and the name is made of the content.
_OF_THIS_RUN: Final = ("received_time", "policy_version")


class KeptAside:
    """One file of what an import refused, written as it goes; nothing is made when nothing is refused."""

    def __init__(self, folder: Path, redactor: Redactor) -> None:
        """folder: the organization's quarantine."""
        self._folder = folder
        self._redactor = redactor
        self._temporary = folder / f"_{uuid.uuid4().hex}.tmp"
        self._descriptor = -1
        self._sha256 = hashlib.sha256()

    def line(self, file: str, line: Line, reason: str) -> None:
        """Keep a line that gave no events, as far as it may be shown."""
        self._write(file, line, {"reason": reason, "text": self._shown(line.data)})

    def event(self, file: str, line: Line, record: int, reason: str, row: dict[str, Any]) -> None:
        """Keep one event. row: of schema ROW, redacted. record: from 1, within its line."""
        event = {name: _plain(name, value) for name, value in row.items() if name not in _OF_THIS_RUN}
        self._write(file, line, {"record": record, "reason": reason, "event": event})

    def close(self) -> Path | None:
        """Make the file durable under its name; None when there is none."""
        if self._descriptor < 0:
            return None
        os.fsync(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1
        path = self._folder / f"import-{self._sha256.hexdigest()[:16]}.ndjson"
        try:
            with contextlib.suppress(FileExistsError):
                os.link(self._temporary, path)
            self._temporary.unlink()
        except FileNotFoundError:
            return None  # a server that started meanwhile has tidied up; the next run writes it again
        sync_folder(self._folder)
        return path

    def _write(self, file: str, line: Line, entry: dict[str, Any]) -> None:
        if self._descriptor < 0:
            make_folder(self._folder)
            self._descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        name, _ = self._redactor.text(file, personal=True, field="file")
        place = {"file": name, "line": line.number, "offset": line.offset, "bytes": line.size}
        data = json.dumps({**place, **entry}, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        self._sha256.update(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def _shown(self, data: bytes | None) -> str | None:
        """The line without anything that may be a secret; None when it is too long to tell.

        What cannot be parsed has no columns, so no rule knows which of its texts is a password. Of a line
        with quotes only JSON's own signs, numbers and names of ours are shown, wherever the quotes are.
        """
        if data is None or len(data) > _REDACTED_BYTES_MAX:
            return None
        text = data.decode("utf-8", "replace").strip()
        if '"' in text:
            parts = text.split('"')
            text = '"'.join(
                part if part in _NAMES or _JSON_SIGNS.fullmatch(part) else _HIDDEN for part in parts
            )
        return self._redactor.text(text, personal=True, field="line")[0][:_SHOWN_CHARS_MAX]


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    if name in JSON_COLUMNS and isinstance(value, str):
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(value)
    return value
