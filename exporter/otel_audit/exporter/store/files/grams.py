"""Which four-letter pieces occur in a file's free text, so that a search for other text passes it by.

One bit a hash of four ASCII bytes, over the lower-case distinct values of FREE_TEXT. A text that is in the
file has all its pieces set; a text that is nowhere nearly always lacks one. Pieces with other
characters are not kept and not asked for.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..schema import FREE_TEXT

# 64 KiB: four-letter pieces of a day's text of one organization fill a quarter of it.
_BITS_MAX_LOG2: Final = 19
_BITS_MIN_LOG2: Final = 10
# Below it reading the rows costs no more than the lookup.
_ROWS_MIN: Final = 1_000
_PIECE: Final = 4
_MULTIPLIER: Final = np.uint32(0x9E3779B1)
_NOT_ASCII: Final = np.uint32(0x80808080)


class GramFilter:
    """Makes the filter of a file's rows as they come. rows: how many there will be."""

    def __init__(self, rows: int) -> None:
        self._pays = rows >= _ROWS_MIN
        self._bits = np.zeros(1 << _BITS_MAX_LOG2 if self._pays else 0, np.bool_)

    def add(self, rows: pa.Table) -> None:
        if not self._pays:
            return
        for name in FREE_TEXT:
            values = pc.utf8_lower(pc.unique(rows[name]).drop_null()).cast(pa.binary()).to_pylist()
            # 0xFF is in no UTF-8 text, so pieces across two values are none.
            self._bits[_hashes(b"\xff".join(values), _BITS_MAX_LOG2)] = True

    def encode(self) -> bytes:
        """The filter's bytes; empty when it would not pay."""
        if not self._pays:
            return b""
        bits: np.ndarray[Any, np.dtype[np.bool_]] = self._bits
        # Halve it while it stays sparse: the hash is a number's top bits, so neighbours fold together.
        while len(bits) > 1 << _BITS_MIN_LOG2 and 8 * np.count_nonzero(bits) < len(bits):
            bits = np.logical_or(bits[::2], bits[1::2])
        return np.packbits(bits, bitorder="little").tobytes()


def may_contain(bits: memoryview, text: str) -> bool:
    """Whether a file with this filter can hold `text` in a free-text column, upper and lower case alike."""
    if not len(bits):
        return True
    size_log2 = (8 * len(bits)).bit_length() - 1
    lowered = pc.utf8_lower(pa.scalar(text)).as_py().encode()
    return all(bits[number >> 3] >> (number & 7) & 1 for number in _hashes(lowered, size_log2).tolist())


def _hashes(text: bytes, size_log2: int) -> np.ndarray[Any, np.dtype[np.uint32]]:
    codes = np.frombuffer(text, np.uint8).astype(np.uint32)
    if len(codes) < _PIECE:
        return np.empty(0, np.uint32)
    pieces = codes[:-3] | codes[1:-2] << 8 | codes[2:-1] << 16 | codes[3:] << 24
    pieces = pieces[(pieces & _NOT_ASCII) == 0]
    hashes: np.ndarray[Any, np.dtype[np.uint32]] = pieces * _MULTIPLIER >> np.uint32(32 - size_log2)
    return hashes
