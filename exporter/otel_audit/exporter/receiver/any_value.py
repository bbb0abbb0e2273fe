"""Python values → OTLP values, for records that are made here instead of received."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from .values import DEPTH_MAX

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_SURROGATES: Final = re.compile("[\ud800-\udfff]")


def pairs_of(values: Mapping[str, Any]) -> list[KeyValue]:
    """The attributes of a record or resource, in their order."""
    pairs = []
    for name, value in values.items():
        pair = KeyValue(key=plain_text(str(name)))
        _fill(pair.value, value, 0)
        pairs.append(pair)
    return pairs


def any_value(value: Any) -> AnyValue:
    """One value; what OTLP has no type for (an integer beyond 64 bits, say) becomes text."""
    filled = AnyValue()
    _fill(filled, value, 0)
    return filled


def plain_text(text: str) -> str:
    """`text` as protobuf can carry it: JSON can escape half a surrogate pair."""
    return text if text.isascii() else _SURROGATES.sub("�", text)


def _fill(target: AnyValue, value: Any, depth: int) -> None:
    if value is None:
        return
    if isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, str):
        target.string_value = plain_text(value)
    elif isinstance(value, int) and _INT64_MIN <= value <= _INT64_MAX:
        target.int_value = value
    elif isinstance(value, float):
        target.double_value = value
    elif isinstance(value, bytes):
        target.bytes_value = value
    # One level more than the decoder keeps, so that it sees, and says, that there was more.
    elif isinstance(value, Mapping):
        target.kvlist_value.SetInParent()
        for name, item in value.items() if depth <= DEPTH_MAX else ():
            pair = target.kvlist_value.values.add(key=plain_text(str(name)))
            _fill(pair.value, item, depth + 1)
    elif isinstance(value, Sequence):
        target.array_value.SetInParent()
        for item in value if depth <= DEPTH_MAX else ():
            _fill(target.array_value.values.add(), item, depth + 1)
    else:
        target.string_value = plain_text(str(value))
