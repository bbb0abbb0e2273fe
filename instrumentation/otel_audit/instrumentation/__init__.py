"""What an app imports to be audited: `audit`, the middleware, the event and its error."""

from __future__ import annotations

from otel_audit.instrumentation import audit
from otel_audit.instrumentation.errors import AuditError
from otel_audit.instrumentation.event import AuditEvent
from otel_audit.instrumentation.plugins.asgi import AuditMiddleware

__all__ = ["AuditError", "AuditEvent", "AuditMiddleware", "audit"]
