"""Redaction rules as data: what `rules.toml` may say, checked when it is loaded.

Patterns keep to a subset that means the same in RE2 and in Python's `re`, so that the app and the receiver
hide the same characters.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

from otel_audit.exporter.redaction.policy import POLICY_MARKER_RULE, UNKNOWN_USER_RULE
from otel_audit.exporter.redaction.replacement import REPLACEMENTS
from otel_audit.exporter.redaction.validators import VALIDATORS
from otel_audit.instrumentation.errors import AuditError

RuleClass = Literal["secret", "credential", "personal"]
CLASSES: Final[tuple[str, ...]] = get_args(RuleClass)
ENGINE_ERROR: Final = "engine_error"
# Lower snake case keeps a marker free of anything a rule, a URL or a CSV cell could trip over.
_ID: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
# Case is folded before matching; the escapes below, `.` and lookaround differ between the engines.
_NOT_PORTABLE: Final = re.compile(r"\\[^\W_tnrx]|\(\?(?!:)|\$|(?<![\\\[])\.|[A-Z]")
_TEXT_KEYS: Final = ("pattern", "trigger", "validator", "extend_left", "not_before", "not_after")
_LIST_KEYS: Final = ("anchors", "prefixes", "positive", "negative")


class RuleError(AuditError):
    """`rules.toml` says something the engine does not understand; nothing is redacted with half a file."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing to hide.

    anchors: folded literals one of which every match contains; without one, `trigger` is a cheap pattern.
    pattern: its first group, or all of it, is the candidate; validator may narrow or refuse it.
    extend_left: body of a character class; the span grows over at most 64 such characters before it.
    not_before, not_after: bodies of character classes that may not stand beside the span.
    rescan: look again inside a refused candidate (patterns of bounded length only).
    """

    id: str
    rule_class: RuleClass
    pattern: str
    replace: str
    anchors: tuple[str, ...] = ()
    trigger: str = ""
    validator: str = ""
    extend_left: str = ""
    not_before: str = ""
    not_after: str = ""
    rescan: bool = False
    prefixes: tuple[str, ...] = ()
    positive: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NameRule:
    """Names whose value is dropped. words: the name ends with them; exact: its last part is just that."""

    id: str
    rule_class: RuleClass
    words: tuple[str, ...]
    exact: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All rules of one file, in file order. version: the first 12 hex digits of the file's SHA-256."""

    rules: tuple[Rule, ...]
    names: tuple[NameRule, ...]
    version: str

    @property
    def ids(self) -> frozenset[str]:
        """Every id that may stand in a marker."""
        return frozenset([*(r.id for r in self.rules), *(n.id for n in self.names)]) | {
            ENGINE_ERROR,
            UNKNOWN_USER_RULE,
            POLICY_MARKER_RULE,
        }


def load_rules(path: Path | None = None, *, enable: Iterable[str] = ()) -> RuleSet:
    """Read and check a rule file; None is the packaged one. Raises RuleError.

    enable: rules that run although the file says `enabled = false`.
    """
    try:
        if path is None:
            source = resources.files("otel_audit.exporter.redaction").joinpath("rules.toml").read_bytes()
        else:
            source = path.read_bytes()
        data = tomllib.loads(source.decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RuleError(
            f"the redaction rules cannot be read: {error}", hint="reinstall, or mend the file"
        ) from None
    unknown = set(data) - {"rule", "name"}
    if unknown:
        raise _bad("file", f"unknown table {sorted(unknown)[0]}")
    wanted = set(enable)
    every = [(_rule(item), bool(item.get("enabled", True))) for item in data.get("rule", [])]
    for name in sorted(wanted - {rule.id for rule, _ in every}):
        raise _bad(name, "there is no such rule")
    rules = tuple(rule for rule, enabled in every if enabled or rule.id in wanted)
    names = tuple(_name(item) for item in data.get("name", []))
    if not rules or not names:
        raise _bad("file", "it has no rules or no names")
    for ids in ([rule.id for rule in rules], [name.id for name in names]):
        twice = [item_id for item_id in ids if ids.count(item_id) > 1]
        if twice:
            raise _bad(twice[0], "the id is used twice")
    return RuleSet(rules, names, hashlib.sha256(source).hexdigest()[:12])


def portable_pattern(pattern: str) -> str:
    """The pattern itself when it means the same in RE2 and `re`; raises RuleError otherwise."""
    plain = re.sub(r"\[(?:\\.|[^\]\\])*\]", lambda m: m.group().replace(".", "x").replace("$", "x"), pattern)
    found = _NOT_PORTABLE.search(plain)
    if found:
        raise _bad(pattern, f"{found.group()!r} is outside the portable subset")
    try:
        re.compile(pattern)
    except re.error as error:
        raise _bad(pattern, f"not a pattern: {error}") from None
    return pattern


def _bad(what: str, why: str) -> RuleError:
    return RuleError(f"redaction rule {what}: {why}", hint="docs/redaction.md lists the keys of a rule")


def _rule(item: Mapping[str, Any]) -> Rule:
    rule_id = _id(item)
    _known_keys(rule_id, item, {"id", "class", "replace", "rescan", "enabled", *_TEXT_KEYS, *_LIST_KEYS})
    values: dict[str, Any] = {key: str(item.get(key, "")) for key in _TEXT_KEYS}
    values |= {key: tuple(str(text) for text in item.get(key, ())) for key in _LIST_KEYS}
    values["replace"] = str(item.get("replace", "marker"))
    values["rescan"] = bool(item.get("rescan", False))
    rule = Rule(id=rule_id, rule_class=_class(rule_id, item), **values)
    if not rule.anchors and not rule.trigger:
        raise _bad(rule_id, "it needs anchors or a trigger")
    if any(not anchor or anchor != anchor.lower() for anchor in rule.anchors):
        raise _bad(rule_id, "anchors are lower-case literals")
    if rule.validator and rule.validator not in VALIDATORS:
        raise _bad(rule_id, f"unknown validator {rule.validator!r}")
    if rule.replace not in REPLACEMENTS:
        raise _bad(rule_id, f"unknown replacement {rule.replace!r}")
    if rule.rescan and re.search(r"[*+]|\{[0-9]+,\}", re.sub(r"\[[^\]]*\]", "", rule.pattern)):
        raise _bad(rule_id, "rescan needs a pattern of bounded length")
    if not rule.pattern:
        raise _bad(rule_id, "it has no pattern")
    for pattern in filter(None, (rule.pattern, rule.trigger)):
        portable_pattern(pattern)
    return rule


def _name(item: Mapping[str, Any]) -> NameRule:
    name_id = _id(item)
    _known_keys(name_id, item, {"id", "class", "words", "exact"})
    words, exact = (tuple(str(word) for word in item.get(key, ())) for key in ("words", "exact"))
    if any(not word or word != word.lower() for word in (*words, *exact)):
        raise _bad(name_id, "words are lower case, their parts separated by spaces")
    return NameRule(name_id, _class(name_id, item), words, exact)


def _id(item: Mapping[str, Any]) -> str:
    rule_id = str(item.get("id", ""))
    if not _ID.fullmatch(rule_id) or rule_id == ENGINE_ERROR:
        raise _bad(repr(rule_id), "an id is lower snake case, at most 40 characters")
    return rule_id


def _class(rule_id: str, item: Mapping[str, Any]) -> RuleClass:
    rule_class = item.get("class")
    if rule_class not in CLASSES:
        raise _bad(rule_id, f"class must be one of {', '.join(CLASSES)}")
    return cast(RuleClass, rule_class)


def _known_keys(rule_id: str, item: Mapping[str, Any], known: set[str]) -> None:
    unknown = set(item) - known
    if unknown:
        raise _bad(rule_id, f"unknown key {sorted(unknown)[0]!r}")
