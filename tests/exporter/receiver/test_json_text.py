"""JSON that Python's own parser gives up on: kept, cut far below what is stored, never refused."""

from __future__ import annotations

import json

import pytest

from otel_audit.exporter.receiver import json_text
from otel_audit.exporter.receiver.decode import decode
from otel_audit.exporter.receiver.otlp_json import parse_json

NOW_NS = 1_790_000_000_000_000_000


def body(value: str) -> bytes:
    pairs = (
        '{"key":"audit.category","value":{"stringValue":"system"}},'
        '{"key":"audit.action","value":{"stringValue":"error"}},'
        f'{{"key":"deep","value":{value}}},'
        '{"key":"after","value":{"stringValue":"a ] in \\"quotes\\" }"}}'
    )
    record = f'{{"body":{{"stringValue":"x"}},"attributes":[{pairs}]}}'
    neighbour = '{"body":{"stringValue":"neighbour"}}'
    return f'{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{record},{neighbour}]}}]}}]}}'.encode()


@pytest.mark.parametrize("depth", [30, 500, 5_000, 100_000])
def test_a_value_nested_too_deeply_is_cut_and_its_neighbours_are_kept(depth: int) -> None:
    value = '{"arrayValue":{"values":[' * depth + '{"stringValue":"bottom"}' + "]}}" * depth
    batch = decode(parse_json(body(value)), NOW_NS)
    assert batch.column("message").to_pylist() == ["x", "neighbour"]
    attributes = json.loads(batch.column("attributes").to_pylist()[0])
    assert "[nested too deeply]" in json.dumps(attributes["deep"])
    assert attributes["after"] == 'a ] in "quotes" }'


@pytest.mark.parametrize("name", ["stringValue", "intValue", "kvlistValue"])
def test_no_depth_around_the_limits_of_the_parser_refuses_a_batch(name: str) -> None:
    for depth in (*range(280, 320), *range(960, 1_010)):
        inner = "[" * depth + "]" * depth
        value = f'{{"{name}":{{"values":[{{"key":"k","x":{inner}}}]}}}}' if name == "kvlistValue" else ""
        batch = decode(parse_json(body(value or f'{{"{name}":{inner}}}')), NOW_NS)
        assert batch.column("message").to_pylist() == ["x", "neighbour"]


def test_an_integer_of_thousands_of_digits_is_kept_as_text() -> None:
    batch = decode(parse_json(body('{"intValue":' + "9" * 5_000 + "}")), NOW_NS)
    assert json.loads(batch.column("attributes").to_pylist()[0])["deep"] == "9" * 5_000


def test_a_huge_integer_in_an_unknown_field_is_ignored_like_any_unknown_field() -> None:
    assert not parse_json(b'{"a": ' + b"9" * 5_000 + b"}").resource_logs


@pytest.mark.parametrize("broken", [b"[" * 100_000, b"[" * 99_999 + b"]" * 100_000, b"[" * 9_000 + b'"'])
def test_brackets_that_do_not_match_are_still_refused(broken: bytes) -> None:
    with pytest.raises(ValueError, match=r"brackets|Expecting|Extra"):
        json_text.loads(broken)
