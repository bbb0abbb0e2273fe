"""Changing a password, and resetting a forgotten one by mail."""

from __future__ import annotations

import secrets
import time
from typing import Final

from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from otel_audit.instrumentation import audit

from ..call import EVERYONE, Call, Refused, route
from ..database import Database
from .passwords import LENGTH_MIN, sha256, verify_password
from .people import People
from .sessions import actor_of

RESET_TTL_S: Final = 600.0


class Credentials:
    """The routes `/password…`, and `/mailbox/…` in place of a mail server."""

    def __init__(self, database: Database, people: People) -> None:
        self._database = database
        self._people = people

    def routes(self) -> list[BaseRoute]:
        """What the app serves of this."""
        return [
            route("POST", "/password", self.change, allowed=EVERYONE),
            route("POST", "/password/forgotten", self.ask, allowed=None),
            route("POST", "/password/reset", self.reset, allowed=None),
            route("GET", "/mailbox/{email}", self.mailbox, allowed=None),
        ]

    def change(self, call: Call) -> Response:
        """Replace one's own password."""
        stored = self._people.secret_of(call.actor, "password")
        if not verify_password(call.text("old"), stored):
            audit.record(
                "security",
                "password_change",
                outcome="failure",
                severity="warning",
                target=("user", call.actor.id, call.actor.name),
                attributes={"reason": "the old password is wrong"},
            )
            raise Refused(400, "the old password is wrong")
        self._people.set_password(call.actor.id, _checked(call.text("new")))
        audit.record("security", "password_change", target=("user", call.actor.id, call.actor.name))
        return Response(status_code=204)

    def ask(self, call: Call) -> Response:
        """Mail a link to whoever has that address; the answer never says whether somebody has."""
        person = self._people.find(call.organization, email=call.text("email"))
        if person is not None:
            token = secrets.token_urlsafe(24)
            self._database.run(
                "INSERT INTO resets VALUES (?, ?, ?)", [sha256(token), person.id, time.time() + RESET_TTL_S]
            )
            self._database.run("INSERT INTO mail (recipient, text) VALUES (?, ?)", [person.email, token])
        return JSONResponse({"message": "look into your mailbox"}, 202)

    def reset(self, call: Call) -> Response:
        """Set a new password with the token of the mail, once."""
        password = _checked(call.text("password"))
        digest = sha256(call.text("token"))
        with self._database.change():
            row = self._database.one(
                "SELECT person FROM resets WHERE token_sha256 = ? AND expires_at > ?", [digest, time.time()]
            )
            self._database.run("DELETE FROM resets WHERE token_sha256 = ?", [digest])
        person = self._people.find(call.organization, id=row["person"]) if row else None
        if person is None:
            raise Refused(403, "this link is not valid")
        self._people.set_password(person.id, password)
        with audit.context(**actor_of(person)):
            audit.record(
                "security",
                "password_reset",
                target=("user", person.id, person.name),
                attributes={"auth.method": "mailed link"},
            )
        return Response(status_code=204)

    def mailbox(self, call: Call) -> Response:
        """The last mail to an address; stands in for a mail server, which a demonstration has not."""
        row = self._database.one(
            "SELECT text FROM mail WHERE recipient = ? ORDER BY id DESC LIMIT 1", [call.path("email")]
        )
        if row is None:
            raise Refused(404, "no mail")
        return JSONResponse({"token": row["text"]})


def _checked(password: str) -> str:
    if len(password) < LENGTH_MIN:
        raise Refused(400, f"a password has at least {LENGTH_MIN} characters")
    return password
