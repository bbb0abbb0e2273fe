"""What a hostile value looks like on a page."""

from __future__ import annotations

import pytest

from otel_audit.query_service.console.presentation.text import is_hidden, plain, visible

HIDDEN = {
    "right-to-left override": "\u202e",
    "left-to-right isolate": "\u2066",
    "zero width space": "\u200b",
    "zero width joiner": "\u200d",
    "byte order mark": "\ufeff",
    "soft hyphen": "\u00ad",
    "escape": "\x1b",
    "nul": "\x00",
    "delete": "\x7f",
    "line feed": "\n",
    "line separator": "\u2028",
    "hangul filler": "\u3164",
    "braille blank": "\u2800",
    "variation selector": "\ufe01",
    "tag letter": "\U000e0041",
    "private use": "\ue000",
}


@pytest.mark.parametrize("name", HIDDEN)
def test_a_character_that_prints_nothing_becomes_a_badge_with_its_code_point(name: str) -> None:
    char = HIDDEN[name]
    shown = visible(f"a{char}b")
    assert char not in shown
    assert f"U+{ord(char):04X}</span>b" in shown
    assert f"<U+{ord(char):04X}>" in plain(f"a{char}b")


@pytest.mark.parametrize(
    "text", ["Léa", "Wróbel", "東京", "שלום", "مرحبا", "a b", "a_b-c.d", "🙂", "ü", "❤\ufe0f"]
)
def test_ordinary_text_of_any_language_is_left_alone(text: str) -> None:
    assert visible(text) == f"<bdi>{text}</bdi>"
    assert not any(is_hidden(char) for char in text)


def test_markup_is_escaped_and_isolated_from_its_line() -> None:
    shown = visible("<img src=x onerror=alert(1)>\"'&")
    assert shown == "<bdi>&lt;img src=x onerror=alert(1)&gt;&#34;&#39;&amp;</bdi>"


def test_a_long_value_is_cut_and_says_how_much_is_missing() -> None:
    shown = visible("x" * 5_000, chars_max=120)
    assert shown.count("x") == 120
    assert "… 4,880 more characters" in shown
    assert "more characters" not in visible("x" * 120, chars_max=120)


def test_a_redaction_marker_is_set_apart_and_a_fake_one_with_markup_is_not() -> None:
    shown = visible("key [REDACTED:stripe_key] of [UNKNOWN_USER:9f3ac21e] [REDACTED:<b>]")
    assert '<mark class="redacted" title="[REDACTED:stripe_key]">redacted <b>stripe_key</b></mark>' in shown
    assert "unknown user <b>9f3ac21e</b>" in shown
    assert "[REDACTED:&lt;b&gt;]" in shown


def test_lines_are_kept_in_preformatted_text_only() -> None:
    assert visible('{\n\t"a": 1}', lines=True) == "<bdi>{\n\t&#34;a&#34;: 1}</bdi>"
    assert "U+000D" in visible("a\rb", lines=True)
