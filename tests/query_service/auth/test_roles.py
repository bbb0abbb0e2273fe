from __future__ import annotations

from typing import Literal

import pytest

from otel_audit.query_service.auth import Forbidden, Principal, UnknownOrganization, authorize
from otel_audit.query_service.auth.principal import role_of

Need = Literal["read", "settings"]


def principal(role: str, org: str | None) -> Principal:
    return Principal("ada@example.com", org, role_of(role), "token", "id")


@pytest.mark.parametrize(
    ("role", "home", "org", "exists", "need", "refusal"),
    [
        ("admin", "acme", "acme", True, "read", None),
        ("admin", "acme", "acme", True, "settings", None),
        ("auditor", "acme", "acme", True, "read", None),
        ("auditor", "acme", "acme", True, "settings", Forbidden),
        ("member", "acme", "acme", True, "read", Forbidden),
        ("member", "acme", "acme", True, "settings", Forbidden),
        ("admin", "acme", "other", True, "read", UnknownOrganization),
        ("auditor", "acme", "other", True, "read", UnknownOrganization),
        ("member", "acme", "other", True, "read", UnknownOrganization),
        ("admin", "acme", "nowhere", False, "read", UnknownOrganization),
        ("admin", "acme", "acme", False, "read", UnknownOrganization),
        ("member", "acme", "acme", False, "read", UnknownOrganization),
        ("admin", "acme", "operator", True, "read", UnknownOrganization),
        ("operator", None, "operator", True, "read", None),
        ("operator", None, "operator", True, "settings", None),
        ("operator", None, "acme", True, "read", UnknownOrganization),
        ("operator", None, "acme", True, "settings", UnknownOrganization),
        ("operator", None, "nowhere", False, "read", UnknownOrganization),
    ],
)
def test_who_may_do_what(
    role: str, home: str | None, org: str, exists: bool, need: Need, refusal: type[Exception] | None
) -> None:
    if refusal is None:
        authorize(principal(role, home), org, exists=exists, need=need)
        return
    with pytest.raises(refusal):
        authorize(principal(role, home), org, exists=exists, need=need)


def test_an_outsider_cannot_tell_an_organization_from_none() -> None:
    answers = []
    for org, exists in (("other", True), ("nowhere", False)):
        with pytest.raises(UnknownOrganization) as raised:
            authorize(principal("admin", "acme"), org, exists=exists)
        answers.append((raised.value.message, raised.value.hint))
    assert answers[0] == answers[1]
