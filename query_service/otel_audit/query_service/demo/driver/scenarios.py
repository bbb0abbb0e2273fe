"""What people do, as a table: who does it, how often, and the steps over HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from . import intrusions, paperwork, upkeep
from .visitor import Visitor

EDITORS: Final = frozenset({"admin", "analyst"})
STAFF: Final = frozenset({"admin", "analyst", "support"})
PEOPLE: Final = frozenset({"admin", "analyst", "support", "contractor"})
ADMIN: Final = frozenset({"admin"})
ANALYST: Final = frozenset({"analyst"})
SUPPORT: Final = frozenset({"support"})
CONTRACTOR: Final = frozenset({"contractor"})
SERVICE: Final = frozenset({"service"})
NOBODY: Final = frozenset({""})


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something a person does. weight: how often, against the others the same person can do.

    sso: True or False where only people who sign in that way can do it.
    """

    run: Callable[[Visitor], Awaitable[None]]
    roles: frozenset[str]
    weight: int
    sso: bool | None = None

    def suits(self, visitor: Visitor) -> bool:
        """Whether this person does such things."""
        return visitor.persona.role in self.roles and self.sso in (None, visitor.persona.sso)


SCENARIOS: Final = (
    Scenario(upkeep.enroll_second_factor, ADMIN, 1, sso=False),
    Scenario(upkeep.renew_the_webhook_key, ADMIN, 1),
    Scenario(paperwork.ask, PEOPLE, 12),
    Scenario(paperwork.ask_with_a_token, SUPPORT, 1),
    Scenario(paperwork.look_around, PEOPLE, 6),
    Scenario(paperwork.search, PEOPLE, 4),
    Scenario(paperwork.work_on_a_file, EDITORS, 4),
    Scenario(paperwork.stumble_over_an_empty_file, ANALYST, 1),
    Scenario(paperwork.write_a_qa_pair, EDITORS, 3),
    Scenario(paperwork.write_down_a_customers_card, SUPPORT, 1),
    Scenario(paperwork.export, EDITORS, 2),
    Scenario(paperwork.add_a_source, EDITORS, 2),
    Scenario(paperwork.add_a_broken_source, ANALYST, 1),
    Scenario(upkeep.change_a_role, ADMIN, 1),
    Scenario(upkeep.configure_an_integration, ADMIN, 1),
    Scenario(upkeep.report_by_webhook, SERVICE, 6),
    Scenario(upkeep.report_with_an_old_key, SERVICE, 1),
    Scenario(upkeep.sign_out_and_in, PEOPLE, 2),
    Scenario(upkeep.mistype_the_password, STAFF, 1, sso=False),
    Scenario(upkeep.mistype_the_code, ADMIN, 1, sso=False),
    Scenario(upkeep.mistype_at_the_provider, ANALYST, 1, sso=True),
    Scenario(upkeep.type_the_password_as_name, SUPPORT, 1, sso=False),
    Scenario(upkeep.change_the_password, ANALYST, 1, sso=False),
    Scenario(upkeep.forget_the_password, SUPPORT, 1, sso=False),
    Scenario(upkeep.make_oneself_owner, ADMIN, 1),
    Scenario(upkeep.go_for_a_coffee, CONTRACTOR, 2),
    Scenario(intrusions.look_where_one_may_not, CONTRACTOR, 2),
    Scenario(intrusions.guess_passwords, NOBODY, 3),
    Scenario(intrusions.try_without_session, NOBODY, 2),
    Scenario(intrusions.guess_a_webhook_key, NOBODY, 1),
    Scenario(intrusions.come_by_another_company, NOBODY, 1),
)
