"""JSON that every parser takes, whatever an emitter put into an event."""

from __future__ import annotations

import json
import math
from typing import Any


def encode_json(content: Any) -> bytes:
    """`content` as compact JSON, ASCII only: lone surrogates and line separators leave as escapes.

    Numbers that JSON has no word for (an emitter's 1e999) become text.
    """
    try:
        return _dump(content)
    except ValueError:
        return _dump(_finite(content))


def _dump(content: Any) -> bytes:
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
