"""Accounts and administration: signing in and out, passwords, roles, keys, integrations."""

from __future__ import annotations

import asyncio
import secrets
from typing import Final

from . import planted
from .visitor import Visitor

COFFEE_S: Final = 8.0
"""Longer than a contractor's session may rest."""
KEYS_KEPT: Final = 2


async def enroll_second_factor(visitor: Visitor) -> None:
    """Set up an authenticator app, with a typing error the first time."""
    if not await visitor.sign_in():
        return
    visitor.new_page()
    answer = await visitor.call("POST", "/mfa/enroll")
    if answer.is_success:
        visitor.mfa_secret = answer.json()["secret"]
        await visitor.post("/mfa/verify", code=visitor.wrong_code())
        await visitor.post("/mfa/verify", code=visitor.code())


async def sign_out_and_in(visitor: Visitor) -> None:
    """Leave and come back."""
    await visitor.sign_in()
    await visitor.sign_out()
    await visitor.sign_in()


async def mistype_the_password(visitor: Visitor) -> None:
    """Two typing errors, then the right one."""
    await visitor.sign_out()
    await visitor.log_in(visitor.persona.email, visitor.persona.password[:-1])
    await visitor.sign_in()


async def mistype_the_code(visitor: Visitor) -> None:
    """A wrong code of the second factor, then the right one."""
    if not visitor.mfa_secret:
        await enroll_second_factor(visitor)
    await visitor.sign_out()
    answer = await visitor.log_in(visitor.persona.email, visitor.persona.password)
    if answer.is_success:
        await visitor.post("/login/mfa", code=visitor.wrong_code())
        answer = await visitor.post("/login/mfa", code=visitor.code())
        visitor.signed_in = answer.is_success


async def mistype_at_the_provider(visitor: Visitor) -> None:
    """The identity provider refuses a wrong password; the second try works."""
    await visitor.sign_out()
    await visitor.sso(visitor.persona.email, secrets.token_urlsafe(9))
    await visitor.sign_in()


async def type_the_password_as_name(visitor: Visitor) -> None:
    """A password in the field of the name: what must never be kept."""
    await visitor.sign_out()
    await visitor.log_in(planted.password(), "")
    await visitor.sign_in()


async def change_the_password(visitor: Visitor) -> None:
    """Choose a new password; the old one is wrong at first."""
    if not await visitor.sign_in():
        return
    visitor.new_page()
    new = secrets.token_urlsafe(15)
    await visitor.post("/password", old=secrets.token_urlsafe(9), new=new)
    answer = await visitor.post("/password", old=visitor.persona.password, new=new)
    if answer.is_success:
        visitor.persona.password = new


async def forget_the_password(visitor: Visitor) -> None:
    """Have a link mailed and choose a new password."""
    await visitor.sign_out()
    visitor.new_page()
    await visitor.post("/password/forgotten", email=visitor.persona.email)
    mail = await visitor.get(f"/mailbox/{visitor.persona.email}")
    if mail.is_success:
        new = secrets.token_urlsafe(15)
        answer = await visitor.post("/password/reset", token=mail.json()["token"], password=new)
        if answer.is_success:
            visitor.persona.password = new
    await visitor.sign_in()


async def change_a_role(visitor: Visitor) -> None:
    """Let a contractor help out as an analyst, and take it back."""
    if not await visitor.sign_in():
        return
    visitor.new_page()
    answer = await visitor.get("/people")
    others = [p for p in answer.json().get("people", []) if p["role"] in ("contractor", "analyst")]
    if others:
        person = min(others, key=lambda p: p["role"] != "contractor")
        await visitor.put(f"/people/{person['id']}/role", role="support")
        await visitor.put(f"/people/{person['id']}/role", role=person["role"])


async def make_oneself_owner(visitor: Visitor) -> None:
    """Changing one's own role is refused, even to admins."""
    if await visitor.sign_in():
        visitor.new_page()
        await visitor.put(f"/people/{visitor.persona.id}/role", role="analyst")


async def configure_an_integration(visitor: Visitor) -> None:
    """Settings of an integration, its key once in the right field and once in a note."""
    if not await visitor.sign_in():
        return
    visitor.new_page()
    key = planted.payment_key()
    await visitor.put(
        "/integrations/payments",
        api_key=key,
        endpoint="https://payments.example/v2",
        note=f"switched to {key} after the last one leaked",
        retries=secrets.randbelow(5) + 1,
    )


async def renew_the_webhook_key(visitor: Visitor) -> None:
    """Make an API key for the ticketing system and end the oldest."""
    if not await visitor.sign_in():
        return
    visitor.new_page()
    answer = await visitor.post("/api-keys", name="Deskline ticketing")
    if not answer.is_success:
        return
    keys = visitor.webhook_keys
    keys.append((answer.json()["id"], answer.json()["key"]))
    if len(keys) >= KEYS_KEPT:
        await visitor.delete(f"/api-keys/{keys[-2][0]}")
        del keys[:-KEYS_KEPT]
    else:
        spare = await visitor.post("/api-keys", name="Deskline trial")
        if spare.is_success:
            await visitor.delete(f"/api-keys/{spare.json()['id']}")


async def report_by_webhook(visitor: Visitor) -> None:
    """The ticketing system tells of a ticket."""
    keys = visitor.webhook_keys
    if not keys:
        await asyncio.sleep(0.5)
        return
    event = secrets.choice(("ticket.opened", "ticket.closed", "comment.added"))
    await _report(visitor, keys[-1][1], event)


async def report_with_an_old_key(visitor: Visitor) -> None:
    """The ticketing system has not heard of the new key yet."""
    keys = visitor.webhook_keys
    if len(keys) >= KEYS_KEPT:
        await _report(visitor, keys[0][1], "ticket.opened")


async def go_for_a_coffee(visitor: Visitor) -> None:
    """Stay away until the session is over."""
    if await visitor.sign_in():
        await asyncio.sleep(COFFEE_S)
        visitor.new_page()
        await visitor.get("/files")


async def _report(visitor: Visitor, key: str, event: str) -> None:
    visitor.new_page()
    await visitor.call(
        "POST",
        "/hooks/deskline",
        json={"event": event, "ticket": secrets.randbelow(9000) + 1000},
        headers={"authorization": f"Bearer {key}"},
    )
