"""Who may read which organization's trail."""

from __future__ import annotations

from typing import Literal

from otel_audit.instrumentation.errors import AuditError

from ..control.database import OPERATOR
from .principal import Principal


class Forbidden(AuditError):
    """The principal belongs to the organization but its role is too low: 403."""


class UnknownOrganization(AuditError):
    """No such organization as far as the principal may know: 404."""


def authorize(
    principal: Principal, org: str, *, exists: bool, need: Literal["read", "settings"] = "read"
) -> None:
    """Let the principal pass or raise.

    exists: whether there is such an organization. Its admins read and change settings, its auditors
    read, its members get Forbidden. Everybody else gets the one UnknownOrganization, whether it exists
    or not. An operator runs the service but is an outsider to every organization; only the operator's
    own trail is theirs.
    """
    own = OPERATOR if principal.role == "operator" else principal.org
    if not exists or own is None or own != org:
        raise UnknownOrganization("no such organization", hint="check the organization in the address")
    if principal.role in ("admin", "operator"):
        return
    if principal.role == "auditor" and need == "read":
        return
    if principal.role == "auditor":
        raise Forbidden("an auditor reads but changes nothing", hint="ask an admin of the organization")
    raise Forbidden(
        "only admins and auditors may read the audit trail", hint="ask an admin of the organization"
    )
