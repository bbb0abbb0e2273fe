"""Signing in by password and second factor, and out again."""

from __future__ import annotations

import time
from typing import Final

from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from otel_audit.instrumentation import audit

from ..call import EVERYONE, OPENED, PERSON, SESSION, Call, Refused, address_of, route
from .attempts import Attempts
from .onetime import new_secret, verify_code
from .passwords import hash_password, verify_password
from .people import People, Person
from .sessions import Session, Sessions

# Verified when there is no such account, so that the answer takes as long as for one.
_NOBODY: Final = hash_password("nobody has this password")


class SignIn:
    """The routes `/login`, `/login/mfa`, `/mfa/…` and `/logout`."""

    def __init__(self, people: People, sessions: Sessions, attempts: Attempts) -> None:
        self._people = people
        self._sessions = sessions
        self._attempts = attempts

    def routes(self) -> list[BaseRoute]:
        """What the app serves of this."""
        return [
            route("POST", "/login", self.login, allowed=None),
            route("POST", "/login/mfa", self.second_factor, allowed=None),
            route("POST", "/mfa/enroll", self.enroll, allowed=EVERYONE),
            route("POST", "/mfa/verify", self.activate, allowed=EVERYONE),
            route("POST", "/logout", self.logout, allowed=EVERYONE),
        ]

    def login(self, call: Call) -> Response:
        """Check e-mail address and password; open a session, a pending one where MFA is on."""
        typed, address = call.text("email"), address_of(call.request)
        if not self._attempts.may_try(address):
            raise Refused(429, "too many attempts; wait a minute")
        person = self._people.find(call.organization, email=typed)
        stored = self._people.secret_of(person, "password") if person else _NOBODY
        right = verify_password(call.text("password"), stored)
        if person is None or not right or person.sso:
            self._failed(call, typed, person, address)
            raise Refused(401, "e-mail address or password is wrong")
        self._attempts.forget(address)
        session = self._open(call, person, mfa_pending=person.mfa_active)
        if not person.mfa_active:
            admit(call, session, "login", {"auth.method": "password"})
        return JSONResponse({"mfa": person.mfa_active, "id": person.id})

    def _failed(self, call: Call, typed: str, person: Person | None, address: str) -> None:
        reason = "no such account" if person is None else "SSO only" if person.sso else "wrong password"
        audit.record(
            "authentication",
            "login_failed",
            user_id=person.id if person else None,
            user_email=typed,
            attributes={"auth.method": "password", "reason": reason},
        )
        failed = self._attempts.failed(address)
        if failed == self._attempts.limit:
            audit.record(
                "security",
                "suspicious_activity",
                outcome="denied",
                severity="critical",
                message=f"{failed} failed sign-ins from {address} within a minute; it has to wait",
                target=("address", address),
                attributes={"attempts": failed, "rule": "password_guessing"},
            )

    def second_factor(self, call: Call) -> Response:
        """Check the code of a pending session, which then is a whole one."""
        session: Session | None = call.scope.get(SESSION)
        if session is None or not session.mfa_pending:
            raise Refused(400, "sign in with your password first")
        person = session.person
        if not verify_code(self._people.secret_of(person, "mfa_secret"), call.text("code"), time.time()):
            audit.record(
                "authentication",
                "mfa_failed",
                user_id=person.id,
                user_email=person.email,
                attributes={"auth.method": "totp", "reason": "wrong code"},
            )
            raise Refused(401, "this code is wrong")
        self._sessions.second_factor_passed(session)
        admit(call, session, "mfa_verify", {"auth.method": "totp"})
        audit.record(
            "authentication", "login", session_id=session.id, attributes={"auth.method": "password+totp"}
        )
        return JSONResponse({"id": person.id})

    def enroll(self, call: Call) -> Response:
        """Hand out a new secret; it counts once a code of it came back."""
        secret = new_secret()
        self._people.set_mfa(call.actor, secret, active=False)
        audit.record(
            "authentication", "mfa_enroll", target=_second_factor(call), attributes={"method": "totp"}
        )
        return JSONResponse({"secret": secret})

    def activate(self, call: Call) -> Response:
        """Switch the second factor on with its first code."""
        secret = self._people.secret_of(call.actor, "mfa_secret")
        if not secret or not verify_code(secret, call.text("code"), time.time()):
            audit.record(
                "authentication",
                "mfa_failed",
                target=_second_factor(call),
                attributes={"reason": "wrong first code"},
            )
            raise Refused(400, "this code is wrong")
        self._people.set_mfa(call.actor, secret, active=True)
        audit.record(
            "authentication", "mfa_verify", target=_second_factor(call), changes={"mfa": ("off", "on")}
        )
        return JSONResponse({"mfa": True})

    def logout(self, call: Call) -> Response:
        """End the session of the cookie."""
        session: Session = call.scope[SESSION]
        self._sessions.end(session.id)
        audit.record("authentication", "logout", attributes={"reason": "asked for"})
        return Response(status_code=204)

    def _open(self, call: Call, person: Person, *, mfa_pending: bool) -> Session:
        return open_session(self._sessions, call, person, mfa_pending=mfa_pending)


def open_session(sessions: Sessions, call: Call, person: Person, *, mfa_pending: bool) -> Session:
    """A session whose cookie goes out with the answer of this call."""
    agent = call.request.headers.get("user-agent", "")[:300]
    session = sessions.open(person, mfa_pending=mfa_pending, address=address_of(call.request), agent=agent)
    call.scope[OPENED] = session
    return session


def admit(call: Call, session: Session, action: str, attributes: dict[str, str]) -> None:
    """From here on the request is that person's; record how they came in."""
    call.scope[PERSON] = session.person
    audit.record("authentication", action, session_id=session.id, attributes=attributes)


def _second_factor(call: Call) -> tuple[str, str, str]:
    return ("second_factor", call.actor.id, "authenticator app")
