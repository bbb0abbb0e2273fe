"""One admitted request: who asks what of which organization, with its query parameters checked."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from otel_audit.query_service.api.edge.encoding import encode_json
from otel_audit.query_service.api.parameters import Parameter
from otel_audit.query_service.api.problems import Problem, bad_parameter
from otel_audit.query_service.auth.principal import Principal
from otel_audit.query_service.auth.request_facts import RequestFacts
from otel_audit.query_service.filters import NAMES, Filters
from otel_audit.query_service.services import Services

T = TypeVar("T")

# More than a person clicks together, few enough to plan a query for.
PARAMETERS_MAX: Final = 128
# The longest are cursors of a region root that was restored many times; filters have their own, lower bound.
VALUE_CHARS_MAX: Final = 16_384


@dataclass(frozen=True, slots=True)
class Call:
    """What an endpoint gets. path: parameters in the path; own: the route's own parameters, as text."""

    services: Services
    org: str
    principal: Principal
    facts: RequestFacts
    path: Mapping[str, str]
    own: Mapping[str, str]
    filters: Filters

    async def query(self, request: Request, call: Callable[[], T]) -> T:
        """Run a query in a worker thread; see WorkPool.query."""
        return await self.services.work.query(request, call)

    async def record(self, action: str, details: Mapping[str, Any], *, once_key: str | None = None) -> None:
        """Record this access; the answer may be sent only after this returned. Raises AuditUnavailable."""
        await self.services.work.lookup(
            self.services.self_audit.read, self.org, self.principal, self.facts, action, details, once_key
        )

    async def record_search(self, as_of: str) -> None:
        """Record a search, once for all pages, histograms and facets of the same filters and `as_of`."""
        key = search_key(self.filters, as_of)
        await self.record("search", {"filters": self.filters_asked()}, once_key=key)

    def filters_asked(self) -> dict[str, list[str]]:
        """The filters for a record: name → canonical values (a session is a hash by now)."""
        return {name: list(values) for name, values in self.filters.chosen}


def finding_tokens(filters: Filters, services: Services, org: str) -> Filters:
    """The filters as they find an organization's tokenised values too."""
    return filters.with_tokens(functools.partial(services.tokens_of, org))


def search_key(filters: Filters, as_of: str) -> str:
    """What makes requests one search: the same filters over the same rows.

    The filters as they were asked, not as they were resolved: `range=24h` stays the same search while
    the clock moves on.
    """
    return hashlib.sha256(json.dumps([as_of, filters.items()]).encode()).hexdigest()


def read_query(
    query: bytes, parameters: Iterable[Parameter], *, filtered: bool
) -> tuple[dict[str, str], Filters]:
    """Split a query string into the route's own parameters and the filters.

    Raises Problem 400, naming the parameter: unknown, given twice, too long, not UTF-8, missing
    or out of range; FilterError for a filter.
    """
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=PARAMETERS_MAX
        )
    except UnicodeError as error:
        raise Problem(400, "The query string is not UTF-8.", hint="Percent-encode UTF-8.") from error
    except ValueError as error:
        raise Problem(
            400,
            f"The query string has more than {PARAMETERS_MAX} parameters.",
            hint="Ask for less at once.",
        ) from error
    known = {parameter.name: parameter for parameter in parameters}
    own: dict[str, str] = {}
    asked: list[tuple[str, str]] = []
    for name, value in pairs:
        if name in known:
            if name in own:
                raise bad_parameter(name, f"`{name}` is given twice.", hint="Give it once.")
            if len(value) > VALUE_CHARS_MAX:
                raise bad_parameter(
                    name, f"`{name}` is too long.", hint=f"At most {VALUE_CHARS_MAX} characters."
                )
            known[name].check(value)
            own[name] = value
        elif filtered and name in NAMES:
            asked.append((name, value))
        else:
            raise _unknown(name, [*known, *(NAMES if filtered else ())])
    for parameter in known.values():
        if parameter.required and parameter.name not in own:
            parameter.check("")
    return own, Filters.parse(asked, now=datetime.now(UTC))


def answer(content: Any, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(encode_json(content), status_code=status, media_type="application/json")


def _unknown(name: str, known: Iterable[str]) -> Problem:
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name[:64])
    allowed = ", ".join(known) or "none"
    return bad_parameter(shown, f"There is no parameter `{shown}` here.", hint=f"Known: {allowed}.")
