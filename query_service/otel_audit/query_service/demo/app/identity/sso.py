"""Signing in through the identity provider: away with a state, back with a code."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from typing import Final

from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute

from otel_audit.instrumentation import audit

from ..call import Call, Refused, route
from .people import People, Person
from .provider import IdentityProvider
from .sessions import Sessions
from .signin import admit, open_session

STATES_MAX: Final = 1_000
"""Round trips under way; the oldest is forgotten beyond this."""


class SingleSignOn:
    """The routes `/sso/start` and `/sso/callback`."""

    def __init__(self, people: People, sessions: Sessions, provider: IdentityProvider) -> None:
        self._people = people
        self._sessions = sessions
        self._provider = provider
        self._states: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def routes(self) -> list[BaseRoute]:
        """What the app serves of this."""
        return [
            route("GET", "/sso/start", self.start, allowed=None),
            route("GET", "/sso/callback", self.callback, allowed=None),
        ]

    def start(self, call: Call) -> Response:
        """Off to the provider."""
        state = secrets.token_urlsafe(16)
        with self._lock:
            self._states[state] = None
            while len(self._states) > STATES_MAX:
                self._states.popitem(last=False)
        return RedirectResponse(f"/idp/authorize?state={state}", 303)

    def callback(self, call: Call) -> Response:
        """Back from the provider: open a session for whoever it vouches for."""
        with self._lock:
            known = call.query("state") in self._states
            self._states.pop(call.query("state"), None)
        if not known:
            raise self._failed("unknown state")
        if call.query("error"):
            raise self._failed(f"the provider refused: {call.query('error')}")
        try:
            email = self._provider.exchange(call.query("code"))
        except Refused as refused:
            raise self._failed(refused.message) from refused
        person = self._people.find(call.organization, email=email)
        if person is None or not person.sso:
            raise self._failed("not a member of this organization", person, email)
        session = open_session(self._sessions, call, person, mfa_pending=False)
        admit(call, session, "sso_login", {"auth.method": "oidc", "auth.provider": "Quire ID"})
        return JSONResponse({"id": person.id})

    def _failed(self, reason: str, person: Person | None = None, email: str | None = None) -> Refused:
        audit.record(
            "authentication",
            "sso_failed",
            user_id=person.id if person else None,
            user_email=email,
            attributes={"auth.method": "oidc", "auth.provider": "Quire ID", "reason": reason},
        )
        return Refused(401, "signing in through the identity provider failed")
