"""Finding the passages that answer a question: Okapi BM25 over the stored texts, no model."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

PASSAGE_CHARS_MAX: Final = 400
PASSAGES_MAX: Final = 5_000
"""Scored in about 50 ms; a real product would keep an index."""
_K1: Final = 1.2
_B: Final = 0.75
_SHARE_MIN: Final = 0.6
"""Passages far behind the best one share a common word with the question and nothing else."""
_WORD: Final = re.compile(r"\w{2,40}")
_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+|\n+")
_COMMON: Final = frozenset(
    {
        "the",
        "and",
        "for",
        "are",
        "is",
        "was",
        "what",
        "which",
        "how",
        "who",
        "when",
        "where",
        "does",
        "did",
        "can",
    }
    | {"may", "must", "our", "your", "with", "from", "that", "this"}
)


@dataclass(frozen=True, slots=True)
class Document:
    """Something that can be found. kind: `file` or `qa_pair`."""

    kind: str
    id: str
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A few sentences of a document and how well they fit the question."""

    document: Document
    text: str
    score: float


def retrieve(question: str, documents: Iterable[Document], *, limit: int = 3) -> list[Passage]:
    """The best passages, best first; empty when no word of the question occurs anywhere."""
    passages = [(d, text) for d in documents for text in split(d.text)][:PASSAGES_MAX]
    counts = [Counter(words(f"{document.name} {text}")) for document, text in passages]
    mean = sum(map(Counter.total, counts)) / len(counts) if counts else 1.0
    asked = set(words(question))
    rarity = {word: _rarity(sum(1 for count in counts if word in count), len(counts)) for word in asked}
    scored = [
        Passage(
            document, text, sum(rarity[word] * _weight(count[word], count.total() / mean) for word in asked)
        )
        for (document, text), count in zip(passages, counts, strict=True)
    ]
    best = max((passage.score for passage in scored), default=0.0)
    found = [passage for passage in scored if passage.score > 0 and passage.score >= _SHARE_MIN * best]
    return sorted(found, key=lambda passage: -passage.score)[:limit]


def compose(passages: Sequence[Passage]) -> str:
    """An answer made of the passages' own words."""
    if not passages:
        return "Nothing in the documents answers this."
    return " ".join(dict.fromkeys(passage.text for passage in passages))


def split(text: str) -> list[str]:
    """Sentences joined up to PASSAGE_CHARS_MAX."""
    passages: list[str] = []
    for sentence in filter(None, (part.strip() for part in _SENTENCE.split(text))):
        if passages and len(passages[-1]) + len(sentence) < PASSAGE_CHARS_MAX:
            passages[-1] += f" {sentence}"
        else:
            passages.append(sentence)
    return passages


def words(text: str) -> list[str]:
    """What counts as a word, in lower case."""
    return [word for word in _WORD.findall(text.lower()) if word not in _COMMON]


def _rarity(found_in: int, all_of: int) -> float:
    return math.log(1 + (all_of - found_in + 0.5) / (found_in + 0.5))


def _weight(count: int, length: float) -> float:
    return count * (_K1 + 1) / (count + _K1 * (1 - _B + _B * length)) if count else 0.0
