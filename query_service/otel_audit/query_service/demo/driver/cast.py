"""The people: who they are, where they sit, and what their browsers call themselves."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any, Final

ACME: Final = "acme"
GLOBEX: Final = "globex"

_CHROME_MAC: Final = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Safari/537.36"
)
_CHROME_ANDROID: Final = (
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Mobile Safari/537.36"
)
_EDGE_WINDOWS: Final = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0"
)
_FIREFOX_LINUX: Final = "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0"
_SAFARI_PHONE: Final = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.6 Mobile/15E148 Safari/604.1"
)
_SCRIPT: Final = "python-requests/2.32.5"


@dataclass(slots=True)
class Persona:
    """One person, or one other system. role: empty for whoever has no account.

    rest: how much longer than others they pause between two things.
    """

    name: str
    organization: str
    role: str
    address: str
    agent: str
    sso: bool = False
    rest: float = 1.0
    password: str = field(default_factory=lambda: secrets.token_urlsafe(15), repr=False)

    @property
    def email(self) -> str:
        """First name at the organization's domain."""
        return f"{self.name.partition(' ')[0].lower()}@{self.organization}.example"

    @property
    def id(self) -> str:
        """Its id in Quire."""
        return f"u-{self.name.partition(' ')[0].lower()}"

    @property
    def account(self) -> dict[str, Any]:
        """What Quire has to know of it."""
        return {
            "id": self.id,
            "organization": self.organization,
            "email": self.email,
            "name": self.name,
            "role": self.role,
            "password": self.password,
            "sso": self.sso,
        }


def cast() -> list[Persona]:
    """Everybody who uses Quire, with passwords of this run. Addresses are of the ranges for documentation."""
    return [
        Persona("Ada Okafor", ACME, "admin", "203.0.113.10", _CHROME_MAC),
        Persona("Ben Lindqvist", ACME, "analyst", "203.0.113.24", _EDGE_WINDOWS),
        Persona("Chidi Rao", ACME, "analyst", "203.0.113.31", _FIREFOX_LINUX, sso=True),
        Persona("Dana Silva", ACME, "support", "198.51.100.7", _SAFARI_PHONE),
        Persona("Eli Novak", ACME, "contractor", "192.0.2.44", _CHROME_ANDROID),
        Persona("Deskline", ACME, "service", "192.0.2.90", "Deskline-Webhooks/2.4", rest=5),
        Persona("Mallory", ACME, "", "198.51.100.200", _SCRIPT, rest=20),
        Persona("Grace Moreau", GLOBEX, "admin", "203.0.113.130", _FIREFOX_LINUX),
        Persona("Hugo Bauer", GLOBEX, "analyst", "203.0.113.144", _EDGE_WINDOWS, sso=True),
    ]


def accounts(people: list[Persona]) -> list[dict[str, Any]]:
    """The accounts Quire starts with."""
    return [person.account for person in people if person.role not in ("", "service")]
