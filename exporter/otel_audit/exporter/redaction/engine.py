"""Redaction of one text or one tree: prefilter, exact match, validation, replacement.

Deterministic, the same with `re` and RE2, idempotent, linear in the text, and closed when it fails.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple

from otel_audit.exporter.redaction.bounds import Looks, TooManyLooks
from otel_audit.exporter.redaction.encoded import ENCODED_TRIGGER, decoded
from otel_audit.exporter.redaction.hits import Hit, replaced, without_overlaps
from otel_audit.exporter.redaction.inserts import INSERT_TRIGGER, inserted
from otel_audit.exporter.redaction.matching import Find, Matcher, Part, Prefilter, Prepared, finder
from otel_audit.exporter.redaction.names import Names
from otel_audit.exporter.redaction.pairs import FILLER, Pairs
from otel_audit.exporter.redaction.replacement import REPLACEMENTS, Replacement, marker, settled
from otel_audit.exporter.redaction.rules import CLASSES, ENGINE_ERROR, NameRule, Rule, RuleClass, RuleSet
from otel_audit.exporter.redaction.tree import TreeWalk
from otel_audit.exporter.redaction.validators import VALIDATORS, Validator
from otel_audit.exporter.redaction.views import (
    DISGUISE_OCTETS,
    DISGUISE_TRIGGERS,
    disguise_class,
    fold,
    views,
)

ENGINE_ERROR_MARKER: Final = marker(ENGINE_ERROR)
# One round hides everything, a second confirms it; more means that rules feed each other.
_ROUNDS_MAX: Final = 6
# A refused candidate is looked into again this often per text: enough for real text, linear for crafted text.
_RESCANS_MAX: Final = 64
_EXTEND_MAX: Final = 64
# Base64 of base64 is met, deeper nesting is not.
_ENCODED_DEPTH_MAX: Final = 2
_RANK_ENCODED: Final = -1
# Enough for every name an organization's code base has; longer names are data.
_CACHE_NAMES: Final = 8192
_NAME_CHARS_MAX: Final = 128
# A class of three or fewer is as good as a literal.
_BEGINS_ANYWHERE: Final = re.compile(r"(?:.*[|])?(?:\(\?:)*\[[^\]]{4}|(?:.*[|])?(?:\(\?:)*\[.-.\]")
# Parts of the prefilter behind those of the rules.
_NAMES, _INSERTS, _ENCODED, _DISGUISED = range(4)
# A card number has at least 13 digits; shorter numbers need no look.
_NUMBER_DIGITS_MIN: Final = 13


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
        self._matcher: Matcher = matcher
        self._pairs = Pairs(rules.names, self.names, matcher)
        self._ready = tuple(_ready(rank, rule, matcher) for rank, rule in enumerate(rules.rules))
        self._ranks = {
            n.id: i - len(rules.names) if n.rule_class == "secret" else i + len(rules.rules)
            for i, n in enumerate(rules.names)
        }
        self._classes: dict[str, RuleClass] = {rule.id: rule.rule_class for rule in rules.rules}
        self._classes |= {name.id: name.rule_class for name in rules.names}
        self._settled = settled(rules.ids, (p for r in rules.rules for p in r.prefixes))
        self._personal = frozenset(i for i, r in enumerate(rules.rules) if r.rule_class == "personal")
        self._prefilter = Prefilter(self._parts(), matcher)
        self._candidates = self._prefilter.matches
        self._known_name = lru_cache(maxsize=_CACHE_NAMES)(self._name)

    def _parts(self) -> list[Part]:
        rules = [
            Part(
                rule.anchors,
                (rule.trigger,) if rule.trigger else (),
                anywhere=_BEGINS_ANYWHERE.match(rule.trigger) is not None,
            )
            for rule in self.rules.rules
        ]
        return [
            *rules,
            Part(patterns=self.names.prefilter(), needs=self.names.needed()),
            Part(patterns=(INSERT_TRIGGER,)),
            Part(patterns=(ENCODED_TRIGGER,), exact=True),
            # Exact: whatever its case, the Kelvin sign would be any k.
            Part(patterns=(*DISGUISE_TRIGGERS, f"[{disguise_class()}]"), exact=True, octets=DISGUISE_OCTETS),
        ]

    def suspect(self, value: str, *, personal: bool) -> bool:
        """Whether value may hold something to hide; False is certain. Raises TooManyLooks."""
        return bool(self.candidates(value, personal=personal))

    def candidates(self, value: str, *, personal: bool) -> Sequence[int]:
        """What value may hold, for `flat`: nothing when it is certainly innocent. Raises TooManyLooks."""
        found = self._candidates(value)
        return found if found and (personal or not self._personal.issuperset(found)) else ()

    def tests_utf8(self, *, personal: bool) -> list[Callable[[bytes], bool]]:
        """What `suspect` asks, as tests of UTF-8: values joined by line ends are suspect when one passes."""
        parts: list[Callable[[bytes], Sequence[int]]] = [a.matches for a in self._prefilter.automata]
        parts = parts or [lambda values: self._candidates(values.decode())]
        return [partial(self._passes, matches, personal) for matches in parts]

    def _passes(self, matches: Callable[[bytes], Sequence[int]], personal: bool, values: bytes) -> bool:
        try:
            found = matches(values)
        except TooManyLooks:
            return True
        return bool(found) and (personal or not self._personal.issuperset(found))

    def text(self, value: str, *, personal: bool, field: str) -> tuple[str, Counter[str]]:
        """The text without its secrets, and how often each rule hit.

        personal: also mask personal data. field: the column or path, for the caller's evidence only.
        JSON inside the text is walked. Never raises: a failure gives `[REDACTED:engine_error]`.
        """
        counts: Counter[str] = Counter()
        try:
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

    def flat(
        self, value: str, candidates: Sequence[int], *, personal: bool, depth: int = 0
    ) -> tuple[str, Counter[str]]:
        """As `text` for a text that is no JSON document, with what `candidates` said of it; may raise.

        depth: how many layers of base64 value was found in.
        """
        counts: Counter[str] = Counter()
        # What stands in place of a secret is as plain as the text was.
        disguised = self._is_disguised(candidates)
        try:
            for number in range(_ROUNDS_MAX):
                hits = self._round(value, disguised, personal, depth, candidates if number == 0 else None)
                if not hits:
                    return value, counts
                value = replaced(value, hits)
                counts.update([hit.rule for hit in hits])
        except TooManyLooks:
            return ENGINE_ERROR_MARKER, Counter({ENGINE_ERROR: 1})
        return ENGINE_ERROR_MARKER, counts + Counter({ENGINE_ERROR: 1})

    def hits(self, value: str, *, personal: bool) -> list[Hit]:
        """What one round hides, ascending and without overlaps. Raises TooManyLooks."""
        candidates = self._candidates(value)
        return self._round(value, self._is_disguised(candidates), personal, 0, candidates)

    def _is_disguised(self, candidates: Sequence[int]) -> bool:
        return bool(candidates) and candidates[-1] == len(self._ready) + _DISGUISED

    def _round(
        self, value: str, disguised: bool, personal: bool, depth: int, candidates: Sequence[int] | None
    ) -> list[Hit]:
        looks = Looks()
        if not disguised:
            found = list(self._in_view(value, personal, looks, depth, candidates))
        else:
            found = []
            for view in views(value):
                known = candidates if view.text is value else None
                for hit in self._in_view(view.text, personal, looks, depth, known):
                    start, end = view.span(hit.start, hit.end)
                    found.append(hit._replace(start=start, end=end))
        return without_overlaps(found) if len(found) > 1 else found

    def _in_view(
        self, text: str, personal: bool, looks: Looks, depth: int, candidates: Sequence[int] | None = None
    ) -> Iterator[Hit]:
        blanked = self._blanked(text)
        if candidates is None or blanked is not text:
            candidates = self._candidates(blanked)
        if not candidates:
            return
        folded = Prepared(fold(blanked), self._matcher)
        rules = len(self._ready)
        for index in candidates:
            if index < rules:
                if personal or index not in self._personal:
                    yield from self._of_rule(self._ready[index], text, folded, looks)
            elif index == rules + _NAMES:
                for start, end, name in self._pairs.find(text, folded, looks):
                    yield self._under(start, end, name)
            elif index == rules + _INSERTS:
                for start, end, name in inserted(text, self.names, looks):
                    if blanked[start:end].strip(FILLER):
                        yield self._under(start, end, name)
            elif index == rules + _ENCODED and depth < _ENCODED_DEPTH_MAX:
                yield from self._encoded(blanked, personal, looks, depth)

    def _of_rule(self, ready: _Ready, text: str, folded: Prepared, looks: Looks) -> Iterator[Hit]:
        rule = ready.rule
        for start, end in _spans(ready, text, folded, looks):
            instead = ready.replace(text[start:end], rule.id, rule.prefixes)
            yield Hit(start, end, rule.id, rule.rule_class, ready.rank, instead)

    def _under(self, start: int, end: int, name: NameRule) -> Hit:
        return Hit(start, end, name.id, name.rule_class, self._ranks[name.id], marker(name.id))

    def _encoded(self, text: str, personal: bool, looks: Looks, depth: int) -> Iterator[Hit]:
        """Runs of base64 that say a secret, hidden whole under its rule."""
        for start, end, said in decoded(text):
            looks.take()
            if self.suspect(said, personal=personal):
                walk = TreeWalk(self, personal=personal, depth=depth + 1)
                hidden = sorted(
                    {(self._class(rule), rule) for rule, _ in walk.string(said, "")[1]}, key=_worst
                )
                if hidden:
                    rule_class, rule = hidden[0]
                    yield Hit(start, end, rule, rule_class, _RANK_ENCODED, marker(rule))

    def _class(self, rule_id: str) -> RuleClass:
        return self._classes.get(rule_id, "secret")

    def _blanked(self, text: str) -> str:
        """text with FILLER for each character that earlier redaction left."""
        if "[" not in text and "…" not in text:
            return text
        pieces: list[str] = []
        last = 0
        for start, end in self._settled(text):
            pieces += (text[last:start], FILLER * (end - start))
            last = end
        if not last:
            return text
        pieces.append(text[last:])
        return "".join(pieces)

    def name(self, name: str, *, personal: bool) -> tuple[str, Mapping[str, int], NameRule | None]:
        """A name of a tree as it may be shown, what was hidden in it, and the rule that drops its value."""
        return (self._known_name if len(name) <= _NAME_CHARS_MAX else self._name)(name, personal)

    def _name(self, name: str, personal: bool) -> tuple[str, Mapping[str, int], NameRule | None]:
        shown, counts = self.text(name, personal=personal, field="")
        return shown, counts, self.names.rule(shown)

    def number(self, digits: str, field: str, *, personal: bool) -> tuple[str, Counter[str]] | None:
        """A number of a tree as masked text, or None when it may stay a number."""
        if len(digits) < _NUMBER_DIGITS_MIN or not digits.isdigit():
            return None
        redacted, counts = self.text(digits, personal=personal, field=field)
        return (redacted, counts) if counts else None


def _worst(hidden: tuple[RuleClass, str]) -> tuple[int, str]:
    return CLASSES.index(hidden[0]), hidden[1]


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


def _spans(ready: _Ready, text: str, folded: Prepared, looks: Looks) -> Iterator[tuple[int, int]]:
    at, rescans = 0, _RESCANS_MAX if ready.rule.rescan else 0
    search = ready.find(folded)
    while (match := search(at)) is not None:
        looks.take()
        match_start, at, start, end = match
        span = _accepted(ready, text, folded.text, start, end)
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
