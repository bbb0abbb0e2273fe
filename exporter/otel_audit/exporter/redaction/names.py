"""Names whose value is a secret whatever it looks like: password, authorization, api_key, …"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from otel_audit.exporter.redaction.replacement import STANDS_FOR
from otel_audit.exporter.redaction.rules import NameRule
from otel_audit.exporter.redaction.views import views

# Enough for every name an organization's code base has; a flood of new names only makes this slower.
_CACHE_NAMES: Final = 8192
# The end of a name decides, and longer names are data.
_NAME_CHARS_MAX: Final = 256
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_APART: Final = re.compile(r"[\W_]+")
_LAST_PART: Final = re.compile(r"[.\[/:]")
# Words that say how the secret is written, not that it is something else: password_hash, otp_value, …
_SUFFIXES_WORDS: Final = (
    "value values plain plaintext cleartext raw hash hashed md5 sha1 sha256 bcrypt old new current "
    "previous confirm confirmation confirmed repeat again before after header text string base64 b64 "
    "encoded encrypted field input param redacted"
)
_SUFFIXES: Final = frozenset(_SUFFIXES_WORDS.split())
_SUFFIXES_MAX: Final = 4
_FUSED_MIN: Final = 8
# Any option with letters and a space behind it: which names it may have would be tried at every dash.
_OPTION: Final = r"--[_.\[\]-]{0,8}[a-z][a-z0-9_.\[\]-]{0,64}[ ]"
_WORD_PARTS_MAX: Final = 4


class Names:
    """Finds the rule a name falls under. `words` (spaces between parts) match however a name joins them."""

    def __init__(self, rules: Iterable[NameRule]) -> None:
        self._rules = tuple(rules)
        self._single: list[tuple[str, NameRule]] = []
        self._fused: dict[str, NameRule] = {}
        self._exact: dict[str, NameRule] = {}
        for rule in self._rules:
            for word in rule.words:
                fused = word.replace(" ", "")
                self._fused[fused] = rule
                if fused == word or len(fused) >= _FUSED_MIN:
                    self._single.append((fused, rule))
            self._exact.update({word.replace(" ", ""): rule for word in rule.exact})
        self._single.sort(key=lambda item: (-len(item[0]), item[0]))
        self.rule = lru_cache(maxsize=_CACHE_NAMES)(self._rule)

    def prefilter(self) -> tuple[str, ...]:
        """Folded patterns, one of which is in every text with a name that has a rule and may have a value."""
        rules = [rule for rule in self._rules if rule.validator != "never"]
        words = dict.fromkeys(_loose(word) for rule in rules for word in (*rule.words, *rule.exact))
        after = r"""[a-z0-9_.\[\]-]{0,32}[ \t\r\n]{0,4}[\\"'=:>,}\]]"""
        return f"(?:{_by_first(words)}){after}", _OPTION

    def needed(self) -> tuple[str, ...]:
        """Literals one of which is in every match of the first pattern of `prefilter`."""
        rules = [rule for rule in self._rules if rule.validator != "never"]
        words = [word for rule in rules for word in (*rule.words, *rule.exact)]
        fragments = [max(re.findall("[!-~]+", word), key=len, default="") for word in words]
        return tuple(dict.fromkeys(fragments)) if all(fragments) else ()

    def _rule(self, name: str) -> NameRule | None:
        """The rule under which the value of `name` is dropped, or None."""
        if STANDS_FOR.fullmatch(name.partition("#")[0]):
            # What stands in place of a secret names nothing, though it ends like `private_key]`.
            return None
        plain = ""
        for view in views(name[-_NAME_CHARS_MAX:]):
            plain = view.text
        plain = plain.strip()
        last = [part for part in _LAST_PART.split(plain.rstrip("]).:/ ")) if part.strip("]\"' ")]
        last_words = _words(last[-1]) if last else []
        for words in (last_words, _without_suffix(last_words)):
            rule = self._exact.get("".join(words))
            if rule is not None:
                return rule
        return self._by_ending(_without_suffix(_words(plain)))

    def _by_ending(self, words: list[str]) -> NameRule | None:
        if not words:
            return None
        for count in range(min(_WORD_PARTS_MAX, len(words)), 0, -1):
            rule = self._fused.get("".join(words[-count:]))
            if rule is not None:
                return rule
        for word, rule in self._single:
            if words[-1].endswith(word):
                return rule
        return None


def _by_first(words: Iterable[str]) -> str:
    """Alternatives grouped by their first letter: `re` tries all branches at every character."""
    groups: dict[str, list[str]] = {}
    for word in words:
        groups.setdefault(word[0] if word[0].isalnum() else "", []).append(word)
    return "|".join(
        f"{first}(?:{'|'.join(w[len(first) :] for w in group)})" for first, group in groups.items()
    )


def _loose(word: str) -> str:
    """A pattern for the word however its parts are joined; what is not ASCII is any character."""
    return re.sub("[^!-~]", lambda char: "[^a-z0-9]{0,3}" if char.group() == " " else "[^ -~]", word)


def _words(name: str) -> list[str]:
    return [word for word in _APART.split(_CAMEL.sub(" ", name).lower()) if word]


def _without_suffix(words: list[str]) -> list[str]:
    kept = list(words)
    for _ in range(_SUFFIXES_MAX):
        if len(kept) > 1 and (kept[-1] in _SUFFIXES or kept[-1].isdigit()):
            kept.pop()
    if kept:
        kept[-1] = kept[-1].rstrip("0123456789") or kept[-1]
    return kept
