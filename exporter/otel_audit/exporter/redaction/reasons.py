"""Why redaction changed a value, in words that quote names and anchors and never what is hidden."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from otel_audit.exporter.redaction import policy as base
from otel_audit.exporter.redaction.bounds import TooManyLooks
from otel_audit.exporter.redaction.encoded import decoded
from otel_audit.exporter.redaction.engine import Redactor
from otel_audit.exporter.redaction.hits import Hit
from otel_audit.exporter.redaction.policed import Policed
from otel_audit.exporter.redaction.replacement import marker
from otel_audit.exporter.redaction.rules import ENGINE_ERROR, RuleClass
from otel_audit.exporter.redaction.tree import NotJson, parse_json
from otel_audit.exporter.redaction.views import fold, views

# A name stands right before its value; what lies further away is another sentence.
_BEFORE_CHARS: Final = 120
_AROUND_CHARS: Final = 24
_DEPTH_MAX: Final = 64
_WORD: Final = re.compile(r"[\w.\[\]-]{1,64}")
_LAYERS: Final = ("", ", after one layer of escapes", ", after two layers of escapes", ", after three layers")
_POLICY_ACTIONS: Final = {rule: action for action, rule in base.POLICY_RULES.items()}


class Reason(NamedTuple):
    """One replacement. field: the column or a path in it. span: characters of `text`; None: a whole value.

    replacement: empty where it is made of the value. text: for counting lines; it may hold secrets.
    """

    rule: str
    rule_class: RuleClass
    field: str
    span: tuple[int, int] | None
    replacement: str
    reason: str
    text: str = ""


def reasons(
    policed: Policed, column: str, value: str, counted: Mapping[tuple[str, str], int]
) -> list[Reason]:
    """One reason a replacement in a column's value, those with a place first.

    counted: the evidence of the value, (rule, path) → count, as redaction has given it.
    """
    redactor, personal = policed.redactor(column), policed.personal(column)
    left, found = Counter(counted), list[Reason]()
    for path, text in _texts(column, value):
        for hit in _hits(redactor, text, personal=personal):
            if left[hit.rule, path] > 0:
                left[hit.rule, path] -= 1
                why, span = _why(redactor, text, hit), (hit.start, hit.end)
                found.append(Reason(hit.rule, hit.rule_class, path, span, hit.replacement, why, text))
    classes = _classes(redactor)
    for (rule, path), count in sorted(left.items()):
        why = _of_structure(redactor, rule, path)
        reason = Reason(rule, classes.get(rule, "personal"), path, None, _instead(rule), why)
        found += [reason] * count
    return found


def _instead(rule: str) -> str:
    if rule == base.UNKNOWN_USER_RULE:
        return "[UNKNOWN_USER:…]"
    action = _POLICY_ACTIONS.get(rule)
    if action in ("mask", "tokenise"):
        return ""
    return marker(base.POLICY_MARKER_RULE if action else rule)


def _hits(redactor: Redactor, text: str, *, personal: bool) -> list[Hit]:
    try:
        return redactor.hits(text, personal=personal)
    except TooManyLooks:
        return []  # told as an engine error


def _texts(column: str, value: str) -> Iterator[tuple[str, str]]:
    """The texts of a value that rules look at, with the paths that evidence names them by."""
    if column in base.JSON_TEXT_COLUMNS:
        try:
            yield from _leaves(parse_json(value), column, 0)
        except NotJson:
            yield column, value
    else:
        yield column, value


def _leaves(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth > _DEPTH_MAX:
        return
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, f"{path}.{name}", depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, path, depth + 1)
    elif isinstance(value, str):
        yield path, value


def _why(redactor: Redactor, text: str, hit: Hit) -> str:
    try:
        return _of_hit(redactor, text, hit)
    except TooManyLooks:
        return "under more escapes than are undone here"


def _of_hit(redactor: Redactor, text: str, hit: Hit) -> str:
    if any((start, end) == (0, hit.end - hit.start) for start, end, _ in decoded(text[hit.start : hit.end])):
        return "base64 that says it"
    rule = next((rule for rule in redactor.rules.rules if rule.id == hit.rule), None)
    if rule is not None:
        around = text[max(0, hit.start - _AROUND_CHARS) : hit.end + _AROUND_CHARS]
        checked = f", checked by {rule.validator}" if rule.validator else ""
        for layer, view in enumerate(views(around)):
            folded = fold(view.text)
            anchor = next((anchor for anchor in rule.anchors if anchor in folded), None)
            if anchor is not None:
                disguised = ", written in disguise" if not layer and anchor not in fold(around) else ""
                return f'text "{anchor}"{checked}{disguised or _LAYERS[layer]}'
        if not rule.anchors:
            return f"text of its shape{checked}"
    nearest: tuple[int, int, str] | None = None
    for layer, view in enumerate(views(text[max(0, hit.start - _BEFORE_CHARS) : hit.start])):
        for word in _WORD.finditer(view.text):
            named = redactor.names.rule(word.group())
            if named is not None and named.id == hit.rule:
                here = (len(view.text) - word.end(), layer, word.group())
                nearest = here if nearest is None else min(nearest, here)
    return f"name `{nearest[2]}`{_LAYERS[nearest[1]]}" if nearest else "beside one of its names"


def _of_structure(redactor: Redactor, rule: str, path: str) -> str:
    if rule in _POLICY_ACTIONS:
        return f"the policy says {_POLICY_ACTIONS[rule]}"
    if rule == base.UNKNOWN_USER_RULE:
        return "failed sign-in that names no account"
    if rule == ENGINE_ERROR:
        return "the engine could not finish, so all of it is hidden"
    parts = path.split(".")
    for count in range(1, len(parts)):
        # A name may have dots of its own.
        name = ".".join(parts[-count:])
        named = redactor.names.rule(name)
        if named is not None and named.id == rule:
            return f"name `{name}`"
    if any(named.id == rule for named in redactor.rules.names):
        return "one of its names beside or above the value"
    return "found inside a name, in nested JSON, or once other hits were hidden"


def _classes(redactor: Redactor) -> dict[str, RuleClass]:
    found: dict[str, RuleClass] = {item.id: item.rule_class for item in redactor.rules.names}
    found |= {item.id: item.rule_class for item in redactor.rules.rules}
    return found | {ENGINE_ERROR: "secret", base.UNKNOWN_USER_RULE: "secret"}
