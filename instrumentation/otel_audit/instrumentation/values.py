"""Makes any Python value one that OpenTelemetry can carry, without losing the event it belongs to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from datetime import date, datetime, time
from enum import Enum
from typing import Any, Final

DEPTH_MAX: Final = 16
"""Deeper levels travel as text: protobuf parsers stop at 100 messages, and a map level takes three."""
VALUES_MAX: Final = 4096
"""Values an event may hold; what comes after is left out. It also ends values that contain themselves."""
TEXT_CHARS_MAX: Final = 65_536
"""Longer texts are cut and say so: one huge value must not make a whole batch too large to accept."""

CHARS_MAX: Final = 262_144
"""Characters of all texts of one map: an event stays below 3 MiB, a receiver's usual limit is 4."""

# What ends a word, and how long one may be: a longer run is data, and may be cut anywhere.
_APART: Final = re.compile(r"""[\s"'&,;<>]""")
_LAST_WORD: Final = re.compile(r"""[^\s"'&,;<>]+\Z""")
_WORD_CHARS_MAX: Final = 256
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1


def beginning(text: str, chars: int) -> str:
    """At most `chars` of text, without a word that the cut would split: half a secret looks like none."""
    kept = text[:chars]
    if len(text) <= chars or _APART.match(text, chars):
        return kept
    split = _LAST_WORD.search(kept, max(0, chars - _WORD_CHARS_MAX))
    return kept[: split.start()] if split and split.start() > chars - _WORD_CHARS_MAX else kept


def clean_text(text: str) -> str:
    """`text` as UTF-8 can carry it, at most TEXT_CHARS_MAX characters and a mark of what was cut."""
    if len(text) > TEXT_CHARS_MAX:
        kept = beginning(text, TEXT_CHARS_MAX)
        text = f"{kept}…[{len(text) - len(kept)} more characters]"
    # A lone surrogate makes protobuf refuse the whole batch.
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def clean_map(values: Mapping[Any, Any]) -> dict[str, Any]:
    """`values` with text keys and OpenTelemetry values only; None values are left out."""
    return _Cleaner().map(values, 0)


class _Cleaner:
    """One walk over a value, counting what it has seen."""

    def __init__(self) -> None:
        self._left = VALUES_MAX
        self._chars_left = CHARS_MAX

    def _text(self, text: str) -> str:
        text = clean_text(text)
        if len(text) > self._chars_left:
            text = f"{beginning(text, self._chars_left)}…[cut]"
        self._chars_left = max(0, self._chars_left - len(text))
        return text

    def map(self, values: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        cleaned: dict[str, Any] = {}
        for key, value in values.items():
            if self._left <= 0:
                break
            name = self._text(_text_of(key))
            if name and value is not None:
                cleaned[name] = self.value(value, depth + 1)
        return cleaned

    def value(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if isinstance(value, Enum):
            value = value.value
        if value is None or isinstance(value, (bool, bytes)):
            return value
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, int):
            return int(value) if _INT64_MIN <= value <= _INT64_MAX else str(value)
        if isinstance(value, float):
            return float(value) if value - value == 0 else str(value)
        if depth < DEPTH_MAX:
            if isinstance(value, Mapping):
                return self.map(value, depth)
            if isinstance(value, Set):
                return self._list(sorted(value, key=_text_of), depth)
            if isinstance(value, Sequence) and not isinstance(value, (bytearray, memoryview)):
                return self._list(value, depth)
        return self._text(_text_of(value))

    def _list(self, values: Sequence[Any], depth: int) -> list[Any]:
        cleaned: list[Any] = []
        for value in values:
            if self._left <= 0:
                break
            cleaned.append(self.value(value, depth + 1))
        return cleaned


def _text_of(value: Any) -> str:
    if isinstance(value, str):
        return str(value.value) if isinstance(value, Enum) else value
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - any class may break its own __str__; the event still has to go out
        return f"[unprintable {type(value).__name__}]"
