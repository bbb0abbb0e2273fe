"""One policy at work: which redactor sees which column, and what becomes of the values it names."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from otel_audit.exporter.redaction import policy as base
from otel_audit.exporter.redaction.actions import POLICY_MARKER, Action, Tokenise, acted
from otel_audit.exporter.redaction.engine import ENGINE_ERROR_MARKER, Redactor
from otel_audit.exporter.redaction.paths import ActionWalk
from otel_audit.exporter.redaction.rules import ENGINE_ERROR, RuleSet, load_rules
from otel_audit.exporter.redaction.tenant_policy import DEFAULT, Policy
from otel_audit.exporter.redaction.tree import NotJson, parse_json, write_json

Hits = Mapping[tuple[str, str], int]
Redacted = tuple[str, Hits]
RedactorOf = Callable[[RuleSet], Redactor]

# Most tenants' policies say nothing of rules, or share what they say; a compiled rule set is up to 100 MB.
_REDACTORS_MAX: Final = 16


def rules_of(policy: Policy, rules: RuleSet, *, redact: bool = False) -> RuleSet:
    """The rules as the policy changes them. redact: personal data becomes a marker, whatever its mask."""
    kept, off = [], list(rules.disabled)
    for rule in rules.rules:
        action = policy.of_rule(rule.id, rule.rule_class)
        if action == "keep":
            off.append(rule)
            continue
        if action == "redact" or (redact and rule.rule_class == "personal"):
            rule = dataclasses.replace(rule, replace="marker")
        kept.append(rule)
    return dataclasses.replace(rules, rules=tuple(kept), disabled=tuple(off))


def stored_version(policy: Policy, rules: RuleSet) -> str:
    """What `policy_version` of an event says: base policy, rules, and the tenant's policy if it has one."""
    version = f"{base.POLICY_VERSION}-{rules.version}"
    return version if policy == DEFAULT else f"{version}-{policy.version}"


class Redactors:
    """Redactors by what policies say of rules, the latest few. Safe to share between threads."""

    def __init__(self, redactor: Redactor, make: RedactorOf) -> None:
        """redactor: of the default rules. make: compiles another rule set."""
        self.default = redactor
        self._make = make
        self._made = lru_cache(maxsize=_REDACTORS_MAX)(self._compiled)

    def of(self, policy: Policy, *, redact: bool = False) -> Redactor:
        """The redactor of a policy. Raises RuleError when it enables a rule that is not there (any more)."""
        of_rules = dataclasses.replace(policy, fields=())
        return self.default if of_rules == DEFAULT and not redact else self._made(of_rules, redact)

    def _compiled(self, policy: Policy, redact: bool) -> Redactor:
        rules = load_rules(enable=policy.enable) if policy.enable else self.default.rules
        return self._make(rules_of(policy, rules, redact=redact))


class Policed:
    """Redacts the values of one tenant's columns. Safe to share between threads."""

    def __init__(self, policy: Policy, redactors: Redactors) -> None:
        """Raises RuleError."""
        self.policy = policy
        self._mask = redactors.of(policy)
        text_columns = (*base.FREE_TEXT_COLUMNS, *base.JSON_TEXT_COLUMNS)
        self._said = {name: policy.of_column(name) for name in (*base.HIDEABLE_COLUMNS, *text_columns)}
        self._strict = redactors.of(policy, redact=True) if "redact" in self._said.values() else self._mask
        self._paths = {name: ActionWalk(policy.of_paths(name)) for name in base.JSON_TEXT_COLUMNS}
        self.version = stored_version(policy, self._mask.rules)

    def redactor(self, column: str) -> Redactor:
        """Who redacts the texts of a column."""
        return self._strict if base.is_personal(column) and self._said[column] == "redact" else self._mask

    def personal(self, column: str) -> bool:
        """Whether rules of class personal run on a column."""
        return base.is_personal(column) and self._said[column] not in ("keep", "tokenise")

    def whole(self, column: str) -> Action | None:
        """What becomes of every value of a column, whether a rule hits it or not; None: nothing."""
        action = self._said.get(column)
        if action is None or action == "keep" or column in base.JSON_TEXT_COLUMNS:
            return None
        return None if column in base.FREE_TEXT_COLUMNS and action != "tokenise" else action

    def names_values(self, column: str) -> bool:
        """Whether values without anything suspicious may change too: those that `is_named` tells."""
        return self.whole(column) is not None or (column in self._paths and bool(self._paths[column].paths))

    def is_named(self, column: str, value: str) -> bool:
        """Whether the policy may change a value whatever the rules find in it; False is certain."""
        return self.whole(column) is not None or (
            column in self._paths and self._paths[column].may_be_in(value)
        )

    def value(self, column: str, value: str, tokenise: Tokenise) -> Redacted:
        """What is stored of a value, and the hits per (rule, path)."""
        if column in base.JSON_TEXT_COLUMNS:
            return self._json(column, value, tokenise)
        redacted, counts = self.redactor(column).text(value, personal=self.personal(column), field=column)
        hits = {(rule, column): count for rule, count in counts.items()}
        action = self.whole(column)
        if action is not None:
            new = acted(action, redacted, secret=bool(counts), tokenise=tokenise)
            if new != redacted:
                redacted, hits[base.POLICY_RULES[action], column] = new, 1
        return redacted, hits

    def _json(self, column: str, value: str, tokenise: Tokenise) -> Redacted:
        redactor, personal, walk = self.redactor(column), self.personal(column), self._paths[column]
        named = walk.may_be_in(value)
        try:
            document = parse_json(value)
        except NotJson:
            if named and any(action != "keep" for action in walk.paths.values()):
                # Where the named values are cannot be told.
                return write_json({"invalid_json": POLICY_MARKER}), {(base.POLICY_RULES["redact"], column): 1}
            text, counts = redactor.text(value, personal=personal, field=column)
            return write_json({"invalid_json": text}), {(rule, column): n for rule, n in counts.items()}
        if named:
            redacted, hits = self._by_path(column, document, walk, tokenise)
        else:
            redacted, hits = redactor.tree(document, personal=personal, field=column)
        if not hits:
            return value, hits
        if redacted == ENGINE_ERROR_MARKER:
            redacted = {ENGINE_ERROR: ENGINE_ERROR_MARKER}
        return write_json(redacted), hits

    def _by_path(
        self, column: str, document: Any, walk: ActionWalk, tokenise: Tokenise
    ) -> tuple[Any, Counter[tuple[str, str]]]:
        # Secrets first, in the whole document: what they are is told by what stands beside them. Then the
        # values that the policy names are taken out, so that the personal rules see the others only.
        safe, hits = self._mask.tree(document, personal=False, field=column)
        if safe == ENGINE_ERROR_MARKER:
            return safe, hits
        rest, taken = walk.take(safe, document)
        redacted, more = self.redactor(column).tree(rest, personal=self.personal(column), field=column)
        if redacted == ENGINE_ERROR_MARKER:
            return redacted, hits + more
        done, acts = walk.put_back(redacted, taken, column, tokenise)
        return done, hits + more + acts
