"""Positions and cursors: how far a reader has come, as text that only this module reads."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from otel_audit.instrumentation.errors import AuditError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
# A region root gets a new writer only after a restore, so this is far more than it will ever have.
_WRITERS_MAX: Final = 1_000
_CHARACTERS_MAX: Final = 100_000
_INT64_MAX: Final = 2**63 - 1
# Times beyond these are no datetime.
_MICROS_MAX: Final = 253_402_300_799_999_999
_MICROS_MIN: Final = -62_135_596_800_000_000


class InvalidPosition(AuditError):
    """A position or cursor that this service did not make."""

    def __init__(self, what: str) -> None:
        super().__init__(f"not a valid {what}", hint=f"leave {what} out to start anew")


class Key(NamedTuple):
    """Where an event stands in the total order. time_us: µs since 1970-01-01 UTC.

    Two events may share time and id (flag `id_conflict`), so writer and seq end the order.
    """

    time_us: int
    event_id: str
    writer: str
    seq: int


@dataclass(frozen=True, slots=True)
class Position:
    """Everything up to here has been seen. writers: writer → highest sequence number; taken: when."""

    writers: Mapping[str, int]
    taken: datetime


def micros(moment: datetime) -> int:
    """An aware datetime as µs since 1970-01-01 UTC."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(time_us: int) -> datetime:
    """µs since 1970-01-01 UTC as an aware datetime."""
    return _EPOCH + time_us * _MICROSECOND


def encode_position(position: Position) -> str:
    return _encode([micros(position.taken), dict(position.writers)])


def decode_position(text: str, *, what: str = "as_of") -> Position:
    """Raises InvalidPosition naming `what`, the parameter it came in."""
    return _position(_decode(text, 2, what), what)


def encode_cursor(key: Key, position: Position) -> str:
    return _encode([micros(position.taken), dict(position.writers), list(key)])


def decode_cursor(text: str) -> tuple[Key, Position]:
    """Raises InvalidPosition."""
    parts = _decode(text, 3, "cursor")
    match parts[2]:
        case [int(time_us), str(event_id), str(writer), int(seq)] if (
            _MICROS_MIN <= time_us <= _MICROS_MAX and 0 <= seq <= _INT64_MAX
        ):
            return Key(time_us, event_id, writer, seq), _position(parts, "cursor")
    raise InvalidPosition("cursor")


def _position(parts: list[Any], what: str) -> Position:
    taken, writers = parts[0], parts[1]
    # bool is an int to Python, but not to us.
    if type(taken) is not int or not _MICROS_MIN <= taken <= _MICROS_MAX or type(writers) is not dict:
        raise InvalidPosition(what)
    if len(writers) > _WRITERS_MAX or not all(
        type(seq) is int and 0 <= seq <= _INT64_MAX for seq in writers.values()
    ):
        raise InvalidPosition(what)
    return Position(writers, moment(taken))


def _encode(parts: list[Any]) -> str:
    text = json.dumps(parts, separators=(",", ":"), ensure_ascii=True)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(text: str, length: int, what: str) -> list[Any]:
    if len(text) > _CHARACTERS_MAX:
        raise InvalidPosition(what)
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        parts = json.loads(data)
        # An escaped lone surrogate is JSON, but no text that a query could be given.
        json.dumps(parts, ensure_ascii=False).encode()
    except (binascii.Error, ValueError, RecursionError):
        raise InvalidPosition(what) from None
    if type(parts) is not list or len(parts) != length:
        raise InvalidPosition(what)
    return parts
