"""What should not work and does not: guesses, forged sessions, rooms that are somebody else's."""

from __future__ import annotations

import secrets

from .cast import ACME, GLOBEX
from .visitor import Visitor


async def look_where_one_may_not(visitor: Visitor) -> None:
    """A contractor tries the doors of the administration."""
    if not await visitor.sign_in():
        return
    visitor.new_page()
    await visitor.get("/people")
    await visitor.get("/export/qa_pairs")
    await visitor.put(f"/people/{visitor.persona.id}/role", role="admin")


async def guess_passwords(visitor: Visitor) -> None:
    """Common passwords for likely names, until the door stays shut."""
    visitor.move_to(f"198.51.100.{secrets.randbelow(50) + 200}")
    for name in ("ada", "ben", "admin", "root", "ada", "dana"):
        email = f"{name}@{visitor.persona.organization}.example"
        answer = await visitor.log_in(email, secrets.token_urlsafe(6))
        if answer.status_code == 429:
            break


async def try_without_session(visitor: Visitor) -> None:
    """The API without a session, then with one made up."""
    visitor.new_page()
    await visitor.get("/files")
    await visitor.get("/people", headers={"cookie": f"session={secrets.token_urlsafe(24)}"})


async def guess_a_webhook_key(visitor: Visitor) -> None:
    """A webhook call with a key that never was."""
    visitor.new_page()
    await visitor.call(
        "POST",
        "/hooks/deskline",
        json={"event": "ticket.closed"},
        headers={"authorization": f"Bearer qk_live_{secrets.token_urlsafe(24)}"},
    )


async def come_by_another_company(visitor: Visitor) -> None:
    """Knock at the identity provider of the other organization."""
    other = GLOBEX if visitor.persona.organization == ACME else ACME
    await visitor.sso(f"hugo@{other}.example", secrets.token_urlsafe(9))
