"""Redaction rules as data: what `rules/*.toml` may say, checked when it is loaded.

Patterns keep to a subset that means the same in RE2 and in Python's `re`, so that the app and the receiver
hide the same characters.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from importlib.resources.abc import Traversable
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
    """A rule file says something the engine does not understand; nothing is redacted with half a file."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing to hide.

    anchors: folded literals one of which every match contains; without one, `trigger` is a cheap pattern.
    pattern: its first group, or all of it, is the candidate; validator may narrow or refuse it.
    extend_left: body of a character class; the span grows over at most 64 such characters before it.
    not_before, not_after: bodies of character classes that may not stand beside the span.
    rescan: look again inside a refused candidate (patterns of bounded length only).
    enabled: False in the file means off until a caller asks for the rule by its id.
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
    enabled: bool = True
    prefixes: tuple[str, ...] = ()
    positive: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NameRule:
    """Names whose value is dropped. words: the name ends with them; exact: its last part is just that.

    validator: only values that pass it are dropped, because the words also end innocent names.
    """

    id: str
    rule_class: RuleClass
    words: tuple[str, ...]
    exact: tuple[str, ...]
    validator: str = ""

    def covers(self, value: object) -> bool:
        """Whether this value, found under such a name, is one to drop."""
        if not self.validator:
            return True
        return isinstance(value, str) and VALIDATORS[self.validator](value) is not None


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules in use, in the order of their files, and those that are off.

    version: the first 12 hex digits of the SHA-256 of the files and of what was switched on.
    """

    rules: tuple[Rule, ...]
    names: tuple[NameRule, ...]
    version: str
    disabled: tuple[Rule, ...] = ()

    @property
    def ids(self) -> frozenset[str]:
        """Every id that may stand in a marker, those that are off too: another end may have used them."""
        rules = (rule.id for rule in (*self.rules, *self.disabled))
        others = (ENGINE_ERROR, UNKNOWN_USER_RULE, POLICY_MARKER_RULE)
        return frozenset([*rules, *(name.id for name in self.names), *others])


def load_rules(path: Path | None = None, *, enable: Iterable[str] = ()) -> RuleSet:
    """Read and check rules: one file, or all `*.toml` of a folder by name; None is the packaged folder.

    enable: ids of rules to use although the file has them off. Raises RuleError.
    """
    sources = _sources(path)
    rules: list[Rule] = []
    names: list[NameRule] = []
    for source in sources:
        data = _parsed(source)
        unknown = set(data) - {"rule", "name"}
        if unknown:
            raise _bad("file", f"unknown table {sorted(unknown)[0]}")
        rules += [_rule(item) for item in data.get("rule", [])]
        names += [_name(item) for item in data.get("name", [])]
    if not rules or not names:
        raise _bad("file", "it has no rules or no names")
    for ids in ([rule.id for rule in rules], [name.id for name in names]):
        twice = [item_id for item_id in ids if ids.count(item_id) > 1]
        if twice:
            raise _bad(twice[0], "the id is used twice")
    return _switched(rules, names, sources, frozenset(enable))


def _switched(
    rules: list[Rule], names: list[NameRule], sources: list[bytes], enable: frozenset[str]
) -> RuleSet:
    absent = enable - {rule.id for rule in rules}
    if absent:
        off = ", ".join(rule.id for rule in rules if not rule.enabled) or "none"
        raise RuleError(
            f"no redaction rule is called {sorted(absent)[0]!r}", hint=f"rules that are off: {off}"
        )
    switched_on = {rule.id for rule in rules if not rule.enabled} & enable
    known = [replace(rule, enabled=rule.enabled or rule.id in enable) for rule in rules]
    digest = hashlib.sha256(b"\n".join([*sources, *(item.encode() for item in sorted(switched_on))]))
    return RuleSet(
        rules=tuple(rule for rule in known if rule.enabled),
        names=tuple(names),
        version=digest.hexdigest()[:12],
        disabled=tuple(rule for rule in known if not rule.enabled),
    )


def _sources(path: Path | None) -> list[bytes]:
    folder: Traversable = (
        resources.files("otel_audit.exporter.redaction").joinpath("rules") if path is None else path
    )
    try:
        if not folder.is_dir():
            return [folder.read_bytes()]
        files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
        return [file.read_bytes() for file in files]
    except OSError as error:
        raise _unreadable(error) from None


def _parsed(source: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(source.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _unreadable(error) from None


def _unreadable(error: Exception) -> RuleError:
    return RuleError(f"the redaction rules cannot be read: {error}", hint="reinstall, or mend the file")


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
    values["enabled"] = bool(item.get("enabled", True))
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
    _known_keys(name_id, item, {"id", "class", "words", "exact", "validator"})
    words, exact = (tuple(str(word) for word in item.get(key, ())) for key in ("words", "exact"))
    if any(not word or word != word.lower() for word in (*words, *exact)):
        raise _bad(name_id, "words are lower case, their parts separated by spaces")
    validator = str(item.get("validator", ""))
    if validator and validator not in VALIDATORS:
        raise _bad(name_id, f"unknown validator {validator!r}")
    return NameRule(name_id, _class(name_id, item), words, exact, validator)


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
