"""Organizations' redaction policies as the control database keeps them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from sqlalchemy import Connection, delete, insert, select

from otel_audit.exporter.redaction.tenant_policy import DEFAULT, Policy, parse_policy

from .tables import REDACTION_POLICIES

NO_POLICY: Final = DEFAULT.to_json()
# Tenants share few policies; each is read again four times a second.
_parsed = lru_cache(maxsize=256)(parse_policy)


def version_of(text: str) -> str:
    """The version of a policy's canonical JSON, `default` for none; without reading what it says."""
    return "default" if text == NO_POLICY else hashlib.sha256(text.encode()).hexdigest()[:8]


def put_policy(connection: Connection, tenant: str, policy: Policy) -> None:
    """Set an organization's policy, in the transaction that records it; the default leaves no row."""
    connection.execute(delete(REDACTION_POLICIES).where(REDACTION_POLICIES.c.tenant == tenant))
    if policy != DEFAULT:
        connection.execute(insert(REDACTION_POLICIES).values(tenant=tenant, policy=policy.to_json()))


def stored_policies(connection: Connection, tenant: str | None = None) -> Mapping[str, str]:
    """Organization → canonical JSON, for those that have a policy of their own."""
    wanted = select(REDACTION_POLICIES.c.tenant, REDACTION_POLICIES.c.policy)
    if tenant is not None:
        wanted = wanted.where(REDACTION_POLICIES.c.tenant == tenant)
    return {row.tenant: row.policy for row in connection.execute(wanted)}


def policy_of(connection: Connection, tenant: str) -> Policy:
    """The policy of an organization. Raises PolicyError when this release cannot use it."""
    return _parsed(stored_policies(connection, tenant).get(tenant, NO_POLICY))
