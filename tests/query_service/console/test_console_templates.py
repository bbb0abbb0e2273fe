"""Templates and modules keep to the policy that the headers set."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from otel_audit.query_service.console.pages import Pages

CONSOLE = files("otel_audit.query_service.console")
TEMPLATES = {
    f.name: f.read_text() for f in CONSOLE.joinpath("templates").iterdir() if f.name.endswith(".html")
}
STATIC = {f.name: f.read_text() for f in CONSOLE.joinpath("static").iterdir()}


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_no_template_has_inline_code_or_style_or_turns_escaping_off(name: str) -> None:
    text = TEMPLATES[name]
    assert not re.search(r"\son[a-z]+\s*=", text, re.I)
    assert not re.search(r"\sstyle\s*=|<style\b", text, re.I)
    assert not re.search(r"javascript:|srcdoc|<iframe|<object|<embed|<base\b|http-equiv", text, re.I)
    assert not re.search(r"\|\s*safe\b|autoescape|Markup\(", text)
    for tag in re.findall(r"<script\b[^>]*>.*?</script>", text, re.S):
        assert re.fullmatch(
            r"<script type=\"module\" src=\"\{\{ asset\('[a-z_]+\.js'\) \}\}\"></script>", tag
        )


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_a_fragment_needs_nothing_that_the_sanitizer_drops(name: str) -> None:
    assert "<use" not in TEMPLATES[name]


@pytest.mark.parametrize("name", sorted(n for n in STATIC if n.endswith(".js")))
def test_no_module_uses_a_sink_that_runs_text(name: str) -> None:
    text = STATIC[name]
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setHTMLUnsafe", text
    )
    assert not re.search(r"set(?:Timeout|Interval)\(\s*[\"'`]", text)
    assert re.findall(r"https?://[^\s\"]+", text) in ([], ["http://www.w3.org/2000/svg"])


def test_an_answer_that_misses_a_damaged_file_says_so() -> None:
    drawn = Pages().templates.from_string(
        '{% from "_parts.html" import partial_notice %}{{ partial_notice(partial) }}'
    )
    gap = {"file": "a<b>.parquet", "reason": "hash differs", "from": "2026-03-01", "to": "2026-03-02"}
    assert drawn.render(partial=[]).strip() == ""
    shown = drawn.render(partial=[gap])
    assert "Not everything could be read." in shown
    assert "a&lt;b&gt;.parquet" in shown
    assert "2026-03-01 to 2026-03-02" in shown


def test_nothing_is_loaded_from_anywhere_else() -> None:
    assert not re.search(r"url\(|@import", STATIC["console.css"])
    for text in TEMPLATES.values():
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//", text)
