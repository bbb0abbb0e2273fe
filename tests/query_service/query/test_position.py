"""Positions and cursors: they come back as they went, and anything else is refused."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_audit.query_service.position import (
    InvalidPosition,
    Key,
    Position,
    decode_cursor,
    decode_position,
    encode_cursor,
    encode_position,
)

text = st.text(st.characters(codec="utf-8"), max_size=40)
numbers = st.integers(0, 2**63 - 1)
moments = st.datetimes(timezones=st.just(UTC))
positions = st.builds(Position, st.dictionaries(text, numbers, max_size=4), moments)
keys = st.builds(Key, st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999), text, text, numbers)


@given(positions, keys)
def test_positions_and_cursors_come_back_as_they_went(position: Position, key: Key) -> None:
    assert decode_position(encode_position(position)) == position
    assert decode_cursor(encode_cursor(key, position)) == (key, position)


def opaque(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "%%%", "é", "e30", "A" * 200_000, opaque([]), opaque([1]),
        opaque([True, {}]), opaque([1, []]),
        opaque([1, {"w": -1}]), opaque([1, {"w": 2**63}]), opaque([1, {"w": "1"}]), opaque([10**20, {}]),
        opaque([1, {"w": True}]), opaque([1, {str(n): n for n in range(1001)}]), opaque([1, {}, []]),
        opaque([1, {}, [1, "a", "b", -1]]), opaque([1, {}, [1, 2, "b", 1]]),
        opaque([1, {}, [10**30, "", "", 1]]),
        opaque([1, {}, [1, "\ud800", "b", 1]]), base64.urlsafe_b64encode(b"[" * 60_000).decode().rstrip("="),
    ],
)  # fmt: skip
def test_what_was_not_made_here_is_refused(text: str) -> None:
    with pytest.raises(InvalidPosition):
        decode_position(text)
    with pytest.raises(InvalidPosition):
        decode_cursor(text)


def test_a_position_says_nothing_that_a_url_cannot_carry() -> None:
    text = encode_position(Position({"w-1": 10**12}, datetime(2026, 3, 1, tzinfo=UTC)))
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
