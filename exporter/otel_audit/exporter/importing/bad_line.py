"""A line that gives no events."""

from __future__ import annotations

from otel_audit.instrumentation.errors import AuditError


class BadLine(AuditError):
    """The message is the reason and quotes nothing of the line, for it may hold secrets."""
