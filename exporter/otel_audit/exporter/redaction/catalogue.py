"""Every packaged rule as people see it: also those that are off unless a policy asks."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from otel_audit.exporter.redaction.rules import RuleClass, load_rules


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
    """The facts of all rules: those that run, those that are off, names."""
    known = load_rules()
    rules = [
        RuleFacts(rule.id, rule.rule_class, "rule", rule.enabled, rule.replace, rule.anchors, rule.validator)
        for rule in (*known.rules, *known.disabled)
    ]
    names = [
        RuleFacts(
            name.id, name.rule_class, "name", True, "marker", (*name.words, *name.exact), name.validator
        )
        for name in known.names
    ]
    return (*rules, *names)
