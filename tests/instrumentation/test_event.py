from __future__ import annotations

import enum
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_audit.instrumentation.event import AuditEvent, InvalidEvent
from otel_audit.instrumentation.ids import uuid7
from otel_audit.instrumentation.values import CHARS_MAX, DEPTH_MAX, TEXT_CHARS_MAX, VALUES_MAX, clean_map
from otel_audit.instrumentation.vocabulary import Category, Severity


def make(**given: Any) -> AuditEvent:
    facts: dict[str, Any] = {
        "record_id": uuid7(),
        "time_unix_nano": 1,
        "category": "data_access",
        "action": "read",
    }
    return AuditEvent(**facts | given)


def test_an_event_carries_every_field_under_its_attribute_name() -> None:
    record_id, request_id = uuid7(), uuid7()
    event = make(
        record_id=record_id.upper(), action="update", severity=Severity.WARNING,
        category=Category.DATA_ACCESS,
        user_id=7, user_email="ann@example.com", user_name="Ann", user_type="user", user_roles=["admin"],
        on_behalf_of="u-9", client_address="192.0.2.7", user_agent="curl/8", session_id="s-1",
        target_type="file", target_id=81, target_name="Q3.xlsx", changes={"name": ("Q2.xlsx", "Q3.xlsx")},
        request_id=request_id.replace("-", ""), http_method="PUT", http_route="/files/{id}", http_status=200,
        retention_class="standard", tenant="acme", attributes={"size": 12, "absent": None},
    )  # fmt: skip
    assert event.event_name == "audit.data_access.update"
    assert event.to_attributes() == {
        "audit.record.id": record_id, "audit.category": "data_access", "audit.action": "update",
        "audit.outcome": "success", "audit.actor.id": "7", "audit.actor.type": "user",
        "audit.actor.on_behalf_of": "u-9", "user.email": "ann@example.com", "user.name": "Ann",
        "user.roles": ["admin"], "client.address": "192.0.2.7", "user_agent.original": "curl/8",
        "session.id": "s-1", "audit.target.type": "file", "audit.target.id": "81",
        "audit.target.name": "Q3.xlsx", "audit.change.before": {"name": "Q2.xlsx"},
        "audit.change.after": {"name": "Q3.xlsx"}, "audit.request.id": request_id,
        "http.request.method": "PUT", "http.route": "/files/{id}", "http.response.status_code": 200,
        "audit.retention.class": "standard", "audit.tenant.id": "acme", "size": 12,
    }  # fmt: skip


def test_absent_fields_have_no_attribute() -> None:
    assert set(make().to_attributes()) == {
        "audit.record.id",
        "audit.category",
        "audit.action",
        "audit.outcome",
    }


def test_a_removed_field_is_absent_afterwards_and_an_unchanged_absence_is_no_change() -> None:
    attributes = make(
        changes={"name": ("a", None), "tags": (None, {"x": [1, {"y": 2}]}), "none": (None, None)}
    )
    assert attributes.to_attributes()["audit.change.before"] == {"name": "a"}
    assert attributes.to_attributes()["audit.change.after"] == {"tags": {"x": [1, {"y": 2}]}}


def test_typed_fields_win_over_attributes_of_the_same_name() -> None:
    event = make(user_id="u-1", attributes={"audit.actor.id": "u-2", "audit.record.id": "forged"})
    assert event.to_attributes()["audit.actor.id"] == "u-1"
    assert event.to_attributes()["audit.record.id"] == event.record_id


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("category", "misc"), ("outcome", "maybe"), ("severity", "fatal"), ("user_type", "robot"),
        ("retention_class", "forever"), ("action", "Delete File"), ("action", "gen_ai.chat"), ("action", ""),
        ("action", "a" * 65), ("action", None), ("record_id", "7"), ("record_id", None), ("request_id", "x"),
        ("time_unix_nano", 0), ("http_status", 99), ("changes", {"name": "new"}),
    ],
)  # fmt: skip
def test_an_event_outside_the_vocabulary_is_refused_by_field(field: str, value: Any) -> None:
    with pytest.raises(InvalidEvent) as refused:
        make(**{field: value})
    assert refused.value.field == field


def test_the_summary_is_one_line_and_says_what_happened_to_what() -> None:
    assert make(action="delete", target_type="file", target_name="Q3.xlsx").summary == "Deleted file Q3.xlsx"
    assert make(action="share", target_type="file", target_id="f-1").summary == "Share file f-1 (success)"
    assert make(message="two\nlines \t here").summary == "two lines here"
    assert len(make(message="x" * 5000).summary) == 1024


class Colour(enum.Enum):
    RED = "red"


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError


def test_values_of_other_types_travel_as_text() -> None:
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    values = {
        "when": moment, "amount": Decimal("1.50"), "colour": Colour.RED, "big": 2**63, "least": -(2**63),
        "nan": float("nan"), "set": {"b", "a"}, "bad": Unprintable(), 5: True, "surrogate": "a\ud800b",
        "raw": b"\x00", "none in a list": [None, 1], "nested": {"gone": None, "kept": 0},
    }  # fmt: skip
    assert clean_map(values) == {
        "when": "2026-03-01T00:00:00+00:00", "amount": "1.50", "colour": "red", "big": str(2**63),
        "least": -(2**63), "nan": "nan", "set": ["a", "b"], "bad": "[unprintable Unprintable]", "5": True,
        "surrogate": "a?b", "raw": b"\x00", "none in a list": [None, 1], "nested": {"kept": 0},
    }  # fmt: skip


def test_huge_deep_and_endless_values_are_cut_instead_of_losing_the_event() -> None:
    endless: dict[str, Any] = {}
    endless.update({str(n): endless for n in range(10)})
    cleaned = clean_map({"text": "x" * (TEXT_CHARS_MAX + 5), "endless": endless})
    assert cleaned["text"].endswith("…[5 more characters]")

    def walk(value: Any, depth: int = 0) -> tuple[int, int]:
        if not isinstance(value, dict):
            return 1, depth
        counts = [walk(item, depth + 1) for item in value.values()]
        return 1 + sum(n for n, _ in counts), max([depth, *(d for _, d in counts)])

    values, depth = walk(cleaned)
    assert values <= VALUES_MAX + 1
    assert depth <= DEPTH_MAX + 1
    many = clean_map({str(n): "é" * TEXT_CHARS_MAX for n in range(100)})
    assert sum(len(value) for value in many.values()) <= CHARS_MAX + 100 * 100


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None))
    | st.binary(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters(codec=None)) | st.integers(), inner)
    ),
    max_leaves=30,
)


@settings(max_examples=40, deadline=None)
@given(values=st.dictionaries(st.text(st.characters(codec=None)), ANYTHING))
def test_whatever_an_app_attaches_can_be_encoded(values: dict[str, Any]) -> None:
    from opentelemetry.exporter.otlp.proto.common._internal import _encode_key_value

    for name, value in make(attributes=values).to_attributes().items():
        assert name
        assert value is not None
        _encode_key_value(name, value).SerializeToString()
