"""Signing in by a one-time link, signing out, and the way from `/` to the caller's organization.

A link's GET changes nothing, because mail scanners and chat previews follow links too: it answers a page
whose form spends the ticket, sent by a module or by a press of its button.
"""

from __future__ import annotations

import time
from typing import Final
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from otel_audit.instrumentation.event import AuditEvent
from otel_audit.instrumentation.ids import canonical_uuid, uuid7
from otel_audit.query_service.api.guard import SESSION_COOKIE, facts, refuse
from otel_audit.query_service.api.problems import Problem
from otel_audit.query_service.auth.principal import Principal, Unauthenticated
from otel_audit.query_service.control.database import OPERATOR
from otel_audit.query_service.services import Services

from .origin import is_encrypted, require_own_page
from .pages import RETURN_COOKIE, Pages, is_console_path

_BODY_BYTES_MAX: Final = 4_096
"""A ticket and its field name; nothing else is posted here."""
_TICKET_CHARS_MAX: Final = 512


class Login:
    """The endpoints `/`, `/login` and `/logout`."""

    def __init__(self, services: Services, pages: Pages) -> None:
        self._services, self._pages = services, pages

    async def home(self, request: Request) -> Response:
        """On to the events of the caller's organization, or to the sign-in page."""
        cookie = request.cookies.get(SESSION_COOKIE)
        try:
            if not cookie:
                return RedirectResponse("/login", 303)
            principal = await self._services.work.lookup(self._services.sessions.verify, cookie)
        except Unauthenticated:
            return RedirectResponse("/login", 303)
        return RedirectResponse(_events_of(principal), 303)

    async def form(self, request: Request) -> Response:
        """The sign-in page; with a ticket in the address, one that is about to use it."""
        ticket = request.query_params.get("ticket", "")
        if len(ticket) > _TICKET_CHARS_MAX:
            ticket = ""
        return self._pages.answer("login.html", {"ticket": ticket, "failed": False})

    async def enter(self, request: Request) -> Response:
        """Spend the ticket, open a session, and go where the person was or to their events."""
        services = self._services
        require_own_page(request, services.settings)
        ticket = await _posted(request, "ticket")
        try:
            redeemed = await services.work.lookup(services.tickets.redeem, ticket)
            cookie = await services.work.lookup(services.sessions.create, redeemed)
        except Unauthenticated:
            await refuse(request, services, None, None, 401, "sign-in link not valid")
            return self._pages.answer("login.html", {"ticket": "", "failed": True}, status=401)
        principal = await services.work.lookup(services.sessions.verify, cookie)
        await self._record(request, principal, "login")
        answer = RedirectResponse(_return_of(request, principal), 303)
        answer.set_cookie(
            SESSION_COOKIE,
            cookie,
            path="/",
            httponly=True,
            # Lax, not Strict: a link from a mail or a chat must find the session.
            samesite="lax",
            secure=is_encrypted(request, services.settings),
        )
        answer.delete_cookie(RETURN_COOKIE)
        return answer

    async def leave(self, request: Request) -> Response:
        """End the session and forget its cookie."""
        services = self._services
        require_own_page(request, services.settings)
        cookie = request.cookies.get(SESSION_COOKIE)
        if cookie:
            try:
                principal = await services.work.lookup(services.sessions.verify, cookie)
                await services.work.lookup(services.sessions.end, cookie)
                await self._record(request, principal, "logout")
            except Unauthenticated:
                # Over already; there is nothing to end.
                pass
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(SESSION_COOKIE, path="/")
        return answer

    async def _record(self, request: Request, principal: Principal, action: str) -> None:
        asked = facts(request, self._services)
        user = principal.user
        event = AuditEvent(
            record_id=uuid7(),
            time_unix_nano=time.time_ns(),
            category="authentication",
            action=action,
            message=f"signed {'in to' if action == 'login' else 'out of'} the audit console",
            user_id=user,
            user_email=user if "@" in user else None,
            user_type="user",
            user_roles=(principal.role,),
            session_id=principal.credential_id,
            client_address=asked.client_address,
            user_agent=asked.user_agent,
            request_id=canonical_uuid(asked.request_id),
            http_method=asked.method,
            http_route=asked.route,
        )
        await self._services.work.lookup(self._services.self_audit.record, principal.org, event)


def _events_of(principal: Principal) -> str:
    return f"/o/{principal.org or OPERATOR}/events"


def _return_of(request: Request, principal: Principal) -> str:
    kept = unquote(request.cookies.get(RETURN_COOKIE, ""))
    own = f"/o/{principal.org or OPERATOR}/"
    return kept if is_console_path(kept) and kept.startswith(own) else _events_of(principal)


async def _posted(request: Request, name: str) -> str:
    """One field of a small form. Raises Problem 413, 400."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY_BYTES_MAX:
            raise Problem(413, "The form is too large.", hint="Open the sign-in link again.")
    # The stream is spent, so the form is read from what was kept of it.
    request._body = bytes(body)
    async with request.form(max_files=0, max_fields=8) as form:
        value = form.get(name, "")
    text = value.strip() if isinstance(value, str) else ""
    if len(text) > _TICKET_CHARS_MAX:
        raise Problem(400, "This is not a sign-in code.", hint="Open the sign-in link again.")
    return text
