"""What redaction would do to a text, and why, without saying what it hides."""

from __future__ import annotations

from typing import NamedTuple

from otel_audit.exporter.redaction.engine import ENGINE_ERROR_MARKER, Redactor
from otel_audit.exporter.redaction.replacement import marker
from otel_audit.exporter.redaction.rules import ENGINE_ERROR, RuleClass, load_rules


class Explanation(NamedTuple):
    """rule hides the characters span (start, end) of the text as replacement; field: path inside JSON."""

    rule: str
    rule_class: RuleClass
    span: tuple[int, int]
    replacement: str
    field: str = ""


def explain(text: str, *, redactor: Redactor | None = None, personal: bool = True) -> list[Explanation]:
    """Every replacement in `text`, by position; never the secret itself.

    What is hidden because of the structure of a JSON document has the whole document as its span and its
    path as field. A failing engine is one explanation over the whole text.
    """
    engine = redactor if redactor is not None else Redactor(load_rules())
    try:
        found = [
            Explanation(hit.rule, hit.rule_class, (hit.start, hit.end), hit.replacement)
            for hit in engine.hits(text, personal=personal)
        ]
    except Exception:  # noqa: BLE001 - as the engine itself: closed, and told
        return [Explanation(ENGINE_ERROR, "secret", (0, len(text)), ENGINE_ERROR_MARKER)]
    counted = dict(engine.text(text, personal=personal, field="")[1])
    for explanation in found:
        counted[explanation.rule] = counted.get(explanation.rule, 0) - 1
    classes: dict[str, RuleClass] = {r.id: r.rule_class for r in engine.rules.rules}
    classes.update({n.id: n.rule_class for n in engine.rules.names})
    for rule_id, count in sorted(counted.items()):
        whole = Explanation(rule_id, classes.get(rule_id, "secret"), (0, len(text)), marker(rule_id), "json")
        found += [whole] * count
    return found
