"""One person's browser: cookies, headers, and signing in whichever way the account wants."""

from __future__ import annotations

import hashlib
import secrets
import time
from types import TracebackType
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx

from ..app.identity.onetime import code_at
from .cast import Persona
from .pace import Pace

TIMEOUT_S: Final = 10.0


class Visitor:
    """A persona at work. Not for use by several tasks at once.

    webhook_keys: ids and API keys that people of the organization tell each other outside of Quire.
    """

    def __init__(
        self, persona: Persona, base_url: str, pace: Pace, webhook_keys: list[tuple[str, str]]
    ) -> None:
        self.persona = persona
        self.base_url = base_url
        self.signed_in = False
        self.mfa_secret = ""
        self.webhook_keys = webhook_keys
        self._pace = pace
        self._trace = secrets.token_hex(16)
        self._http = httpx.AsyncClient(
            base_url=base_url,
            timeout=TIMEOUT_S,
            trust_env=False,
            headers={
                "host": f"{persona.organization}.quire.localhost",
                "user-agent": persona.agent,
                "x-forwarded-for": persona.address,
            },
        )

    async def __aenter__(self) -> Visitor:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    def new_page(self) -> None:
        """What follows belongs together: one trace."""
        self._trace = secrets.token_hex(16)

    def move_to(self, address: str) -> None:
        """Call from another address from now on."""
        self._http.headers["x-forwarded-for"] = address

    def forget_session(self) -> None:
        """Close the browser without signing out."""
        self._http.cookies.clear()
        self.signed_in = False

    async def call(self, method: str, path: str, **parts: Any) -> httpx.Response:
        """One request when it is this person's turn. parts: as httpx takes them."""
        await self._pace.turn()
        headers = {"traceparent": f"00-{self._trace}-{secrets.token_hex(8)}-01", **parts.pop("headers", {})}
        answer = await self._http.request(method, path, headers=headers, **parts)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            self.signed_in = False
        return answer

    async def get(self, path: str, **parts: Any) -> httpx.Response:
        """GET."""
        return await self.call("GET", path, **parts)

    async def post(self, path: str, **fields: Any) -> httpx.Response:
        """POST a JSON object."""
        return await self.call("POST", path, json=fields)

    async def put(self, path: str, **fields: Any) -> httpx.Response:
        """PUT a JSON object."""
        return await self.call("PUT", path, json=fields)

    async def delete(self, path: str) -> httpx.Response:
        """DELETE."""
        return await self.call("DELETE", path)

    async def upload(self, name: str, text: str) -> str:
        """Send a file; its id, empty when it was refused."""
        answer = await self.call("POST", "/files", files={"file": (name, text.encode(), "text/plain")})
        return str(answer.json().get("id", ""))

    async def pick(self, path: str, kind: str) -> dict[str, Any] | None:
        """Any one of a list."""
        answer = await self.get(path)
        items = answer.json().get(kind, []) if answer.is_success else []
        return secrets.choice(items) if items else None

    async def sign_in(self) -> bool:
        """Sign in unless signed in; whether it worked."""
        if self.signed_in:
            return True
        if self.persona.sso:
            return await self.sso(self.persona.email, self.persona.password)
        answer = await self.log_in(self.persona.email, self.persona.password)
        if answer.is_success and answer.json().get("mfa"):
            answer = await self.post("/login/mfa", code=self.code())
        self.signed_in = answer.is_success
        return self.signed_in

    async def log_in(self, email: str, password: str) -> httpx.Response:
        """Send the sign-in form."""
        self.new_page()
        return await self.post("/login", email=email, password=password)

    async def sso(self, email: str, password: str) -> bool:
        """The round trip to the identity provider; whether it ended inside."""
        self.new_page()
        started = await self.get("/sso/start")
        state = parse_qs(urlsplit(started.headers.get("location", "")).query).get("state", [""])[0]
        form = {"email": email, "password": password, "state": state}
        back = await self.call("POST", "/idp/authorize", data=form)
        answer = await self.get(back.headers.get("location", "/sso/callback"))
        self.signed_in = answer.is_success
        return self.signed_in

    async def sign_out(self) -> None:
        """Sign out if signed in."""
        if self.signed_in:
            await self.post("/logout")
        self.forget_session()

    def code(self) -> str:
        """What the authenticator app shows now."""
        return code_at(self.mfa_secret, time.time())

    def wrong_code(self) -> str:
        """Six digits that are surely not those of now, before or next."""
        near = {code_at(self.mfa_secret, time.time() + step) for step in (-60, -30, 0, 30, 60)}
        guesses = (hashlib.sha256(f"{self.mfa_secret}{n}".encode()).digest() for n in range(10))
        codes = (f"{int.from_bytes(digest[:4], 'big') % 1_000_000:06d}" for digest in guesses)
        return next(code for code in codes if code not in near)
