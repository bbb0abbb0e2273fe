"""Tenants' redaction policies as the receiver asks for them: without one nothing is stored."""

from __future__ import annotations

import logging

from otel_audit.exporter.receiver.redact import PolicyOf
from otel_audit.exporter.redaction.tenant_policy import Policy
from otel_audit.exporter.store.errors import StoreUnavailable
from otel_audit.instrumentation.errors import AuditError

from ..control.tenants import Tenants

_log = logging.getLogger(__name__)


def policies(tenants: Tenants) -> PolicyOf:
    """Tenant → policy in force, at most a quarter of a second old; what cannot be read refuses, retryably."""

    # Bounded by the tenants there are; the service's own events try again four times a second.
    told: dict[str, str] = {}

    def policy_of(tenant: str) -> Policy:
        try:
            return tenants.redaction_of(tenant)
        except AuditError as error:
            if told.get(tenant) != error.message:
                told[tenant] = error.message
                _log.error("the redaction policy of %s cannot be used: %s", tenant, error.message)
            raise StoreUnavailable(
                f"the redaction policy of {tenant} cannot be used: {error.message}",
                hint=f"set it again: 'otel-audit tenant set {tenant} --redaction FILE'",
            ) from error

    return policy_of
