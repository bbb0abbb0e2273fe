"""Helpers for the tests of audited apps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from otel_audit.instrumentation.event import AuditEvent
from otel_audit.instrumentation.trail import Capture, OnError, trail


@contextmanager
def capture(*, on_error: OnError = "raise") -> Iterator[list[AuditEvent]]:
    """Collect the events recorded anywhere in this process while the block runs; none leaves it.

    Needs neither `configure` nor an SDK. on_error: "raise" (default) makes `record` raise on an invalid
    event, so that a test notices; "count" behaves like production.
    """
    captured = Capture(on_error)
    trail.push_capture(captured)
    try:
        yield captured.events
    finally:
        trail.pop_capture(captured)
