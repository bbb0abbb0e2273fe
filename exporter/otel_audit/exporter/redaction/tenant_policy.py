"""A tenant's redaction policy as data, checked when it is read: what becomes of which field, which rules run.

    enable = ["us_ssn"]                     # rules that are off by default

    [fields]
    user_id = "tokenise"                    # a column: keep, mask, redact or tokenise
    client_address = "mask"
    "attributes.customer.name" = "redact"   # a path in a JSON column

    [rules]
    phone = "redact"                        # in free text: keep, mask or redact

    [classes]
    personal = "mask"

Secret and credential rules run whatever it says.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from otel_audit.exporter.redaction import policy
from otel_audit.exporter.redaction.actions import Action
from otel_audit.exporter.redaction.catalogue import RuleFacts, catalogue
from otel_audit.exporter.redaction.rules import CLASSES
from otel_audit.instrumentation.errors import AuditError
from otel_audit.instrumentation.vocabulary import Attr

BYTES_MAX: Final = 64 << 10
"""A policy is written by people; it is read for every tenant and kept with every change of it."""
# Each path costs a look at every event of the tenant.
FIELDS_MAX: Final = 200
_NAME_CHARS_MAX: Final = 256
_SECTIONS: Final = ("enable", "fields", "rules", "classes")
_ALL: Final[tuple[Action, ...]] = ("keep", "mask", "redact", "tokenise")
_TEXT: Final[tuple[Action, ...]] = ("keep", "mask", "redact")
_SECRET: Final[tuple[Action, ...]] = ("redact",)
_NEEDED: Final = (
    *policy.NAMING_COLUMNS,
    *policy.LIST_COLUMNS,
    *policy.UNTOUCHED_COLUMNS,
    *policy.SET_BY_WRITER,
    "user_type",
)
# The service's own words about an event; what they quote of a person follows that person's column.
_OWN_PATHS: Final = ("attributes.audit.", "attributes.otel_audit.")
_OWN_QUOTES: Final = {
    "user": ("user_id", "user_email"),
    "ip": ("client_address",),
    "resource_id": ("resource_id",),
}
# Where the service's own events quote filters: of searches, and of legal holds.
_QUOTED_IN: Final = {"attributes": "otel_audit.filters.", "changes": "filters."}
# Attributes that fill a column, and stay attributes when they do not fit.
_SOURCES: Final = {
    "user_id": (Attr.ACTOR_ID, Attr.USER_ID, Attr.ENDUSER_ID),
    "user_email": (Attr.USER_EMAIL,),
    "user_name": (Attr.USER_NAME,),
    "on_behalf_of": (Attr.ACTOR_ON_BEHALF_OF,),
    "client_address": (Attr.CLIENT_ADDRESS,),
    "user_agent": (Attr.USER_AGENT,),
    "resource_id": (Attr.TARGET_ID,),
    "resource_name": (Attr.TARGET_NAME,),
    "http_route": (Attr.HTTP_ROUTE,),
}
_STRICTNESS: Final = {"keep": 0, "mask": 1, "tokenise": 2, "redact": 3}


class PolicyError(AuditError):
    """A redaction policy that cannot be used; nothing of it is."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A checked policy; pairs are sorted, so that equal policies compare equal. The default says nothing."""

    enable: tuple[str, ...] = ()
    fields: tuple[tuple[str, Action], ...] = ()
    rules: tuple[tuple[str, Action], ...] = ()
    classes: tuple[tuple[str, Action], ...] = ()

    @property
    def version(self) -> str:
        """8 hex digits of the SHA-256 of its canonical JSON; empty for the default."""
        return "" if self == DEFAULT else hashlib.sha256(self.to_json().encode()).hexdigest()[:8]

    def as_dict(self) -> dict[str, Any]:
        """What a policy file says, without empty parts."""
        parts = {
            "enable": list(self.enable),
            "fields": dict(self.fields),
            "rules": dict(self.rules),
            "classes": dict(self.classes),
        }
        return {name: part for name, part in parts.items() if part}

    def to_json(self) -> str:
        """Canonical; `parse_policy` reads it back."""
        return json.dumps(self.as_dict(), ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    def of_column(self, column: str) -> Action | None:
        """What it says about a column as a whole."""
        return dict(self.fields).get(column)

    def of_paths(self, column: str) -> dict[str, Action]:
        """Path below a JSON column → action, with what follows from the columns."""
        paths = self._named(column)
        for name, columns in _OWN_QUOTES.items() if column in _QUOTED_IN else ():
            said = [act for act in map(self._of_all, columns) if act is not None]
            if said:
                paths.setdefault(_QUOTED_IN[column] + name, max(said, key=_STRICTNESS.__getitem__))
        if column == "attributes" and any(action != "keep" for action in self._named("changes").values()):
            # A change that is no two maps has no fields to tell apart, and stays an attribute.
            for side in (Attr.CHANGE_BEFORE, Attr.CHANGE_AFTER):
                paths.setdefault(side, "redact")
        for source, names in _SOURCES.items() if column in ("attributes", "otel_resource") else ():
            action = self._of_all(source)
            if action is not None:
                # The receiver keeps what does not fit into a column, or comes twice, under its own name.
                paths = {each: action for name in names for each in (name, f"{name}.received")} | paths
        return paths

    def _named(self, column: str) -> dict[str, Action]:
        prefix = f"{column}."
        return {name.removeprefix(prefix): act for name, act in self.fields if name.startswith(prefix)}

    def _of_all(self, column: str) -> Action | None:
        """What becomes of every value of a column, whatever the rules find in it."""
        action = self.of_column(column)
        if action == "keep" or (action != "tokenise" and column in policy.FREE_TEXT_COLUMNS):
            return None
        return action

    def of_rule(self, rule_id: str, rule_class: str) -> Action | None:
        """What it says about a rule: by its id, else by its class."""
        return dict(self.rules).get(rule_id) or dict(self.classes).get(rule_class)

    @property
    def tokenises(self) -> bool:
        return any(action == "tokenise" for _, action in self.fields)


DEFAULT: Final = Policy()


def parse_policy(text: str) -> Policy:
    """Check a policy written as TOML or JSON. Raises PolicyError, naming what is wrong and what is near."""
    if len(text.encode("utf-8", "replace")) > BYTES_MAX:
        raise PolicyError("the policy is too long", hint=f"at most {BYTES_MAX >> 10} KiB")
    data = _read(text)
    for name in data:
        if name not in _SECTIONS:
            raise _unknown("part", name, _SECTIONS)
    enable = data.get("enable", [])
    if not isinstance(enable, list) or not all(isinstance(item, str) for item in enable):
        raise PolicyError("enable is not a list of rule ids", hint='write enable = ["us_ssn"]')
    rules = {facts.id: facts for facts in catalogue()}
    _check_enabled(enable, rules)
    return Policy(
        tuple(sorted(set(enable))),
        _checked("fields", data, _field_actions),
        _checked("rules", data, lambda name: _rule_actions(name, rules, enable)),
        _checked("classes", data, _class_actions),
    )


def _read(text: str) -> dict[str, Any]:
    try:
        if text.lstrip("\ufeff \t\r\n").startswith("{"):
            data = json.loads(text, object_pairs_hook=_once)
        else:
            data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise PolicyError(
            f"the policy is neither TOML nor JSON: {error}", hint="docs/redaction.md shows one"
        ) from None
    return cast(dict[str, Any], data)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} is given twice")
        found[name] = value
    return found


def _checked(section: str, data: Mapping[str, Any], allowed_for: Any) -> tuple[tuple[str, Action], ...]:
    """The (name, action) pairs of one part. allowed_for: name → the actions it may have."""
    table = data.get(section, {})
    if not isinstance(table, dict):
        raise PolicyError(
            f"{section} is not a table", hint=f'write [{section}] and lines such as name = "mask"'
        )
    found: dict[str, Action] = {}
    for name, action in _flat(table):
        allowed: tuple[Action, ...] = allowed_for(name)
        if not isinstance(action, str) or action not in _ALL:
            raise _unknown("action", str(action), _ALL, f" for {name}")
        if action not in allowed:
            raise PolicyError(
                f"{name} cannot be {action!r}", hint=f"it may be {' or '.join(allowed)}; {_why(name)}"
            )
        if name in found:
            raise PolicyError(f"{name} is given twice", hint="keep one of the two")
        found[name] = action
    if len(found) > FIELDS_MAX:
        raise PolicyError(f"{section} has more than {FIELDS_MAX} entries", hint="name the fields that matter")
    return tuple(sorted(found.items()))


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """TOML reads unquoted dots as tables in tables; both spellings mean the same here."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _field_actions(name: str) -> tuple[Action, ...]:
    column, dot, path = name.partition(".")
    if dot and column in policy.JSON_TEXT_COLUMNS and path:
        if name.startswith(_OWN_PATHS):
            raise PolicyError(f"{name} is the service's own", hint="it follows the columns it quotes")
        if len(name) > _NAME_CHARS_MAX:
            raise PolicyError(f"{name[:60]}… is too long", hint=f"at most {_NAME_CHARS_MAX} characters")
        return _ALL
    if name in policy.HIDEABLE_COLUMNS or name in policy.FREE_TEXT_COLUMNS:
        return _ALL
    if name in policy.JSON_TEXT_COLUMNS:
        return _TEXT
    if name in policy.HASHED_COLUMNS:
        raise PolicyError(f"{name} is always hashed", hint="leave it out")
    if name in _NEEDED:
        raise PolicyError(
            f"{name} is needed as it is",
            hint="search, retention and evidence rest on it; secrets are removed from it anyway",
        )
    known = (*policy.HIDEABLE_COLUMNS, *policy.FREE_TEXT_COLUMNS, *policy.JSON_TEXT_COLUMNS)
    raise _unknown("field", name, (*known, *(f"{column}.<name>" for column in policy.JSON_TEXT_COLUMNS)))


def _rule_actions(name: str, rules: Mapping[str, RuleFacts], enabled: Iterable[str]) -> tuple[Action, ...]:
    facts = rules.get(name)
    if facts is None:
        raise _unknown("rule", name, rules)
    if not facts.enabled and name not in enabled:
        raise PolicyError(f"rule {name} is off", hint=f'add it: enable = ["{name}"]')
    return _TEXT if facts.rule_class == "personal" else _SECRET


def _class_actions(name: str) -> tuple[Action, ...]:
    if name not in CLASSES:
        raise _unknown("class", name, CLASSES)
    return _TEXT if name == "personal" else _SECRET


def _check_enabled(enable: Iterable[str], rules: Mapping[str, RuleFacts]) -> None:
    optional = [facts.id for facts in rules.values() if not facts.enabled]
    for name in enable:
        if name not in rules:
            raise _unknown("rule", name, optional)


def _why(name: str) -> str:
    if name in policy.JSON_TEXT_COLUMNS:
        return f"a value below it, such as {name}.email, may be tokenised"
    return "secrets and credentials are always hidden, personal data has no token in a text"


def _unknown(what: str, name: str, known: Iterable[str], where: str = "") -> PolicyError:
    listed = list(known)
    near = difflib.get_close_matches(name, listed, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(listed[:40])}"
    return PolicyError(f"there is no {what} {name[:80]!r}{where}", hint=hint)
