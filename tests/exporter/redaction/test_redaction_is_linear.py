"""No input costs more than its length: what a sender repeats is not what the receiver multiplies."""

from __future__ import annotations

import time

import pytest

from otel_audit.exporter.redaction import Redactor, load_rules
from otel_audit.exporter.redaction.bounds import LOOKS_MAX
from otel_audit.exporter.redaction.engine import ENGINE_ERROR_MARKER

RULES = load_rules()
RE = Redactor(RULES, matcher="re")
RE2 = Redactor(RULES, matcher="re2")
SHORT_CHARS, TIMES = 15_000, 8
# Quadratic work would take 64 times as long, linear work 8 times; the rest is for a busy machine.
RATIO_MAX = 24.0


def seconds(engine: Redactor, text: str) -> float:
    """Processor time of the fastest of three runs."""
    spent = []
    for _ in range(3):
        started = time.process_time()
        engine.text(text, personal=True, field="m")
        spent.append(time.process_time() - started)
    return min(spent)


@pytest.mark.parametrize(
    "piece",
    [
        "password=a,", "password=,", "password=", "password:a;", "cookie:;", "cookie=a;", "token=x ",
        'authorization=\\\\"bearer x ', "authorization: bearer ", "authorization: digest ", "password=\\",
        "eyJ.", "a@", "a@b.", "://a:", "pw>", "--", "--a", "-a", "4", "42-", "é=password=", "password=é,",
        "some_key=", "some_key=a", "x_token: a", "heroku key ", "curl -u a", "mysql -p ", "password ist ",
        "a=b+", "\\n", "password=''a", "00 1 ",
    ],
)  # fmt: skip
@pytest.mark.parametrize("engine", [RE, RE2], ids=["re", "re2"])
def test_eight_times_the_text_takes_about_eight_times_as_long(engine: Redactor, piece: str) -> None:
    short = piece * (SHORT_CHARS // len(piece))
    assert seconds(engine, short * TIMES) < RATIO_MAX * max(seconds(engine, short), 0.000_5)


@pytest.mark.parametrize("engine", [RE, RE2], ids=["re", "re2"])
def test_a_text_of_more_candidates_than_anyone_writes_is_hidden_whole(engine: Redactor) -> None:
    many = "to bob@example.com " * (LOOKS_MAX + 1)
    assert engine.text(many, personal=True, field="m") == (ENGINE_ERROR_MARKER, {"engine_error": 1})
    tree, hits = engine.tree({"a": many, "b": "bob@example.com"}, personal=True, field="attributes")
    assert tree == {"a": ENGINE_ERROR_MARKER, "b": "b•••@example.com"}
    assert hits["engine_error", "attributes.a"] == 1


@pytest.mark.parametrize("engine", [RE, RE2], ids=["re", "re2"])
def test_a_long_list_of_addresses_is_masked_one_by_one(engine: Redactor) -> None:
    text, counts = engine.text("bob@example.com, " * 1_900, personal=True, field="m")
    assert (text, counts["email"]) == ("b•••@example.com, " * 1_900, 1_900)


@pytest.mark.parametrize("engine", [RE, RE2], ids=["re", "re2"])
def test_values_in_quotes_escaped_more_often_than_others_are_all_found(engine: Redactor) -> None:
    text = 'authorization=\\\\"bearer aaa1 ' * 3 + "authorization=\\\\\\nobody"
    redacted, counts = engine.text(text, personal=False, field="m")
    assert counts == {"authorization": 4}
    assert "aaa1" not in redacted
    assert "nobody" not in redacted


@pytest.mark.parametrize("option", ["--token", "--api-token", "--pin", "--db.pass", "--access_key"])
def test_the_value_of_an_option_is_gone_whatever_else_the_line_says(option: str) -> None:
    for engine in (RE, RE2):
        assert "Zq7xW" not in engine.text(f"run {option} Zq7xWv2Kp9m4", personal=False, field="m")[0]
