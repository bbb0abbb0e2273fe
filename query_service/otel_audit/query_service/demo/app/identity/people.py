"""Who has an account, and in which organization with which role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..database import Database
from .passwords import hash_password

ROLES: Final = ("admin", "analyst", "support", "contractor")


@dataclass(frozen=True, slots=True)
class Person:
    """One account. sso: signs in through the identity provider only."""

    id: str
    organization: str
    email: str
    name: str
    role: str
    sso: bool
    mfa_active: bool


class People:
    """The accounts in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, account: Mapping[str, Any]) -> None:
        """Add an account: id, organization, email, name, role, password, sso."""
        self._database.run(
            "INSERT INTO people (id, organization, email, name, role, password, sso)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                account["id"],
                account["organization"],
                account["email"],
                account["name"],
                account["role"],
                hash_password(account["password"]),
                int(account["sso"]),
            ],
        )

    def find(self, organization: str, *, email: str = "", id: str = "") -> Person | None:  # noqa: A002
        """The account of that e-mail address or id in the organization."""
        row = self._database.one(
            "SELECT * FROM people WHERE organization = ? AND (email = ? OR id = ?)",
            [organization, email.strip().lower(), id],
        )
        return person_of(row) if row else None

    def list(self, organization: str) -> list[Person]:
        """Everybody in the organization."""
        rows = self._database.all(
            "SELECT * FROM people WHERE organization = ? ORDER BY email LIMIT 1000", [organization]
        )
        return [person_of(row) for row in rows]

    def secret_of(self, person: Person, column: str) -> str:
        """The stored `password` hash or `mfa_secret`; empty when there is none."""
        row = self._database.one("SELECT password, mfa_secret FROM people WHERE id = ?", [person.id]) or {}
        return row.get(column) or ""

    def set_password(self, person_id: str, password: str) -> None:
        """Store the hash of a new password."""
        self._database.run(
            "UPDATE people SET password = ? WHERE id = ?", [hash_password(password), person_id]
        )

    def set_mfa(self, person: Person, secret: str | None, *, active: bool) -> None:
        """Store or forget the secret of the second factor."""
        self._database.run(
            "UPDATE people SET mfa_secret = ?, mfa_active = ? WHERE id = ?", [secret, int(active), person.id]
        )

    def set_role(self, person: Person, role: str) -> None:
        """Give another role."""
        self._database.run("UPDATE people SET role = ? WHERE id = ?", [role, person.id])


def person_of(row: Mapping[str, Any]) -> Person:
    """A row of the table as a value."""
    return Person(
        id=row["id"],
        organization=row["organization"],
        email=row["email"],
        name=row["name"],
        role=row["role"],
        sso=bool(row["sso"]),
        mfa_active=bool(row["mfa_active"]),
    )
