"""Finds the values of a column that may hold something to hide, many of them at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
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

Test = Callable[[bytes], bool]
Columns = Mapping[str, pa.StringArray]


class Suspects:
    """Asks a redactor's automata about many values at once, then about parts of them.

    One automaton after the other, each over all columns: its tables then stay in the processor's cache.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._tests = {personal: redactor.tests_utf8(personal=personal) for personal in (False, True)}

    def rows(self, plain: Columns, free: Columns) -> dict[str, list[int]]:
        """Column → ascending rows whose text the redactor may change; all others are certain to be innocent.

        plain: columns without personal rules. They hold nothing in most batches and are asked as one.
        free: columns with personal rules.
        """
        found: dict[str, set[int]] = {}
        together = [values for values in plain.values() if values.null_count < len(values)]
        all_plain = _Texts(pa.concat_arrays(together)) if together else None
        plain_texts: dict[str, _Texts] | None = None
        free_texts = {
            name: _Texts(values) for name, values in free.items() if values.null_count < len(values)
        }
        for plain_test, free_test in zip(self._tests[False], self._tests[True], strict=True):
            if all_plain is not None and plain_test(all_plain.blob):
                plain_texts = plain_texts or {name: _Texts(values) for name, values in plain.items()}
                for name, texts in plain_texts.items():
                    found.setdefault(name, set()).update(texts.rows(plain_test))
            for name, texts in free_texts.items():
                found.setdefault(name, set()).update(texts.rows(free_test))
        return {name: sorted(rows) for name, rows in found.items() if rows}


class _Texts:
    """The values of a column as one text."""

    def __init__(self, values: pa.StringArray) -> None:
        filled = values.fill_null("") if values.null_count else values
        whole = pa.ListArray.from_arrays(pa.array([0, len(filled)], pa.int32()), filled.cast(pa.binary()))
        self.blob: bytes = pc.binary_join(whole, _BETWEEN)[0].as_py()
        self._values = filled

    @cached_property
    def _starts(self) -> list[int]:
        lengths = pc.binary_length(self._values).to_pylist()
        return list(accumulate((length + 1 for length in lengths), initial=0))

    def rows(self, test: Test) -> Iterator[int]:
        """The rows that pass."""
        count = len(self._values)
        step = max(_PARTS, count * _BLOCK_BYTES // max(1, len(self.blob)))
        return _rows(test, self.blob, self._starts, range(0, count, step), count)


def _rows(test: Test, blob: bytes, starts: list[int], begins: range, last: int) -> Iterator[int]:
    """The rows before `last` that pass, in blocks that begin at `begins`."""
    for begin in begins:
        end = min(begin + begins.step, last)
        block = blob[starts[begin] : starts[end] - 1]
        if not block or not test(block):
            continue
        if begins.step == 1:
            yield begin
        else:
            step = _PARTS if begins.step > _PARTS else 1
            yield from _rows(test, blob, starts, range(begin, end, step), end)
