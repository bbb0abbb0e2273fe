"""Redaction of one text or one tree: prefilter, exact match, validation, replacement.

Deterministic, the same with `re` and RE2, idempotent, linear in the text, and closed when it fails.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from otel_audit.exporter.redaction.hits import Hit, Looks, TooManyLooks, replaced, without_overlaps
from otel_audit.exporter.redaction.matching import Find, Matcher, finder, tester
from otel_audit.exporter.redaction.names import Names
from otel_audit.exporter.redaction.pairs import FILLER, Pairs
from otel_audit.exporter.redaction.replacement import REPLACEMENTS, Replacement, marker, settled_pattern
from otel_audit.exporter.redaction.rules import ENGINE_ERROR, NameRule, Rule, RuleSet
from otel_audit.exporter.redaction.tree import TreeWalk
from otel_audit.exporter.redaction.validators import VALIDATORS, Validator
from otel_audit.exporter.redaction.views import DISGUISE_TRIGGERS, View, disguise_class, fold, views, writable

ENGINE_ERROR_MARKER: Final = marker(ENGINE_ERROR)
# One round hides everything, a second confirms it; more means that rules feed each other.
_ROUNDS_MAX: Final = 6
# A refused candidate is looked into again this often per text: enough for real text, linear for crafted text.
_RESCANS_MAX: Final = 64
_EXTEND_MAX: Final = 64
# A card number has at least 14 digits; shorter numbers need no look.
_NUMBER_DIGITS_MIN: Final = 14


class _Ready(NamedTuple):
    rule: Rule
    rank: int
    find: Find
    validator: Validator | None
    replace: Replacement
    left: re.Pattern[str] | None
    not_before: re.Pattern[str] | None
    not_after: re.Pattern[str] | None


class Redactor:
    """Redacts texts and trees by one rule set. Safe to share between threads.

    matcher: "re" everywhere, "re2" where google-re2 is installed; the results are equal.
    Raises RuleError when a rule does not compile.
    """

    def __init__(self, rules: RuleSet, *, matcher: Matcher = "re") -> None:
        self.rules = rules
        self.names = Names(rules.names)
        self._pairs = Pairs(rules.names, self.names, matcher)
        self._ready = tuple(_ready(rank, rule, matcher) for rank, rule in enumerate(rules.rules))
        self._ranks = {
            n.id: i - len(rules.names) if n.rule_class == "secret" else i + len(rules.rules)
            for i, n in enumerate(rules.names)
        }
        self._settled = settled_pattern(rules.ids, (p for r in rules.rules for p in r.prefixes))
        self._suspects = {
            personal: tester(*self.prefilter(personal=personal), matcher) for personal in (False, True)
        }

    def prefilter(self, *, personal: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(literals, patterns): a text with none of them comes back unchanged from `text`.

        Lower case in ASCII is enough, and the text of a JSON document tells of its tree as well.
        """
        rules = [r for r in self.rules.rules if personal or r.rule_class != "personal"]
        names = self.names.prefilter()
        literals = [a for r in rules for a in r.anchors]
        patterns = [r.trigger for r in rules if r.trigger]
        return (*literals, *names[0]), (*patterns, *names[1], *DISGUISE_TRIGGERS, f"[{disguise_class()}]")

    def suspect(self, value: str, *, personal: bool) -> bool:
        """Whether value may hold something to hide; False is certain."""
        return self._suspects[personal](value.lower())

    def text(self, value: str, *, personal: bool, field: str) -> tuple[str, Counter[str]]:
        """The text without its secrets, and how often each rule hit.

        personal: also mask personal data. field: the column or path, for the caller's evidence only.
        JSON inside the text is walked. Never raises: a failure gives `[REDACTED:engine_error]`.
        """
        counts: Counter[str] = Counter()
        try:
            value = writable(value)
            if not self.suspect(value, personal=personal):
                return value, counts
            redacted, hits = TreeWalk(self, personal=personal).string(value, field)
        except Exception:  # noqa: BLE001 - whatever failed, the value must not pass
            return ENGINE_ERROR_MARKER, Counter({ENGINE_ERROR: 1})
        for (rule, _), count in hits.items():
            counts[rule] += count
        return redacted, counts

    def tree(self, value: Any, *, personal: bool, field: str) -> tuple[Any, Counter[tuple[str, str]]]:
        """A copy of a tree of dict, list, str, … without its secrets, and the hits per (rule, path).

        Values of sensitive names are dropped, names are redacted too, order and other types stay.
        Paths are `field` and redacted names joined by dots. Never raises.
        """
        try:
            return TreeWalk(self, personal=personal).value(value, field)
        except Exception:  # noqa: BLE001 - whatever failed, the value must not pass
            return ENGINE_ERROR_MARKER, Counter({(ENGINE_ERROR, field): 1})

    def flat(self, value: str, *, personal: bool) -> tuple[str, Counter[str]]:
        """As `text` for a text that is no JSON document; may raise."""
        counts: Counter[str] = Counter()
        for _ in range(_ROUNDS_MAX):
            if not self.suspect(value, personal=personal):
                return value, counts
            try:
                hits = self.hits(value, personal=personal)
            except TooManyLooks:
                return ENGINE_ERROR_MARKER, Counter({ENGINE_ERROR: 1})
            if not hits:
                return value, counts
            value = replaced(value, hits)
            counts.update(hit.rule for hit in hits)
        return ENGINE_ERROR_MARKER, counts + Counter({ENGINE_ERROR: 1})

    def hits(self, value: str, *, personal: bool) -> list[Hit]:
        """What one round hides, ascending and without overlaps. Raises TooManyLooks."""
        found: list[Hit] = []
        looks = Looks()
        for view in views(value):
            folded = fold(view.text)
            if "[" in folded or "…" in folded:
                folded = self._blanked(view.text, folded)
            for hit in self._in_view(view, folded, personal, looks):
                start, end = view.span(hit.start, hit.end)
                found.append(hit if view.origin is None else hit._replace(start=start, end=end))
        return without_overlaps(found)

    def _blanked(self, text: str, folded: str) -> str:
        pieces: list[str] = []
        last = 0
        for match in self._settled.finditer(text):
            start, end = match.span()
            pieces += (folded[last:start], FILLER * (end - start))
            last = end
        pieces.append(folded[last:])
        return "".join(pieces)

    def _in_view(self, view: View, folded: str, personal: bool, looks: Looks) -> Iterator[Hit]:
        text = view.text
        for ready in self._ready:
            rule = ready.rule
            if rule.rule_class == "personal" and not personal:
                continue
            if rule.anchors and not any(anchor in folded for anchor in rule.anchors):
                continue
            for start, end in _spans(ready, text, folded, looks):
                secret = text[start:end]
                instead = ready.replace(secret, rule.id, rule.prefixes)
                yield Hit(start, end, rule.id, rule.rule_class, ready.rank, instead)
        for start, end, name in self._pairs.find(text, folded, looks):
            yield Hit(start, end, name.id, name.rule_class, self._ranks[name.id], marker(name.id))

    def number(self, digits: str, field: str, *, personal: bool) -> tuple[str, Counter[str]] | None:
        """A number of a tree as masked text, or None when it may stay a number."""
        if len(digits) < _NUMBER_DIGITS_MIN or not digits.isdigit():
            return None
        redacted, counts = self.text(digits, personal=personal, field=field)
        return (redacted, counts) if counts else None

    def name_rule(self, name: str) -> NameRule | None:
        """The rule that drops what is stored under this name, or None."""
        return self.names.rule(name)


def _ready(rank: int, rule: Rule, matcher: Matcher) -> _Ready:
    def one(body: str) -> re.Pattern[str] | None:
        return re.compile(f"[{body}]") if body else None

    return _Ready(
        rule=rule,
        rank=rank,
        find=finder(rule.pattern, matcher),
        validator=VALIDATORS[rule.validator] if rule.validator else None,
        replace=REPLACEMENTS[rule.replace],
        left=re.compile(f"[{rule.extend_left}]{{0,{_EXTEND_MAX}}}") if rule.extend_left else None,
        not_before=one(rule.not_before),
        not_after=one(rule.not_after),
    )


def _spans(ready: _Ready, text: str, folded: str, looks: Looks) -> Iterator[tuple[int, int]]:
    at, rescans = 0, _RESCANS_MAX if ready.rule.rescan else 0
    search = ready.find(folded)
    while (match := search(at)) is not None:
        looks.take()
        match_start, at, start, end = match
        span = _accepted(ready, text, folded, start, end)
        if span is not None:
            yield span
        elif rescans:
            rescans -= 1
            at = match_start + 1


def _accepted(ready: _Ready, text: str, folded: str, start: int, end: int) -> tuple[int, int] | None:
    if ready.left is not None:
        grown = ready.left.match(folded[max(0, start - _EXTEND_MAX) : start][::-1])
        start -= grown.end() if grown else 0
    if ready.validator is not None:
        part = ready.validator(text[start:end])
        if part is None:
            return None
        start, end = start + part[0], start + part[1]
    if ready.not_before is not None and start and ready.not_before.match(folded, start - 1):
        return None
    if ready.not_after is not None and ready.not_after.match(folded, end):
        return None
    return (start, end) if folded[start:end].strip(FILLER) else None
