from __future__ import annotations

from pathlib import Path

import pytest

from otel_audit.exporter.redaction import Redactor, RuleError, load_rules, policy
from otel_audit.exporter.redaction.replacement import REPLACEMENTS
from otel_audit.exporter.redaction.rules import Rule, portable_pattern
from otel_audit.exporter.redaction.validators import VALIDATORS
from tests.support.redaction_corpus import INNOCENT_TEMPLATES, Corpus

RULES = load_rules()
ENGINES = [Redactor(RULES, matcher="re"), Redactor(RULES, matcher="re2")]
POSITIVE = [(rule, example) for rule in RULES.rules for example in rule.positive]
NEGATIVE = [(rule, example) for rule in RULES.rules for example in rule.negative]


@pytest.mark.parametrize(("rule", "example"), POSITIVE, ids=lambda v: getattr(v, "id", None))
def test_every_positive_example_is_hidden_by_its_rule(rule: Rule, example: str) -> None:
    corpus = Corpus(seed=1)
    for _ in range(10):
        text, parts = corpus.secrets(example)
        for engine in ENGINES:
            redacted, counts = engine.text(text, personal=True, field="message")
            assert counts[rule.id] >= 1, text
            assert not any(part in redacted for part in parts if len(part) >= 12), redacted


@pytest.mark.parametrize(("rule", "example"), NEGATIVE, ids=lambda v: getattr(v, "id", None))
def test_no_negative_example_is_touched_by_its_rule(rule: Rule, example: str) -> None:
    corpus = Corpus(seed=2)
    for _ in range(10):
        text = corpus.expand(example)
        for engine in ENGINES:
            assert engine.text(text, personal=True, field="message")[1][rule.id] == 0, text


@pytest.mark.parametrize("template", INNOCENT_TEMPLATES)
def test_innocent_values_stay_untouched(template: str) -> None:
    corpus = Corpus(seed=3)
    for _ in range(40):
        text = corpus.expand(template)
        for engine in ENGINES:
            assert engine.text(text, personal=True, field="message") == (text, {})


def test_the_packaged_rules_have_examples_and_a_version() -> None:
    assert all(rule.positive and rule.negative for rule in RULES.rules)
    assert len(RULES.version) == 12
    assert load_rules() == RULES


@pytest.mark.parametrize(
    "pattern", [r"a\d", r"\bkey", "end$", "(?=x)", "(?i)x", "ABC", "a.b", r"(x)\1", "(?P<a>x)"]
)
def test_patterns_that_engines_read_differently_are_refused(pattern: str) -> None:
    with pytest.raises(RuleError):
        portable_pattern(pattern)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('id = "x"\nclass = "secret"\npattern = "x"', "anchors"),
        ('id = "x"\nclass = "other"\nanchors = ["x"]\npattern = "x"', "class"),
        ('id = "X"\nclass = "secret"\nanchors = ["x"]\npattern = "x"', "lower snake"),
        ('id = "x"\nclass = "secret"\nanchors = ["x"]\npattern = "x"\nvalidator = "no"', "validator"),
        ('id = "x"\nclass = "secret"\nanchors = ["x"]\npattern = "x"\nreplace = "no"', "replacement"),
        ('id = "x"\nclass = "secret"\nanchors = ["x"]\npattern = "x"\ncolour = "red"', "unknown key"),
        ('id = "x"\nclass = "secret"\nanchors = ["x"]\npattern = "x+"\nrescan = true', "bounded"),
    ],
)
def test_a_rule_that_says_something_unknown_is_refused(tmp_path: Path, line: str, why: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(f'[[rule]]\n{line}\n[[name]]\nid = "n"\nclass = "secret"\nwords = ["n"]\n')
    with pytest.raises(RuleError, match=why):
        load_rules(path)


def test_a_rule_that_is_off_costs_and_finds_nothing_until_it_is_asked_for() -> None:
    off = {rule.id: rule for rule in RULES.disabled}
    assert "us_ssn" in off
    assert not any(rule.enabled for rule in off.values())
    assert not off.keys() & {rule.id for rule in RULES.rules}
    text = Corpus(seed=5).expand("SSN {us_ssn}")
    assert ENGINES[0].text(text, personal=True, field="message") == (text, {})
    on = load_rules(enable=["us_ssn"])
    assert Redactor(on).text(text, personal=True, field="message") == ("SSN [REDACTED:us_ssn]", {"us_ssn": 1})
    assert {rule.id for rule in on.disabled} == off.keys() - {"us_ssn"}
    assert on.version != RULES.version
    assert Redactor(on).suspect(text, personal=True)
    assert not ENGINES[0].suspect(text, personal=True)


def test_switching_on_an_unknown_rule_is_an_error_with_the_names_there_are() -> None:
    with pytest.raises(RuleError, match="us_ssm") as caught:
        load_rules(enable=["us_ssm"])
    assert "us_ssn" in (caught.value.hint or "")


def test_there_are_rules_for_what_people_leak() -> None:
    assert len(RULES.rules) >= 200
    assert all(len(r.positive) >= 2 and len(r.negative) >= 2 for r in (*RULES.rules, *RULES.disabled))


def test_a_missing_or_broken_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match="cannot be read"):
        load_rules(tmp_path / "absent.toml")
    (tmp_path / "rules.toml").write_text("[[rule]\n")
    with pytest.raises(RuleError, match="cannot be read"):
        load_rules(tmp_path / "rules.toml")


def test_every_rule_name_and_column_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "redaction.md").read_text()
    columns = [name for name in dir(policy) if name.endswith("_COLUMNS")]
    wanted = {*RULES.ids, *VALIDATORS, *REPLACEMENTS, *(c for name in columns for c in getattr(policy, name))}
    assert not [word for word in sorted(wanted) if f"`{word}`" not in page]
