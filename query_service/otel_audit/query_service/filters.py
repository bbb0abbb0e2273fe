"""The one table of filters: the API, CLI, console, stream, exports and holds all read it.

A filter is a name, a check of its value and an SQL template over the columns of an event. Values are
only ever bound as parameters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from otel_audit.exporter.redaction.identity import session_hash
from otel_audit.exporter.store.schema import FREE_TEXT
from otel_audit.instrumentation.errors import AuditError
from otel_audit.instrumentation.ids import canonical_uuid
from otel_audit.instrumentation.vocabulary import Category, Outcome, Severity

from .address import address_condition, parse_network

# One filter is at most a long URL or user agent; more than that is no search term.
VALUE_CHARACTERS_MAX: Final = 512
# Every value becomes a bound parameter of one SQL statement.
VALUES_MAX: Final = 100
DEFAULT_RANGE: Final = "24h"
# The receiver lets a clock run ahead by an hour, so "until now" must not hide such an event.
CLOCK_AHEAD: Final = timedelta(hours=1)
_RANGE: Final = re.compile(r"([1-9][0-9]{0,6})([mhd])")
_RANGE_UNITS: Final = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_RANGE_MAX: Final = timedelta(days=36_600)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_RFC3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_TRACE: Final = re.compile(r"[0-9a-f]{32}")
# Lowest OpenTelemetry severity number of each severity.
_LOWEST: Final = {"info": 0, "warning": 13, "error": 17, "critical": 21}


class FilterError(AuditError):
    """A filter that cannot be used. parameter and value as given; allowed: what would have been."""

    exit_status = 2  # on the command line it is wrong use, not a failure

    def __init__(self, parameter: str, value: str, problem: str, *, allowed: str = "") -> None:
        # The value is not repeated: people paste secrets into search boxes, and errors end up in logs.
        super().__init__(f"{parameter}: {problem}", hint=allowed and f"allowed: {allowed}")
        self.parameter = parameter
        self.value = value
        self.allowed = allowed


TokensOf = Callable[[str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class FilterSpec:
    """One filter. sql: template; `{v}` is the bound value, or the list of them when `repeatable`.

    check: value as given → canonical value, ValueError with the reason otherwise.
    tokenised: columns where the value's tokens match as well.
    """

    name: str
    type: str
    sql: str
    help: str
    check: Callable[[str], str] = str
    repeatable: bool = False
    negatable: bool = False
    allowed: tuple[str, ...] = ()
    tokenised: tuple[str, ...] = ()

    @property
    def allowed_text(self) -> str:
        return ", ".join(self.allowed) or self.help


def _one_of(allowed: tuple[str, ...]) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value.lower() not in allowed:
            raise ValueError("not one of the allowed values")
        return value.lower()

    return check


def _choice(name: str, values: Iterable[str], help_text: str) -> FilterSpec:
    allowed = tuple(values)
    sql = f"{name} IN ({{v}})"
    return FilterSpec(name, "choice", sql, help_text, _one_of(allowed), True, True, allowed)


def _column(name: str, column: str, help_text: str) -> FilterSpec:
    return FilterSpec(name, "text", f"{column} IN ({{v}})", help_text, repeatable=True, negatable=True)


def _free_text(folded: str) -> str:
    """The condition of `q`. folded: template of what is compared for {x}."""
    value = folded.format(x="{v}")
    return "(" + " OR ".join(f"contains({folded.format(x=c)}, {value})" for c in FREE_TEXT) + ")"


def _range(value: str) -> str:
    matched = _RANGE.fullmatch(value)
    if not matched or int(matched[1]) * _RANGE_UNITS[matched[2]] > _RANGE_MAX:
        raise ValueError("not a time range")
    return value


def parse_time(value: str) -> datetime:
    """RFC 3339, or a bare date for its 00:00 UTC, as an aware datetime in UTC. Raises ValueError."""
    if _DATE.fullmatch(value):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    if not _RFC3339.fullmatch(value):
        raise ValueError("not a time with its zone")
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("no such time") from None


def _time(value: str) -> str:
    moment = parse_time(value)
    return (
        value if _DATE.fullmatch(value) else moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
    )


def _address(value: str) -> str:
    try:
        network = parse_network(value)
    except ValueError:
        raise ValueError("not an IP address or CIDR") from None
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def _request(value: str) -> str:
    found = canonical_uuid(value)
    if found is None:
        raise ValueError("not a request id")
    return found


def _trace(value: str) -> str:
    digits = value.lower().replace("-", "")
    if not _TRACE.fullmatch(digits):
        raise ValueError("not a trace id")
    return digits


_SEVERITIES: Final = tuple(str(severity) for severity in Severity)
_PERIOD: Final = "<n>m, <n>h or <n>d, such as 24h, 7d, 30d, 90d; at most 36600d"
_MOMENT: Final = "RFC 3339 with a zone, such as 2026-03-01T09:30:00Z, or a date for its 00:00 UTC"

FILTERS: Final[tuple[FilterSpec, ...]] = (
    FilterSpec("range", "period", "", _PERIOD, _range),
    FilterSpec("from", "time", "time >= {v}", f"inclusive; {_MOMENT}", _time),
    FilterSpec("to", "time", "time < {v}", f"exclusive; {_MOMENT}", _time),
    _choice("category", map(str, Category), "what the event is about"),
    _choice("severity", _SEVERITIES, "exactly this severity"),
    _column("action", "action", "an action, such as login_failed"),
    _choice("outcome", map(str, Outcome), "how it ended"),
    _column("resource_type", "resource_type", "kind of the thing acted on, such as file"),
    _column("service", "service_name", "service.name of the emitter"),
    FilterSpec(
        "min_severity", "choice", "severity_number >= {v}", "this severity or a higher one",
        _one_of(_SEVERITIES), allowed=_SEVERITIES,
    ),
    FilterSpec(
        "user", "text", "(lower(user_id) = lower({v}) OR lower(user_email) = lower({v}))",
        "exact user id or e-mail address, upper and lower case alike", tokenised=("user_id", "user_email"),
    ),
    FilterSpec(
        "ip", "address", "", "an IPv4 or IPv6 address, or a CIDR such as 10.0.0.0/8", _address,
        tokenised=("client_address",),
    ),
    FilterSpec("session", "text", "session_id = {v}", "a session id or its hash sh_…", session_hash),
    FilterSpec("request", "id", "request_id = {v}", "a request id, a UUID or 32 hex digits", _request),
    FilterSpec("trace", "id", "trace_id = {v}", "a trace id, 32 hex digits", _trace),
    FilterSpec(
        "resource_id", "text", "resource_id = {v}", "exact id of the thing acted on",
        tokenised=("resource_id",),
    ),
    FilterSpec(
        "q", "text", _free_text("lower({x})"),
        "free text: part of message, user, resource name or id, action, address or agent, "
        "upper and lower case alike",
    ),
)  # fmt: skip
# Σ has two lower-case letters. They are made one only when asked for: it costs every row a pass more.
_FINAL_SIGMA: Final = "ς"
_FREE_TEXT_SIGMA: Final = _free_text(f"replace(lower({{x}}), '{_FINAL_SIGMA}', 'σ')")
SPECS: Final = {spec.name: spec for spec in FILTERS}
_TIME_NAMES: Final = frozenset({"range", "from", "to"})
NAMES: Final[tuple[str, ...]] = (*SPECS, *(f"not.{spec.name}" for spec in FILTERS if spec.negatable))


def _checked(name: str, value: str) -> str:
    spec = SPECS.get(name.removeprefix("not."))
    if spec is None or name not in NAMES:
        raise FilterError(name, value, "there is no such filter", allowed=", ".join(NAMES))
    if len(value) > VALUE_CHARACTERS_MAX:
        raise FilterError(name, value, "too long", allowed=f"up to {VALUE_CHARACTERS_MAX} characters")
    if "\x00" in value:
        raise FilterError(name, value, "contains a NUL character")
    try:
        value.encode()
        return spec.check(value)
    except UnicodeEncodeError:
        raise FilterError(name, "", "not valid Unicode text") from None
    except ValueError as error:
        raise FilterError(name, value, str(error), allowed=spec.allowed_text) from None


@dataclass(frozen=True, slots=True)
class Filters:
    """Checked filters, as canonical (name, values) in the table's order. Equal filters compare equal.

    tokens_of: value → the tokens it may be stored as; None where nothing is tokenised.
    """

    chosen: tuple[tuple[str, tuple[str, ...]], ...]
    now: datetime
    time_from: datetime
    time_to: datetime
    tokens_of: TokensOf | None = field(default=None, compare=False, repr=False)

    @classmethod
    def parse(cls, items: Iterable[tuple[str, str]], *, now: datetime) -> Filters:
        """Check (name, value) pairs as a query string gives them; an empty value counts as not given.

        now: aware, what `range` counts back from. Raises FilterError.
        """
        given: dict[str, list[str]] = {}
        for count, (name, value) in enumerate((pair for pair in items if pair[1] != ""), 1):
            if count > VALUES_MAX:
                raise FilterError(name, value, "too many filters", allowed=f"up to {VALUES_MAX} values")
            checked = _checked(name, value)
            values = given.setdefault(name, [])
            if values and checked not in values and not SPECS[name.removeprefix("not.")].repeatable:
                raise FilterError(name, value, "given twice", allowed="one value")
            if checked not in values:
                values.append(checked)
        start, end = _period(given, now)
        chosen = tuple((name, tuple(given[name])) for name in NAMES if name in given)
        return cls(chosen, now, start, end)

    def items(self) -> list[tuple[str, str]]:
        """The filters as (name, value) pairs that `parse` reads back to the same filters."""
        return [(name, value) for name, values in self.chosen for value in values]

    def values(self, name: str) -> tuple[str, ...]:
        """The values of one filter, none when it is not set."""
        return dict(self.chosen).get(name, ())

    def replace(self, name: str, values: Iterable[str]) -> Filters:
        """The same filters with other values for `name`; no values take it away. Raises FilterError."""
        rest = [pair for pair in self.items() if pair[0] != name]
        changed = Filters.parse([*rest, *((name, value) for value in values)], now=self.now)
        return changed.with_tokens(self.tokens_of)

    def at(self, now: datetime) -> Filters:
        """The same filters as they were understood at another moment."""
        return Filters.parse(self.items(), now=now).with_tokens(self.tokens_of)

    def with_tokens(self, tokens_of: TokensOf | None) -> Filters:
        """The same filters, which also find what an organization's policy has tokenised."""
        return replace(self, tokens_of=tokens_of)

    def tokens(self, name: str) -> tuple[str, ...]:
        """What the value of a filter may be stored as instead; none where it is never tokenised."""
        values = self.values(name)
        if not values or self.tokens_of is None or name not in SPECS or not SPECS[name].tokenised:
            return ()
        # A network is no value that an event could have.
        return () if "/" in values[0] and SPECS[name].type == "address" else tuple(self.tokens_of(values[0]))

    def notes(self) -> list[str]:
        """What these filters cannot find although it may be there, for people."""
        network = any("/" in value for value in self.values("ip"))
        if self.tokens_of is None or not (self.text or network) or not self.tokens_of(""):
            return []
        notes = ["q does not match tokenised values; user, ip and resource_id do"] if self.text else []
        return [*notes, "a network does not match tokenised addresses"] if network else notes

    def where(self, *, time: bool = True) -> tuple[str, dict[str, Any]]:
        """An SQL condition over the columns of schema VIEW and its named parameters (`f_…`, `ip_…`).

        time: whether the condition includes the time range.
        """
        tests: list[str] = []
        params: dict[str, Any] = {}
        if time:
            tests.append("time >= $f_from AND time < $f_to")
            params = {"f_from": self.time_from, "f_to": self.time_to}
        for name, values in self.chosen:
            if name not in _TIME_NAMES:
                sql, bound = _condition(name, values)
                for index, made in enumerate(self.tokens(name)):
                    parameter = f"f_{name}_token{index}"
                    bound[parameter] = made
                    sql += "".join(f" OR {column} = ${parameter}" for column in SPECS[name].tokenised)
                tests.append(f"({sql})")
                params |= bound
        return " AND ".join(tests) or "TRUE", params

    @property
    def text(self) -> str | None:
        """What is searched for in free text."""
        return next(iter(self.values("q")), None)

    @property
    def any_besides_time(self) -> bool:
        """Whether something other than time is filtered."""
        return any(name not in _TIME_NAMES for name, _ in self.chosen)


def _condition(name: str, values: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    spec = SPECS[name.removeprefix("not.")]
    if spec.type == "address":
        return address_condition(parse_network(values[0]))
    if name == "min_severity":
        # Every event is at least info, also one without a number.
        lowest = _LOWEST[values[0]]
        return (spec.sql.format(v="$f_min_severity"), {"f_min_severity": lowest}) if lowest else ("TRUE", {})
    key = "f_" + name.replace(".", "_")
    if name == "q" and "σ" in values[0].lower().replace(_FINAL_SIGMA, "σ"):
        return _FREE_TEXT_SIGMA.format(v=f"${key}"), {key: values[0]}
    if not spec.repeatable:
        return spec.sql.format(v=f"${key}"), {key: values[0]}
    bound = {f"{key}_{index}": value for index, value in enumerate(values)}
    sql = spec.sql.format(v=", ".join(f"${parameter}" for parameter in bound))
    # "not x" includes events that have no value there at all.
    return (f"NOT coalesce({sql}, FALSE)" if name.startswith("not.") else sql), bound


def _period(given: dict[str, list[str]], now: datetime) -> tuple[datetime, datetime]:
    end = parse_time(given["to"][0]) if "to" in given else None
    if "range" in given and ("from" in given or end):
        raise FilterError("range", given["range"][0], "cannot be combined with from or to")
    length = _length(given.get("range", [DEFAULT_RANGE])[0])
    try:
        start = parse_time(given["from"][0]) if "from" in given else (end or now) - length
    except OverflowError:
        start = datetime.min.replace(tzinfo=UTC)
    try:
        end = end or max(now, start) + CLOCK_AHEAD
    except OverflowError:
        end = datetime.max.replace(tzinfo=UTC)
    if start >= end:
        shown = given["from"][0] if "from" in given else ""
        raise FilterError("from", shown, "not before `to`", allowed="a time before `to`, which is exclusive")
    return start, end


def _length(text: str) -> timedelta:
    return int(text[:-1]) * _RANGE_UNITS[text[-1]]
