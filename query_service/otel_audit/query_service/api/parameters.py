"""Query parameters that belong to a route rather than to the filter table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from otel_audit.query_service.aggregate import BUCKETS_MAX, FACET_VALUES_MAX, HISTOGRAM_BY
from otel_audit.query_service.api.problems import bad_parameter
from otel_audit.query_service.export import MEDIA_TYPES
from otel_audit.query_service.filters import DEFAULT_RANGE, SPECS
from otel_audit.query_service.search import LIMIT_MAX


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. schema: its JSON schema, which is also what a value is checked against."""

    name: str
    schema: Mapping[str, Any]
    help: str
    required: bool = False

    def check(self, value: str) -> None:
        """Raise Problem 400 unless `value` fits the schema."""
        schema = self.schema
        if schema["type"] == "integer":
            low, high = schema["minimum"], schema["maximum"]
            if not re.fullmatch(r"[0-9]{1,9}", value) or not low <= int(value) <= high:
                message = f"`{self.name}` must be a whole number from {low} to {high}."
                raise bad_parameter(self.name, message, hint="Leave it out to get the default.")
        elif "enum" in schema and value not in schema["enum"]:
            raise bad_parameter(
                self.name, f"`{self.name}` has no such value.", hint=f"One of {', '.join(schema['enum'])}."
            )
        elif not value:
            hint = "It is required." if self.required else "Leave it out or give a value."
            raise bad_parameter(self.name, f"`{self.name}` is empty.", hint=hint)


def _text(name: str, meaning: str, *, required: bool = False) -> Parameter:
    return Parameter(name, {"type": "string", "minLength": 1}, meaning, required)


LIMIT: Final = Parameter(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": 100},
    "how many events a page holds",
)
CURSOR: Final = _text("cursor", "`next` of the page before")
AS_OF: Final = _text("as_of", "answer from the rows of an earlier answer; its `as_of`")
AFTER: Final = _text("after", "resume after this position, up to 24 hours back")
TICKET: Final = _text("ticket", "a one-time stream ticket, for clients that cannot send headers")
BY: Final = Parameter(
    "by",
    {"type": "string", "enum": list(HISTOGRAM_BY), "default": "severity"},
    "what each bucket is split by",
)
BUCKETS: Final = Parameter(
    "buckets",
    {"type": "integer", "minimum": 1, "maximum": BUCKETS_MAX, "default": 60},
    "how many buckets, at most, the time frame is cut into",
)
FACET_LIMIT: Final = Parameter(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": FACET_VALUES_MAX, "default": 20},
    "how many values each facet lists",
)
RANGE: Final = Parameter(
    "range", {"type": "string", "minLength": 1, "default": DEFAULT_RANGE}, SPECS["range"].help
)
FROM: Final = _text("from", SPECS["from"].help)
TO: Final = _text("to", SPECS["to"].help)
REASON: Final = _text("reason", "why, for the audit trail", required=True)
FORMAT: Final = Parameter(
    "format", {"type": "string", "enum": sorted(MEDIA_TYPES)}, "file format", required=True
)
