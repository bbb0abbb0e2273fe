"""Numbers events and hands them to OpenTelemetry: the seam between an app and its exporter."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Final, Protocol, cast

from opentelemetry._logs import Logger, SeverityNumber

from otel_audit.instrumentation.config import ExporterConfig, InvalidConfig
from otel_audit.instrumentation.context import event_context
from otel_audit.instrumentation.event import AuditEvent
from otel_audit.instrumentation.ids import uuid7
from otel_audit.instrumentation.vocabulary import SEVERITY_NUMBER, Attr, Severity, retention_class

EXPORTER_GROUP: Final = "otel_audit_exporter"
COUNTERS_MAX: Final = 65_536
"""Pairs of tenant and class one emitter id counts, about 10 MB; then a new emitter id starts over at 1."""


class EventProcessor(Protocol):
    """What takes events out of the process. An exporter's entry point builds one from an ExporterConfig.

    logger: of a LoggerProvider that belongs to the audit trail alone, never the app's global one.
    """

    @property
    def logger(self) -> Logger: ...

    def flush(self, timeout_s: float) -> bool:
        """Send what waits; whether everything emitted so far was accepted within timeout_s."""
        ...

    def shutdown(self, timeout_s: float) -> None:
        """Send what waits within timeout_s, then stop; later events are refused."""
        ...


ProcessorFactory = Callable[[ExporterConfig], EventProcessor]


def find_exporter(exporter: str | ProcessorFactory) -> ProcessorFactory:
    """The factory itself, or the one installed under that name. Raises InvalidConfig."""
    if not isinstance(exporter, str):
        return exporter
    for found in entry_points(group=EXPORTER_GROUP, name=exporter):
        return cast(ProcessorFactory, found.load())
    raise InvalidConfig("exporter", f"{exporter!r} is not installed", hint="pip install otel-audit")


class Sequence:
    """Counts events per tenant and retention class, so that a receiver sees gaps.

    The emitter id is this process's own: a forked child gets a new one, else both would count alike.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._start()

    def _start(self) -> None:
        self._process_id = os.getpid()
        self._emitter_id = uuid7()
        self._counts: dict[tuple[str, str], int] = {}

    def next(self, tenant: str, retention: str) -> tuple[str, int]:
        """The emitter id and the next number of that tenant and class, from 1."""
        if self._process_id != os.getpid():
            self._lock = threading.Lock()  # A fork may have copied it while another thread held it.
            self._start()
        with self._lock:
            if len(self._counts) >= COUNTERS_MAX and (tenant, retention) not in self._counts:
                self._start()
            number = self._counts.get((tenant, retention), 0) + 1
            self._counts[tenant, retention] = number
            return self._emitter_id, number


class Emitter:
    """Turns events into log records of a processor's private logger."""

    def __init__(self, processor: EventProcessor, sequence: Sequence) -> None:
        self.processor = processor
        self._sequence = sequence

    def emit(self, event: AuditEvent) -> None:
        """Hand over one event; raises what the processor raises when it cannot take it."""
        attributes = event.to_attributes()
        retention, _ = retention_class(event.category, event.action, event.retention_class, attributes)
        attributes.setdefault(Attr.RETENTION_CLASS, retention.value)
        # A number is spent even when the processor then refuses: the loss shows as a gap.
        emitter_id, number = self._sequence.next(event.tenant or "", retention.value)
        attributes[Attr.EMITTER_ID] = emitter_id
        attributes[Attr.EMITTER_SEQ] = number
        self.processor.logger.emit(
            timestamp=event.time_unix_nano,
            context=event_context(),
            severity_number=SeverityNumber(SEVERITY_NUMBER[Severity(event.severity)]),
            severity_text=event.severity,
            body=event.summary,
            attributes=attributes,
            event_name=event.event_name,
        )
