"""Legal holds of an organization: its auditors see them, its admins make and release them."""

from __future__ import annotations

import functools
import time
from typing import Annotated, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from otel_audit.query_service.api.body import read_body
from otel_audit.query_service.api.call import Call, answer
from otel_audit.query_service.control.holds import Hold
from otel_audit.query_service.control.outbox import Actor

# As many and as long filter values as a query string may have, each character escaped.
_BODY_BYTES_MAX: Final = 512 << 10
_EXAMPLE: Final = '{"name": …, "reason": …, "filters": {"user": …, "category": […], …}}'


class HoldRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What to hold. filters: name → value or values; none is everything."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=63)]
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]
    filters: dict[str, str | list[str]] = {}

    def items(self) -> list[tuple[str, str]]:
        """The filters as (name, value) pairs; an empty list is an empty value, which is refused."""
        return [
            (name, value)
            for name, given in self.filters.items()
            for value in ([given] if isinstance(given, str) else given or [""])
        ]


async def list_holds(_request: Request, call: Call) -> Response:
    """Every hold of the organization, released ones too, oldest first."""
    await call.record("holds", {})
    found = await call.services.work.lookup(call.services.holds.list, call.org)
    return answer({"holds": [_shown(hold) for hold in found]})


async def add_hold(request: Request, call: Call) -> Response:
    """Hold what the filters choose, past and future; in force at once. Admins only."""
    asked = await read_body(
        request,
        HoldRequest,
        bytes_max=_BODY_BYTES_MAX,
        example=_EXAMPLE,
        declared=call.principal.credential == "session",
    )
    add = functools.partial(call.services.holds.add, actor=Actor(call.principal.user), facts=call.facts)
    return answer(
        _shown(await call.services.work.lookup(add, call.org, asked.name, asked.reason, asked.items())), 201
    )


async def release_hold(_request: Request, call: Call) -> Response:
    """Release a hold; it still holds until `effective_at`. Admins only."""
    release = functools.partial(
        call.services.holds.release, tenant=call.org, actor=Actor(call.principal.user), facts=call.facts
    )
    return answer(_shown(await call.services.work.lookup(release, call.path["name"], call.own["reason"])))


def _shown(hold: Hold) -> dict[str, object]:
    return hold.as_dict(time.time())
