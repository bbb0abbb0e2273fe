"""One made-up secret of every rule in every place of an event, and a search for what must be gone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import re2
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from otel_audit.exporter.redaction import RuleSet
from tests.redaction.seeded import Seeded, seeded
from tests.support.otlp_client import any_value, record, request

PLACES: Final = (
    "texts", "attribute value", "attribute name", "nested value", "nested name", "list", "change", "identity",
)  # fmt: skip
RECORDS: Final = len(PLACES)
"""Events of one canary; "texts" are body, event name, agent, name of the target and the resource."""

_MARK: Final = "canary.mark"
# A prefix and the last four may stay by design.
_SHOWN_CHARS: Final = 4
_MIDDLE_CHARS_MIN: Final = 8
# Shorter ones turn up in megabytes of ids and hashes by chance; the event they came in is searched for those.
_NEEDLE_CHARS_MIN: Final = 10
_SEARCH_BYTES: Final = 256 << 20


@dataclass(frozen=True)
class Canary:
    """mark: in every event of it. hidden: what must be gone."""

    mark: str
    secret: Seeded
    hidden: str

    @property
    def personal(self) -> bool:
        return self.secret.rule_class == "personal"


def canaries(rules: RuleSet, seed: int) -> list[Canary]:
    """One of every enabled rule and of every sensitive name; another seed makes others."""
    made = []
    for number, secret in enumerate(seeded(rules, seed, 1)):
        made.append(Canary(f"{seed}-{number}", secret, _hidden(secret.secret)))
    return made


def _hidden(secret: str) -> str:
    """The longest run of one line without what JSON or HTML would escape, without what may be shown."""
    run = max(re.findall(r"""[^\s\\"'&<>]+""", secret), key=len)
    middle = run[_SHOWN_CHARS:-_SHOWN_CHARS]
    return middle if len(middle) >= _MIDDLE_CHARS_MIN else run


def requests(sent: Iterable[Canary]) -> ExportLogsServiceRequest:
    """All canaries in all places, one request."""
    made = ExportLogsServiceRequest()
    for canary in sent:
        # Personal data stays where the trail has to say who it was, and in names of machines.
        texts, *others, identity = (_record(canary, place) for place in PLACES)
        made.MergeFrom(request([texts], **{"process.command_line": canary.secret.text}))
        made.MergeFrom(request(others))
        service = {} if canary.personal else {"service": canary.secret.text}
        made.MergeFrom(request([identity], **service))
    return made


def _record(canary: Canary, place: str) -> LogRecord:
    text = canary.secret.text
    fields: dict[str, Any] = {}
    named: dict[str, Any] = {}
    if place == "texts":
        fields = {"body": text, "user_agent.original": text, "audit.target.name": text, "http.route": text}
    elif place == "attribute value":
        named = {"note": text}
    elif place == "attribute name":
        named = {text: "x"}
    elif place == "nested value":
        named = {"outer": {"inner": {"note": text, "other": 1}}}
    elif place == "nested name":
        named = {"outer": {"inner": {text: 1}}}
    elif place == "list":
        named = {"items": ["first", text, {"note": text}]}
    elif place == "change":
        named = {"audit.change.before": {"note": text, "kept": 1}}
        named |= {"audit.change.after": {"note": f"new: {text}"}}
    elif not canary.personal:
        columns = (
            "audit.actor.id", "user.id", "user.email", "user.name", "client.address", "audit.target.id",
            "audit.actor.on_behalf_of", "audit.target.type", "audit.request.id", "session.id",
            "audit.emitter.id", "http.request.method", "audit.outcome", "audit.tenant.id",
            "audit.retention.class",
        )  # fmt: skip
        named = dict.fromkeys(columns, text) | {"user.roles": ["admin", text]}
    made = record(**fields)
    named[_MARK] = f"{canary.mark} {place}"
    made.attributes.extend(KeyValue(key=name, value=any_value(value)) for name, value in named.items())
    if place == "texts" and not canary.personal:
        made.event_name = text
    return made


def places(events: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(mark, place, event) of the stored events of canaries."""
    for event in events:
        mark, _, place = str((event["attributes"] or {}).get(_MARK, "")).partition(" ")
        if place:
            yield mark, place, event


class Search:
    """Finds what must be gone in any number of bytes, all of it in one pass."""

    def __init__(self, sought: Iterable[Canary]) -> None:
        self._rules = {c.hidden.encode(): c.secret.rule for c in sought if len(c.hidden) >= _NEEDLE_CHARS_MIN}
        options = re2.Options()
        options.max_mem = _SEARCH_BYTES
        self._any = re2.compile(b"|".join(map(re2.escape, self._rules)), options)

    def leaks(self, data: bytes) -> set[tuple[str, bytes]]:
        """(rule, what should be gone) as often as it differs."""
        return {(self._rules[found.group()], found.group()) for found in self._any.finditer(data)}
