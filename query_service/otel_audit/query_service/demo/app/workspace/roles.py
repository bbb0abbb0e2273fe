"""Who may do what: listing people and changing their roles."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from otel_audit.instrumentation import audit

from ..call import ADMIN, Call, Refused, route
from ..identity.people import ROLES, People


class Roles:
    """The routes `/people…`."""

    def __init__(self, people: People) -> None:
        self._people = people

    def routes(self) -> list[BaseRoute]:
        """What the app serves of this."""
        return [
            route("GET", "/people", self.list, allowed=ADMIN),
            route("PUT", "/people/{id}/role", self.change, allowed=ADMIN),
        ]

    def list(self, call: Call) -> Response:
        """Everybody in the organization."""
        people = self._people.list(call.organization)
        audit.record(
            "data_access", "read", target=("people", call.organization), attributes={"people": len(people)}
        )
        return JSONResponse({"people": [{"id": p.id, "name": p.name, "role": p.role} for p in people]})

    def change(self, call: Call) -> Response:
        """Give somebody another role."""
        person, role = self._people.find(call.organization, id=call.path("id")), call.text("role")
        if person is None:
            raise Refused(404, "there is no such person")
        if role not in ROLES:
            raise Refused(400, f"a role is one of {', '.join(ROLES)}")
        if person.id == call.actor.id:
            audit.record(
                "security",
                "permission_change",
                outcome="denied",
                target=("user", person.id, person.name),
                changes={"role": (person.role, role)},
                attributes={"reason": "nobody changes their own role"},
            )
            raise Refused(403, "nobody changes their own role")
        self._people.set_role(person, role)
        audit.record(
            "security",
            "permission_change",
            target=("user", person.id, person.name),
            changes={"role": (person.role, role)},
        )
        return Response(status_code=204)
