"""Deleting an organization: first it exists for nobody any more, then its bytes go, then that is recorded."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..control.outbox import Actor

if TYPE_CHECKING:
    from .core import Core


def delete_tenant(core: Core, tenant: str, *, actor: Actor) -> dict[str, Any]:
    """Delete everything of an organization; what was deleted, as counts.

    A crash at any point leaves it deleted for everybody and its bytes partly there; the same call ends it.
    Raises TenantHeld, NoSuchTenant, InvalidTenant, and StoreUnavailable when the write-ahead log cannot
    let go of its rows.
    """
    deletion = core.deletions.begin(tenant, actor=actor)
    core.tenants.forget_recent()
    removed = core.store.remove_tenant(tenant, deletion.region)
    core.keyring.forget(tenant, deletion.region)
    core.reads[deletion.region].drop(tenant)
    facts = {f"otel_audit.{name}": value for name, value in asdict(removed).items()}
    core.deletions.end(deletion, facts)
    return {"tenant": tenant, "region": deletion.region, **asdict(removed)}
