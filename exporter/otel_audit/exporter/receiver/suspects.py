"""Finds the values of a column that may hold something to hide, in one pass over all of them."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from otel_audit.exporter.redaction.engine import Redactor
from otel_audit.exporter.redaction.matching import compile_pattern

# Ends one value in the joined column. Where a pattern crosses it, two values are suspect: that does no harm.
_BETWEEN: Final = "\n"


class Suspects:
    """One RE2 automaton of all anchors a kind of column, compiled once."""

    def __init__(self, redactor: Redactor) -> None:
        self._patterns = {
            p: compile_pattern(redactor.prefilter(personal=p).encode(), "re2") for p in (False, True)
        }

    def rows(self, values: pa.StringArray, *, personal: bool) -> list[int]:
        """Ascending rows whose text the redactor may change; every other row is certain to be innocent."""
        if values.null_count == len(values):
            return []
        filled = values.fill_null("") if values.null_count else values
        lengths = pc.binary_length(filled).to_pylist()
        whole = pa.ListArray.from_arrays(pa.array([0, len(filled)], pa.int32()), filled.cast(pa.binary()))
        blob: bytes = pc.binary_join(whole, _BETWEEN.encode())[0].as_py()
        return _rows_of(self._patterns[personal], blob, lengths)


def _rows_of(pattern: Any, blob: bytes, lengths: list[int]) -> list[int]:
    rows: list[int] = []
    starts: list[int] = []
    after = at = 0
    while (match := pattern.search(blob, at)) is not None:
        starts = starts or [0, *accumulate(length + 1 for length in lengths[:-1])]
        # A match may cross the end of a value: then it says nothing of the next one, which counts as found.
        first, last = bisect_right(starts, match.start()) - 1, bisect_right(starts, match.end()) - 1
        rows.extend(range(max(first, after), last + 1))
        after = last + 1
        if after == len(starts):
            break
        at = starts[after]
    return [row for row in rows if lengths[row]]
