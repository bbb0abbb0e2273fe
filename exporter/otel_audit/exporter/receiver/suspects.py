"""Finds the values of a column that may hold something to hide, in one pass over all of them."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import Any, Final

from otel_audit.exporter.redaction.engine import Redactor
from otel_audit.exporter.redaction.matching import compile_pattern, union

# A byte no rule crosses and no value needs; it ends one value in the joined column.
_BETWEEN: Final = "\x00"


class Suspects:
    """One RE2 automaton of all anchors a kind of column, compiled once."""

    def __init__(self, redactor: Redactor) -> None:
        self._patterns = {
            p: compile_pattern(union(*redactor.prefilter(personal=p)), "re2") for p in (False, True)
        }

    def rows(self, values: list[str | None], *, personal: bool) -> list[int]:
        """Ascending rows whose text the redactor may change; every other row is certain to be innocent."""
        texts = [value or "" for value in values]
        joined = _BETWEEN.join(texts)
        blob = joined.encode().lower()
        if len(blob) == len(texts) - 1:
            return []
        match = self._patterns[personal].search(blob)
        if match is None:
            return []
        plain = len(blob) == len(joined)
        lengths = [len(text) if plain else len(text.encode()) for text in texts]
        return _rows_of(self._patterns[personal], match, blob, lengths)


def _rows_of(pattern: Any, match: Any, blob: bytes, lengths: list[int]) -> list[int]:
    starts = [0, *accumulate(length + 1 for length in lengths[:-1])]
    rows: list[int] = []
    after = 0
    while match is not None:
        # A match may cross the end of a value: then it says nothing of the next one, which counts as found.
        first, last = bisect_right(starts, match.start()) - 1, bisect_right(starts, match.end()) - 1
        rows.extend(range(max(first, after), last + 1))
        after = last + 1
        if after == len(starts):
            break
        # From the separator on, because a pattern may ask what stands before a word.
        match = pattern.search(blob, starts[after] - 1)
    return [row for row in rows if lengths[row]]
