"""The two bars of the rules, on texts made from fixed seeds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from otel_audit.exporter.redaction import Redactor, load_rules
from tests.redaction.innocents import innocents
from tests.redaction.mutations import MUTATIONS
from tests.redaction.report import CLASSES, PRECISION_MIN, RECALL_MIN, Measured, measure
from tests.redaction.seeded import seeded
from tests.support.redaction_corpus import Corpus

RULES = load_rules()
OFF = [rule.id for rule in RULES.disabled]
RE = Redactor(RULES, matcher="re")
RE2 = Redactor(RULES, matcher="re2")
PER_RULE, INNOCENTS = 4, 5_000


@pytest.fixture(scope="module")
def measured() -> Measured:
    return measure(RE2, seeded(RULES, 11, PER_RULE), innocents(12, INNOCENTS))


@pytest.mark.parametrize("rule_class", CLASSES)
def test_secrets_are_found_as_written_and_in_every_disguise(measured: Measured, rule_class: str) -> None:
    assert measured.made[rule_class] > 10
    assert measured.recall(rule_class) >= RECALL_MIN, measured.missed
    assert measured.recall_mutated(rule_class) >= RECALL_MIN, measured.missed


@pytest.mark.parametrize("rule_class", CLASSES)
def test_what_only_looks_like_a_secret_stays(measured: Measured, rule_class: str) -> None:
    assert measured.precision(rule_class) >= PRECISION_MIN, measured.harmed_texts


def test_every_mutation_is_measured(measured: Measured) -> None:
    assert set(measured.by_mutation) == set(MUTATIONS)
    assert all(tally["found"] >= 0.97 * tally["made"] for tally in measured.by_mutation.values())


def test_both_engines_hide_the_same_and_a_second_time_nothing() -> None:
    texts = [sample.text for sample in seeded(RULES, 13, 2)]
    for index, sample in enumerate(seeded(RULES, 14, 1)):
        mutated = list(MUTATIONS.values())[index % len(MUTATIONS)](sample)
        texts += [mutated[0]] if mutated else []
    texts += innocents(15, 600)
    for text in texts:
        once, counts = RE2.text(text, personal=True, field="message")
        assert RE.text(text, personal=True, field="message") == (once, counts)
        assert RE2.text(once, personal=True, field="message") == (once, {}), text


def test_rules_that_are_off_find_theirs_when_they_are_on_and_are_idempotent() -> None:
    rules = load_rules(enable=OFF)
    engines = [Redactor(rules, matcher="re"), Redactor(rules, matcher="re2")]
    corpus = Corpus(16)
    for rule in RULES.disabled:
        alone = Redactor(load_rules(enable=[rule.id]), matcher="re2")
        for _ in range(10):
            for example in rule.positive:
                text, parts = corpus.secrets(example)
                redacted, counts = alone.text(text, personal=True, field="message")
                assert counts[rule.id] == 1, text
                assert not any(part in redacted for part in parts)
                results = [engine.text(text, personal=True, field="message") for engine in engines]
                assert results[0] == results[1]
                assert engines[0].text(results[0][0], personal=True, field="message")[1] == {}
            for example in rule.negative:
                text = corpus.expand(example)
                assert alone.text(text, personal=True, field="message")[1][rule.id] == 0, text


# Examples that the authorities publish themselves; none is a person's.
PUBLISHED = (
    ("de_tax_id", "86095742719"),
    ("it_codice_fiscale", "RSSMRA85T10A562S"),
    ("es_dni_nie", "12345678Z"),
    ("pl_pesel", "44051401359"),
    ("nl_bsn", "111222333"),
    ("se_personnummer", "811218-9876"),
    ("be_national_number", "85.07.30-033.28"),
    ("pt_nif", "123456789"),
    ("at_svnr", "1237 010180"),
    ("ro_cnp", "1800101221144"),
    ("gr_afm", "094259216"),
    ("us_ssn", "219-09-9999"),
)


@pytest.mark.parametrize(("rule", "number"), PUBLISHED)
def test_published_examples_of_national_numbers_are_valid_and_their_neighbours_are_not(
    rule: str, number: str
) -> None:
    engine = Redactor(load_rules(enable=[rule]))
    assert engine.text(f"id {number}", personal=True, field="message")[1][rule] == 1
    if rule != "us_ssn":
        last = number[-1]
        other = str((int(last) + 1) % 10) if last.isdigit() else chr((ord(last) - 65 + 1) % 26 + 65)
        assert engine.text(f"id {number[:-1]}{other}", personal=True, field="message")[1][rule] == 0


def test_the_report_is_in_the_docs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "redaction.md").read_text()
    rows = re.findall(
        r"\| (secret|credential|personal) \| [0-9,]+ \| ([0-9.]+) \| [0-9,]+ \| ([0-9.]+) .* ([0-9.]+) \|",
        page,
    )
    assert [row[0] for row in rows] == list(CLASSES)
    assert all(float(figure) >= RECALL_MIN for row in rows for figure in row[1:3])
    assert all(float(row[3]) >= PRECISION_MIN for row in rows)
