"""One secret of every rule and of every sensitive name, with what must be found of it nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from otel_audit.exporter.redaction import RuleSet
from otel_audit.exporter.redaction.rules import NameRule, Rule
from tests.support.redaction_corpus import Corpus

# Shorter parts of a template are users, hosts and numbers of keys, unless nothing in it is longer.
_PART_CHARS_MIN = 12
# Fewer digits stand in times and counters by chance.
_DIGITS_MIN = 9
# What is searched for: short enough to tell that a piece of a long secret has survived.
_PIECE_CHARS = 12
# Anything else is written differently by JSON, HTML, CSV and URLs.
_SPELLED_ALIKE = re.compile(r"[A-Za-z0-9+/=_.:@-]{8,}")
_NUMBER = re.compile(r"[+(]?[0-9][0-9 ()./-]*[0-9]")
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9 ]*[0-9]", re.IGNORECASE)
_LAST_FOUR = 4
_BESIDE_CHARS = 6
_WORD = np.dtype("<u8")


class Canary(NamedTuple):
    """A text with a secret in it. hidden: pieces of it that no mask shows. name, value: the
    sensitive name and what stands under it; turned round, the value is another secret."""

    rule: str
    personal: bool
    text: str
    hidden: tuple[str, ...]
    name: str = ""
    value: str = ""


class Needles:
    """Looks for the hidden pieces of all canaries at once."""

    def __init__(self, canaries: Iterable[Canary]) -> None:
        self._of = {piece.encode(): canary for canary in canaries for piece in canary.hidden}
        assert min(map(len, self._of)) >= _WORD.itemsize
        self._keys = np.unique(np.frombuffer(b"".join(piece[:8] for piece in self._of), _WORD))

    def found(self, data: bytes) -> set[tuple[str, str]]:
        """(rule, piece) of what is there. Every eight bytes are compared with the pieces' first eight."""
        starts: set[bytes] = set()
        for offset in range(min(8, len(data) - 7)):
            words = np.frombuffer(data, _WORD, (len(data) - offset) // 8, offset)
            nearest = self._keys[np.searchsorted(self._keys, words) % len(self._keys)]
            starts.update(word.tobytes() for word in np.unique(words[nearest == words]))
        there = (piece for piece in self._of if piece[:8] in starts and piece in data)
        return {(self._of[piece].rule, piece.decode()) for piece in there}


def canaries(rules: RuleSet, corpus: Corpus, turn: int) -> Iterator[Canary]:
    """One of every rule that is on, of its templates the turn-th, and one of every sensitive name."""
    for rule in rules.rules:
        yield of_rule(rule, corpus, turn)
    for name in rules.names:
        if name.validator != "never":
            yield _of_name(name, corpus, turn)


def of_rule(rule: Rule, corpus: Corpus, turn: int) -> Canary:
    """Made from one of the rule's own positive templates."""
    template = rule.positive[turn % len(rule.positive)]
    text, parts = corpus.secrets(template, 1)
    if rule.rule_class == "personal":
        return Canary(rule.id, True, text, (_unmasked(rule, text),))
    longest = max(parts, key=len)
    cut = _LAST_FOUR if rule.replace == "mask_key" else 0
    # Numbers in it are accounts and times; what every secret of the template says is its format.
    secret = [part for part in parts if len(part) >= _PART_CHARS_MIN and not part.isdigit()] or [longest]
    always = corpus.expand(template)
    pieces = [piece for part in secret for piece in _pieces(part[: len(part) - cut]) if piece not in always]
    return Canary(rule.id, False, text, tuple(pieces or _short(text, longest)))


def _of_name(rule: NameRule, corpus: Corpus, turn: int) -> Canary:
    word = rule.words[turn % len(rule.words)]
    name = f"acme_{word}".replace(" ", "_").replace("'", "_")
    value = corpus.expand("{A-Za-z0-9:20}")
    return Canary(rule.id, False, f"{name}={value}", (*_pieces(value), *_pieces(value[::-1])), name, value)


def _unmasked(rule: Rule, text: str) -> str:
    """Of personal data what lies between the ends that its mask shows."""
    if rule.replace == "mask_email":
        return str(re.findall(r"[^ <@]([^ <@]*@[a-z.]*)", text)[0])
    shape = _IBAN if rule.replace == "mask_iban" else _NUMBER
    secret = str(shape.findall(text)[0])
    if rule.replace == "mask_phone":
        between = secret[3:-2]
        return between if len(between) >= _DIGITS_MIN else secret[:-2]
    return secret[2 if rule.replace == "mask_iban" else 0 : -_LAST_FOUR]


def _short(text: str, secret: str) -> Iterator[str]:
    """A short code is found by chance; with what stands beside it, it is not."""
    start = text.index(secret)
    end = start + len(secret)
    beside = (text[max(0, start - _BESIDE_CHARS) : end], text[start : end + _BESIDE_CHARS])
    return (piece for piece in beside if len(piece) >= _WORD.itemsize)


def _pieces(secret: str) -> Iterator[str]:
    for run in _SPELLED_ALIKE.findall(secret):
        for start in range(0, len(run), _PIECE_CHARS):
            # The last piece is as long as the others.
            yield run[max(0, min(start, len(run) - _PIECE_CHARS)) :][:_PIECE_CHARS]
