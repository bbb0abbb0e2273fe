"""Finds the values of a column that may hold something to hide, many of them at once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from otel_audit.exporter.redaction.engine import Redactor

# Ends one value in the joined column. A pattern that crosses it makes two values suspect: that does no harm.
_BETWEEN: Final = b"\n"
# Large enough that a call costs little, small enough that most blocks are innocent.
_BLOCK_BYTES: Final = 8_192
# A suspect block of rows is looked at in parts of so many, these row by row.
_PARTS: Final = 16


class Suspects:
    """Asks a redactor's prefilter about many values of a column at once, then about parts of them."""

    def __init__(self, redactor: Redactor) -> None:
        self._suspect = redactor.suspect_utf8

    def rows(self, values: pa.StringArray, *, personal: bool) -> list[int]:
        """Ascending rows whose text the redactor may change; every other row is certain to be innocent."""
        if values.null_count == len(values):
            return []
        filled = values.fill_null("") if values.null_count else values
        whole = pa.ListArray.from_arrays(pa.array([0, len(filled)], pa.int32()), filled.cast(pa.binary()))
        blob: bytes = pc.binary_join(whole, _BETWEEN)[0].as_py()
        if len(blob) < _BLOCK_BYTES and not self._suspect(blob, personal=personal):
            return []
        lengths = pc.binary_length(filled).to_pylist()
        starts = list(accumulate((length + 1 for length in lengths), initial=0))
        rows = max(_PARTS, len(filled) * _BLOCK_BYTES // len(blob)) if blob else len(filled)
        return list(self._among(blob, starts, range(0, len(filled), rows), len(filled), personal))

    def _among(
        self, blob: bytes, starts: list[int], begins: range, last: int, personal: bool
    ) -> Iterator[int]:
        """The suspects among the rows before `last`, in blocks that begin at `begins`."""
        for begin in begins:
            end = min(begin + begins.step, last)
            block = blob[starts[begin] : starts[end] - 1]
            if not block or not self._suspect(block, personal=personal):
                continue
            if begins.step == 1:
                yield begin
            else:
                step = _PARTS if begins.step > _PARTS else 1
                yield from self._among(blob, starts, range(begin, end, step), end, personal)
