"""Admission: who may do what in which organization, the same for HTTP, WebSocket and console."""

from __future__ import annotations

from typing import Any, Final, Literal

from starlette.requests import HTTPConnection

from otel_audit.exporter.store.partition import TENANT_PATTERN
from otel_audit.query_service.api.edge.caller import facts_of
from otel_audit.query_service.api.problems import Problem, sentence, unknown_organization
from otel_audit.query_service.auth.principal import Principal, Unauthenticated
from otel_audit.query_service.auth.request_facts import RequestFacts
from otel_audit.query_service.auth.roles import Forbidden, UnknownOrganization, authorize
from otel_audit.query_service.control.database import ControlUnavailable
from otel_audit.query_service.services import Services

Need = Literal["read", "settings"]

SESSION_COOKIE: Final = "otel_audit_session"
"""The console's cookie: HttpOnly, SameSite=Lax, Path=/, and Secure wherever the address is https."""

_ROUTE: Final = "otel_audit.route"


def name_route(connection: HTTPConnection[Any], template: str) -> None:
    """Say which route answers, so that records name its template and never the path asked for."""
    connection.scope[_ROUTE] = template


def facts(connection: HTTPConnection[Any], services: Services) -> RequestFacts:
    """What the audit trail keeps about this request."""
    route = connection.scope.get(_ROUTE, "unrouted")
    return facts_of(connection, route, services.settings.trusted_proxies)


async def admit(
    connection: HTTPConnection[Any], services: Services, org: str, need: Need = "read"
) -> Principal:
    """Let the caller into `org` or refuse: 401 without a valid credential, 403 for a member, else 404.

    The 404 is the same for an outsider and for an organization that does not exist. Every refusal is
    recorded for the organization that was asked for, or the operator's when there is none, before it
    is answered. Raises Problem, ControlUnavailable (503).
    """
    # An id that cannot exist is not looked up, and its text goes nowhere.
    valid = TENANT_PATTERN.fullmatch(org) is not None
    exists = valid and await services.work.lookup(services.tenants.exists, org)
    try:
        principal = await _authenticate(connection, services)
    except Unauthenticated as error:
        await refuse(connection, services, org, None, 401, "no valid credential")
        raise _unauthenticated() from error
    try:
        authorize(principal, org, exists=exists, need=need)
    except Forbidden as error:
        await refuse(connection, services, org, principal, 403, "role too low")
        raise Problem(403, sentence(error.message), hint=sentence(error.hint)) from error
    except UnknownOrganization as error:
        reason = "not of this organization" if exists else "no such organization"
        await refuse(connection, services, org, principal, 404, reason)
        raise unknown_organization() from error
    return principal


async def admit_operator(connection: HTTPConnection[Any], services: Services) -> Principal:
    """Let an operator in; 401 or 403 for everybody else, recorded in the operator's trail."""
    try:
        principal = await _authenticate(connection, services)
    except Unauthenticated as error:
        await refuse(connection, services, None, None, 401, "no valid credential")
        raise _unauthenticated() from error
    if principal.role != "operator":
        await refuse(connection, services, None, principal, 403, "not an operator")
        raise Problem(
            403,
            "Only an operator may do this.",
            hint="Use a token from `otel-audit token create --operator`.",
        )
    return principal


async def shows_operator(connection: HTTPConnection[Any], services: Services) -> bool:
    """Whether the caller proves to be an operator, on a route that answers everybody: refuses nobody."""
    try:
        return (await _authenticate(connection, services)).role == "operator"
    except (Unauthenticated, ControlUnavailable):
        return False


async def refuse(
    connection: HTTPConnection[Any],
    services: Services,
    org: str | None,
    principal: Principal | None,
    status: int,
    reason: str,
) -> None:
    """Record a refusal before it is answered. org: as asked for; None when none was."""
    services.metrics.refusals.labels(str(status)).inc()
    await services.work.lookup(
        services.self_audit.refused, org, principal, facts(connection, services), status, reason
    )


async def still_valid(connection: HTTPConnection[Any], services: Services, principal: Principal) -> bool:
    """Whether a long connection's credential still holds: not expired, ended or revoked."""
    if principal.credential == "ticket":
        # A ticket is spent when it is redeemed; how long its stream may last is the stream's bound.
        return True
    try:
        return (await _authenticate(connection, services)) == principal
    except Unauthenticated:
        return False


async def _authenticate(connection: HTTPConnection[Any], services: Services) -> Principal:
    """Exactly one credential counts: the header, else a stream's ticket, else the console's cookie."""
    headers = connection.headers.getlist("authorization")
    if headers:
        scheme, _, token = headers[0].partition(" ")
        if len(headers) > 1 or scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("not one bearer token")
        return await services.work.lookup(services.tokens.verify, token.strip())
    tickets = connection.query_params.getlist("ticket")
    if tickets and connection.scope["type"] == "websocket":
        if len(tickets) > 1:
            raise Unauthenticated("not one ticket")
        return await services.work.lookup(services.tickets.redeem, tickets[0])
    cookie = connection.cookies.get(SESSION_COOKIE)
    if cookie:
        return await services.work.lookup(services.sessions.verify, cookie)
    raise Unauthenticated("no credential")


def _unauthenticated() -> Problem:
    return Problem(
        401,
        "A valid credential is needed.",
        hint="Send `Authorization: Bearer <token>`; `otel-audit token create` makes one.",
        headers={"WWW-Authenticate": "Bearer"},
    )
