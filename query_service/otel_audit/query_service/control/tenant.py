"""One organization and its settings, as they are shown and as their changes are recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row

from .outbox import utc_text
from .redaction import NO_POLICY, version_of
from .retention import Pending, retention_from_json


@dataclass(frozen=True, slots=True)
class Tenant:
    """One organization. retention: class → months in force when it was read; created_at: seconds UTC.

    redaction: its policy as canonical JSON, `{}` by default; a newer release may have written it.
    """

    id: str
    aliases: tuple[str, ...]
    region: str
    retention: Mapping[str, int]
    export_rate: str
    created_at: float
    retention_pending: Mapping[str, Pending] = field(default_factory=dict)
    redaction: str = NO_POLICY

    @property
    def redaction_version(self) -> str:
        """8 hex digits, as they stand in `policy_version`; `default` without a policy."""
        return version_of(self.redaction)


def told(tenant: Tenant, reason: str | None, *, policy: bool) -> dict[str, Any]:
    """Attributes of a change: why, and what the policy says whose version is among the changes."""
    why = {"otel_audit.reason": reason} if reason else {}
    return why | ({"otel_audit.redaction_policy": json.loads(tenant.redaction)} if policy else {})


def tenant_of(row: Row[Any], aliases: tuple[str, ...], now: float, redaction: str) -> Tenant:
    """The organization of a row of the tenants table, its retention as it is at `now`."""
    retention = retention_from_json(row.retention, row.retention_pending).at(now)
    return Tenant(
        row.id,
        aliases,
        row.region,
        retention.months,
        row.export_rate,
        row.created_at,
        retention.pending,
        redaction,
    )


def settings_of(tenant: Tenant) -> dict[str, Any]:
    """What of it can be set, as changes tell it."""
    pending = {
        name: {"months": p.months, "effective_at": utc_text(p.effective_at), "reason": p.reason}
        for name, p in tenant.retention_pending.items()
    }
    return {
        "aliases": list(tenant.aliases),
        "region": tenant.region,
        "retention": dict(tenant.retention),
        "retention_pending": pending,
        "export_rate": tenant.export_rate,
        "redaction": tenant.redaction_version,
    }


def differences(before: Tenant, after: Tenant) -> dict[str, tuple[Any, Any]]:
    """Setting → (before, after), for those that differ."""
    old, new = settings_of(before), settings_of(after)
    return {name: (old[name], new[name]) for name in new if old[name] != new[name]}
