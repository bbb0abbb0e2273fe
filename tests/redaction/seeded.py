"""Secrets of every rule and of every sensitive name, made at run time from templates."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import NamedTuple

from otel_audit.exporter.redaction import RuleSet
from tests.support.redaction_corpus import Corpus

# What must be gone: shorter parts of a template are names and ports.
_PART_CHARS_MIN = 4
# Of a long secret its middle must be gone, not only the whole of it.
_MIDDLE_CHARS = 32
# Which validators tell a secret by the case of its letters: there, another case is another text.
_CASE_WORDS = "jwt upper upper_digits upper_prefix mixed opaque random typed aws_secret basic discord"
CASE_VALIDATORS = frozenset(_CASE_WORDS.split(" "))
NAME_TEMPLATES = (
    "{}={A-Za-z0-9:14}",
    "{}: {A-Za-z0-9:16}",
    '"{}": "{A-Za-z0-9:20}"',
    "{}='{A-Za-z:8}!{0-9:4}'",
    "user=bob&{}={A-Za-z0-9_-:24}&next=1",
)


class Seeded(NamedTuple):
    """One text with one secret in it. case_matters: its rule looks at upper and lower case."""

    rule: str
    rule_class: str
    text: str
    secret: str
    case_matters: bool


def seeded(rules: RuleSet, seed: int, per_rule: int) -> Iterator[Seeded]:
    """per_rule texts of every rule, its templates in turn, and as many of every sensitive name."""
    corpus = Corpus(seed)
    for rule in rules.rules:
        for index in range(per_rule):
            text, parts = corpus.secrets(rule.positive[index % len(rule.positive)], _PART_CHARS_MIN)
            yield Seeded(
                rule.id,
                rule.rule_class,
                text,
                _middle(max(parts, key=len, default=text)),
                rule.validator in CASE_VALIDATORS,
            )
    for name in rules.names:
        words = [word for word in (*name.words, *name.exact) if word.isascii() and name.validator != "never"]
        for index in range(per_rule if words else 0):
            word = corpus.random.choice(words)
            if name.validator:
                word = f"acme {word}"
            template = NAME_TEMPLATES[index % len(NAME_TEMPLATES)]
            text, parts = corpus.secrets(template.replace("{}", _joined(word, corpus.random)))
            yield Seeded(f"name {name.id}", name.rule_class, text, max(parts, key=len), bool(name.validator))


def _middle(secret: str) -> str:
    start = max(0, (len(secret) - _MIDDLE_CHARS) // 2)
    return secret[start : start + _MIDDLE_CHARS]


def _joined(word: str, source: random.Random) -> str:
    parts = re.split("[ ']", word)
    kind = source.randrange(5)
    if kind == 0:
        return parts[0] + "".join(part.title() for part in parts[1:])
    if kind == 1:
        return "_".join(parts).upper()
    return ("_", "-", "_")[kind - 2].join(parts)
