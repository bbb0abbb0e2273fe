"""Every rule of the packaged rule file as people see it: also those that are off unless a policy asks."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import NamedTuple

from otel_audit.exporter.redaction.rules import RuleClass


class RuleFacts(NamedTuple):
    """What one rule is. kind: `rule` (a pattern) or `name` (what stands under a name is dropped).

    enabled: whether it runs when no policy says otherwise. anchors: what its matches hold or its names are;
    none of it is secret.
    """

    id: str
    rule_class: RuleClass
    kind: str
    enabled: bool
    replacement: str
    anchors: tuple[str, ...]
    validator: str


@cache
def catalogue() -> tuple[RuleFacts, ...]:
    """The facts of all rules, in file order."""
    source = resources.files("otel_audit.exporter.redaction").joinpath("rules.toml").read_text()
    data = tomllib.loads(source)
    rules = [
        RuleFacts(
            id=item["id"],
            rule_class=item["class"],
            kind="rule",
            enabled=bool(item.get("enabled", True)),
            replacement=item.get("replace", "marker"),
            anchors=tuple(item.get("anchors", ())),
            validator=item.get("validator", ""),
        )
        for item in data["rule"]
    ]
    names = [
        RuleFacts(
            id=item["id"],
            rule_class=item["class"],
            kind="name",
            enabled=True,
            replacement="marker",
            anchors=(*item.get("words", ()), *item.get("exact", ())),
            validator="",
        )
        for item in data["name"]
    ]
    return (*rules, *names)
