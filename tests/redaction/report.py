"""Recall and precision of the packaged rules on made-up texts: `make redaction-report`."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from otel_audit.exporter.redaction import Redactor, load_rules
from tests.redaction.innocents import innocents
from tests.redaction.mutations import MUTATIONS
from tests.redaction.seeded import Seeded, seeded

SEED, PER_RULE, INNOCENTS = 20_250, 20, 6_000
RECALL_MIN, PRECISION_MIN = 0.99, 0.98
CLASSES = ("secret", "credential", "personal")


@dataclass
class Measured:
    """Counts per class, and what was missed or harmed."""

    made: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    mutated: Counter[str] = field(default_factory=Counter)
    mutated_found: Counter[str] = field(default_factory=Counter)
    harmed: Counter[str] = field(default_factory=Counter)
    by_mutation: dict[str, Counter[str]] = field(default_factory=dict)
    missed: list[tuple[str, str, str]] = field(default_factory=list)
    harmed_texts: list[tuple[str, str]] = field(default_factory=list)

    def recall(self, rule_class: str) -> float:
        return self.found[rule_class] / self.made[rule_class]

    def recall_mutated(self, rule_class: str) -> float:
        return self.mutated_found[rule_class] / self.mutated[rule_class]

    def precision(self, rule_class: str) -> float:
        """Of all texts in which the class was found, the share that held a secret."""
        right = self.found[rule_class]
        return right / (right + self.harmed[rule_class])


def measure(redactor: Redactor, samples: Iterable[Seeded], clean: Iterable[str]) -> Measured:
    """Redact every sample in every mutation, and every innocent text."""
    result = Measured()
    classes = {name.id: str(name.rule_class) for name in redactor.rules.names}
    classes |= {rule.id: str(rule.rule_class) for rule in redactor.rules.rules}
    for sample in samples:
        for name, mutation in MUTATIONS.items():
            mutated = mutation(sample)
            if mutated is None:
                continue
            text, secret = mutated
            redacted = redactor.text(text, personal=True, field="message")[0]
            gone = secret not in redacted
            kind = sample.rule_class
            if name == "as written":
                result.made[kind] += 1
                result.found[kind] += gone
            else:
                result.mutated[kind] += 1
                result.mutated_found[kind] += gone
            tally = result.by_mutation.setdefault(name, Counter())
            tally["made"] += 1
            tally["found"] += gone
            if not gone:
                result.missed.append((sample.rule, name, text))
    for text in clean:
        redacted, counts = redactor.text(text, personal=True, field="message")
        if redacted != text:
            result.harmed.update({classes.get(rule, "secret") for rule in counts})
            result.harmed_texts.append((", ".join(counts), text))
    return result


def table(measured: Measured, rules: int, names: int, clean: int) -> str:
    """The figures as a table in Markdown."""
    lines = [
        f"{rules} rules and {names} names, {sum(measured.made.values()):,} secrets, "
        f"{sum(measured.mutated.values()):,} mutations of them, {clean:,} innocent texts.",
        "",
        "| class | secrets | recall | mutations | recall | innocent texts harmed | precision |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {kind} | {measured.made[kind]:,} | {measured.recall(kind):.4f} | {measured.mutated[kind]:,} | "
        f"{measured.recall_mutated(kind):.4f} | {measured.harmed[kind]} | {measured.precision(kind):.4f} |"
        for kind in CLASSES
    ]
    lines += ["", "| mutation | recall |", "| --- | ---: |"]
    lines += [f"| {name} | {c['found'] / c['made']:.4f} |" for name, c in measured.by_mutation.items()]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make redaction-report", description=__doc__)
    parser.add_argument("--per-rule", type=int, default=PER_RULE, help="secrets a rule and a name (20)")
    parser.add_argument("--innocents", type=int, default=INNOCENTS, help="innocent texts (6000)")
    parser.add_argument("--seed", type=int, default=SEED, help="another seed, other texts")
    parser.add_argument("--misses", action="store_true", help="list what was missed and harmed, on stderr")
    options = parser.parse_args()
    rules = load_rules()
    redactor = Redactor(rules, matcher="re2")
    clean = list(innocents(options.seed, options.innocents))
    measured = measure(redactor, seeded(rules, options.seed, options.per_rule), clean)
    sys.stdout.write(table(measured, len(rules.rules), len(rules.names), len(clean)) + "\n")
    if options.misses:
        for rule, name, text in measured.missed:
            sys.stderr.write(f"missed\t{rule}\t{name}\t{text!r}\n")
        for found, text in measured.harmed_texts:
            sys.stderr.write(f"harmed\t{found}\t{text!r}\n")
    good = all(
        min(measured.recall(kind), measured.recall_mutated(kind)) >= RECALL_MIN
        and measured.precision(kind) >= PRECISION_MIN
        for kind in CLASSES
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
