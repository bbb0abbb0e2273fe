"""A tiny identity provider: an authorization page, one-time codes and an exchange, as in OpenID Connect."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from typing import Final
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from ..call import Call, Refused, route
from .passwords import hash_password, verify_password

CODE_TTL_S: Final = 60.0
CODES_MAX: Final = 1_000
"""Codes nobody came back for are dropped, oldest first."""


class IdentityProvider:
    """Knows the company's people by a password of its own and vouches for them."""

    def __init__(self) -> None:
        self._accounts: dict[str, str] = {}
        self._codes: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._lock = threading.Lock()

    def routes(self) -> list[BaseRoute]:
        """What the provider serves."""
        return [route("POST", "/idp/authorize", self.authorize, allowed=None)]

    def add(self, email: str, password: str) -> None:
        """Give somebody an account here."""
        self._accounts[email] = hash_password(password)

    def authorize(self, call: Call) -> Response:
        """The provider's sign-in form: back to the app with a code, or with the reason why not."""
        email, state = call.text("email"), call.text("state")
        stored = self._accounts.get(email)
        if stored is None or not verify_password(call.text("password"), stored):
            return RedirectResponse(_back(state=state, error="access_denied"), 303)
        code = secrets.token_urlsafe(24)
        with self._lock:
            self._codes[code] = (email, time.monotonic() + CODE_TTL_S)
            while len(self._codes) > CODES_MAX:
                self._codes.popitem(last=False)
        return RedirectResponse(_back(state=state, code=code), 303)

    def exchange(self, code: str) -> str:
        """The e-mail address a code stands for, once. Raises Refused."""
        with self._lock:
            email, expires_at = self._codes.pop(code, ("", 0.0))
        if not email or time.monotonic() > expires_at:
            raise Refused(401, "the identity provider does not know this code")
        return email


def _back(**parameters: str) -> str:
    return f"/sso/callback?{urlencode(parameters)}"
