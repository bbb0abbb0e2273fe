"""OTLP values as Python values, as JSON text, and as the bytes a record's digest is made of."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import struct
from collections.abc import Iterable, Mapping
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

DEPTH_MAX: Final = 24
"""Levels of nesting that are kept, the same over every protocol; protobuf parsers stop at about 31."""
TOO_DEEP: Final = "[nested too deeply]"
# A NUL ends the text for many programs that read Parquet or CSV; a lone surrogate is no UTF-8.
_UNUSABLE: Final = re.compile("[\x00\ud800-\udfff]")
_REPLACEMENT: Final = "�"
_NAN: Final = struct.pack(">d", math.nan)


def clean_text(text: str) -> str:
    """`text` as valid UTF-8 without NUL."""
    if text.isascii() and "\0" not in text:
        return text
    return _UNUSABLE.sub(_REPLACEMENT, text)


def raw_map(pairs: Iterable[KeyValue], depth: int = 0) -> dict[str, Any]:
    """Attributes as a dict of str, bool, int, float, bytes, None, list, dict, exactly as received.

    A name that comes more than once gets the list of its values: none is lost, and none is believed.
    """
    found: dict[str, Any] = {}
    repeated: set[str] = set()
    for pair in pairs:
        name, value = pair.key, raw_value(pair.value, depth)
        if name not in found:
            found[name] = value
        elif name in repeated:
            found[name].append(value)
        else:
            repeated.add(name)
            found[name] = [found[name], value]
    return found


def raw_value(value: AnyValue, depth: int = 0) -> Any:
    """One value as received; containers below DEPTH_MAX levels become the text TOO_DEEP."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        if depth >= DEPTH_MAX:
            return TOO_DEEP
        return [raw_value(item, depth + 1) for item in value.array_value.values]
    if kind == "kvlist_value":
        return TOO_DEEP if depth >= DEPTH_MAX else raw_map(value.kvlist_value.values, depth + 1)
    return getattr(value, kind)


def json_value(value: Any, depth: int = 0) -> Any:
    """`value` as JSON can carry it: bytes as base64, NaN and infinities as text, no NUL, bounded depth."""
    if isinstance(value, str):
        return clean_text(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _not_finite(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if depth >= DEPTH_MAX:
        return TOO_DEEP
    if isinstance(value, Mapping):
        return {clean_text(name): json_value(item, depth + 1) for name, item in value.items()}
    return [json_value(item, depth + 1) for item in value]


def json_text(value: Any) -> str:
    """Compact JSON of a value that `json_value` has made."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def digest_of(values: Iterable[Any]) -> Any:
    """A SHA-256 object fed with the canonical form of raw values; copy() it to go on in two ways.

    Every value is its type's letter and its content, lengths in front, maps sorted by name: two records have
    the same form exactly when they say the same, whatever protocol brought them.
    """
    digest = hashlib.sha256()
    out = bytearray()
    for value in values:
        _canonical(value, out)
    digest.update(out)
    return digest


def _canonical(value: Any, out: bytearray) -> None:
    if isinstance(value, str):
        encoded = value.encode("utf-8")
        out += b"s%d:" % len(encoded)
        out += encoded
    elif value is None:
        out += b"n"
    elif isinstance(value, bool):
        out += b"t" if value else b"f"
    elif isinstance(value, int):
        out += b"i%d;" % value
    elif isinstance(value, float):
        out += b"d"
        out += _NAN if math.isnan(value) else struct.pack(">d", value)
    elif isinstance(value, bytes):
        out += b"b%d:" % len(value)
        out += value
    elif isinstance(value, dict):
        out += b"m%d:" % len(value)
        for name in sorted(value):
            _canonical(name, out)
            _canonical(value[name], out)
    else:
        out += b"l%d:" % len(value)
        for item in value:
            _canonical(item, out)


def _not_finite(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
