"""Walks names and values: what stands under a sensitive name is dropped, the rest is redacted as text."""

from __future__ import annotations

import json
from collections import Counter
from json.encoder import encode_basestring  # the C encoder where there is one
from typing import TYPE_CHECKING, Any, Final

from otel_audit.exporter.redaction.bounds import TooManyLooks
from otel_audit.exporter.redaction.identity import is_session_hash
from otel_audit.exporter.redaction.lists import joined_hits
from otel_audit.exporter.redaction.replacement import STANDS_FOR, marker
from otel_audit.exporter.redaction.rules import ENGINE_ERROR
from otel_audit.exporter.redaction.views import writable

if TYPE_CHECKING:
    from otel_audit.exporter.redaction.engine import Redactor
    from otel_audit.exporter.redaction.rules import NameRule

Hits = Counter[tuple[str, str]]
# Audit attributes are a few levels deep; beyond this a tree is an attack and its rest is dropped.
_DEPTH_MAX: Final = 64
# JSON in a string in JSON in a string: met once in practice, walked three times.
_JSON_LEVELS_MAX: Final = 3
# A path is evidence for people; longer ones keep their beginning.
_PATH_CHARS_MAX: Final = 256
_NAME_KEYS: Final = frozenset(
    {"name", "key", "field", "header", "attribute", "param", "parameter", "property"}
)
_VALUE_KEYS: Final = frozenset(
    {"value", "values", "before", "after", "old", "new", "oldvalue", "newvalue", "from", "to"}
)
_CHANGE_KEYS: Final = frozenset({"before", "after"})
_PAIR: Final = 2


class Number(str):
    """A JSON number kept as it was written."""

    __slots__ = ()


class NotJson(ValueError):
    """The text is no JSON object or array, or one that cannot be written back as it was."""


def parse_json(text: str) -> dict[str, Any] | list[Any]:
    """Parse an object or array; numbers stay as written, repeated names are kept. Raises NotJson."""
    try:
        value = json.loads(
            text,
            parse_float=Number,
            parse_int=Number,
            parse_constant=Number,
            object_pairs_hook=_object,
        )
    except (ValueError, RecursionError):
        raise NotJson("not a JSON document") from None
    if isinstance(value, dict | list):
        return value
    raise NotJson("neither an object nor an array")


def write_json(value: Any) -> str:
    """Compact JSON, characters as they are, order kept. Bounded by the depth of a walked tree."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{encode_basestring(k)}:{write_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(write_json, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        result[free_name(name, result)] = value
    return result


def free_name(name: str, taken: dict[str, Any]) -> str:
    """name, or name#2, … when it is taken: two secrets may become the same marker."""
    if name not in taken:
        return name
    number = len(taken) + 1
    while f"{name}#{number}" in taken:
        number += 1
    return f"{name}#{number}"


class TreeWalk:
    """One walk; collects hits as it goes. May raise: the Redactor fails closed."""

    def __init__(self, redactor: Redactor, *, personal: bool, depth: int = 0) -> None:
        """depth: how many layers of base64 the value was found in."""
        self._redactor = redactor
        self._depth = depth
        self._personal = personal
        self._json_level = 0

    def value(self, value: Any, path: str) -> tuple[Any, Hits]:
        """The redacted copy of any value, and its hits."""
        hits: Hits = Counter()
        return self._walk(value, path, hits, 0), hits

    def string(self, value: str, path: str) -> tuple[str, Hits]:
        """As `value` for a text, JSON or not."""
        hits: Hits = Counter()
        return self._string(value, path, hits, 0), hits

    def _walk(self, value: Any, path: str, hits: Hits, depth: int) -> Any:
        if isinstance(value, Number):
            return self._number(value, str(value), path, hits)
        if isinstance(value, str):
            return self._string(value, path, hits, depth)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return self._number(value, str(value), path, hits) if value > 10**12 else value
        if depth >= _DEPTH_MAX and isinstance(value, dict | list | tuple):
            hits[ENGINE_ERROR, path] += 1
            return marker(ENGINE_ERROR)
        if isinstance(value, dict):
            return self._dict(value, path, hits, depth)
        if isinstance(value, list | tuple):
            return self._list(value, path, hits, depth)
        if isinstance(value, bytes | bytearray):
            return self._string(bytes(value).decode("utf-8", "replace"), path, hits, depth)
        return value

    def _dict(self, value: dict[Any, Any], path: str, hits: Hits, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        named = self._named_by_sibling(value)
        for raw_name, item in value.items():
            name, name_hits, rule = self._redactor.name(str(raw_name), personal=self._personal)
            inner = f"{path}.{name}"[:_PATH_CHARS_MAX]
            for hit, count in name_hits.items():
                hits[hit, inner] += count
            if rule is None and name.lower().replace("_", "") in _VALUE_KEYS:
                rule = named
            if rule is None:
                new = self._walk(item, inner, hits, depth + 1)
            else:
                new = self._under(rule, item, inner, hits, depth + 1)
            result[free_name(name, result)] = new
        return result

    def _named_by_sibling(self, value: dict[Any, Any]) -> NameRule | None:
        """The rule of `{"name": "password", "value": …}`, or None; one without a validator goes first."""
        found: NameRule | None = None
        if len(value) < _PAIR:
            return None
        for name, item in value.items():
            if isinstance(item, str) and isinstance(name, str) and name.lower() in _NAME_KEYS:
                shown, _, rule = self._redactor.name(item, personal=self._personal)
                if shown != item or STANDS_FOR.search(item):
                    # A text with a secret is no name, neither before it is redacted nor after.
                    continue
                if rule is not None and not rule.validator:
                    return rule
                found = found or rule
        return found

    def _under(self, rule: NameRule, value: Any, path: str, hits: Hits, depth: int) -> Any:
        """What stays under a name of this rule; of lists and of before and after, each value is looked at."""
        if rule.covers(value):
            return self._drop(rule.id, value, path, hits)

        def dropped(item: Any, inner: str) -> Any:
            return self._drop(rule.id, item, inner, hits) if rule.covers(item) else item

        if isinstance(value, dict) and value.keys() <= _CHANGE_KEYS:
            value = {key: dropped(item, f"{path}.{key}") for key, item in value.items()}
        elif isinstance(value, list | tuple):
            value = [dropped(item, path) for item in value]
        return self._walk(value, path, hits, depth)

    def _list(self, value: list[Any] | tuple[Any, ...], path: str, hits: Hits, depth: int) -> list[Any]:
        if value and all(
            isinstance(i, list | tuple) and len(i) == _PAIR and type(i[0]) is str for i in value
        ):
            # Headers as name–value pairs.
            pairs = (self._dict({name: item}, path, hits, depth + 1) for name, item in value)
            return [list(next(iter(pair.items()))) for pair in pairs]
        items = self._joined(list(value), path, hits, crossing=True)
        walked = [self._walk(item, path, hits, depth + 1) for item in items]
        return self._joined(walked, path, hits, crossing=False)

    def _joined(self, items: list[Any], path: str, hits: Hits, *, crossing: bool) -> list[Any]:
        texts = [writable(item) if type(item) is str else "" for item in items]
        if sum(map(bool, texts)) > 1:
            for index, (text, rule_id) in joined_hits(texts, self._redactor, crossing=crossing).items():
                items[index] = text
                hits[rule_id, path] += 1
        return items

    def _drop(self, rule_id: str, value: Any, path: str, hits: Hits) -> Any:
        """What stays under a sensitive name: nothing said (null, true, empty) or a marker."""
        if value is None or isinstance(value, bool) or value in ("", [], (), {}):
            return value
        if isinstance(value, dict) and value.keys() <= _CHANGE_KEYS:
            return {key: self._drop(rule_id, item, f"{path}.{key}", hits) for key, item in value.items()}
        if isinstance(value, str) and (STANDS_FOR.fullmatch(value) or is_session_hash(value)):
            return value
        hits[rule_id, path] += 1
        return marker(rule_id)

    def _number(self, value: Any, digits: str, path: str, hits: Hits) -> Any:
        redacted = self._redactor.number(digits, path, personal=self._personal)
        if redacted is None:
            return value
        for rule_id, count in redacted[1].items():
            hits[rule_id, path] += count
        return redacted[0]

    def _string(self, value: str, path: str, hits: Hits, depth: int) -> str:
        value = writable(value)
        try:
            candidates = self._redactor.candidates(value, personal=self._personal)
        except TooManyLooks:
            hits[ENGINE_ERROR, path] += 1
            return marker(ENGINE_ERROR)
        if not candidates:
            return value
        if self._json_level < _JSON_LEVELS_MAX and value.lstrip()[:1] in ("{", "["):
            try:
                document = parse_json(value)
            except NotJson:
                pass
            else:
                return self._document(value, document, path, hits, depth)
        redacted, counts = self._redactor.flat(value, candidates, personal=self._personal, depth=self._depth)
        for rule_id, count in counts.items():
            hits[rule_id, path] += count
        return redacted

    def _document(self, value: str, document: Any, path: str, hits: Hits, depth: int) -> str:
        inner: Hits = Counter()
        self._json_level += 1
        redacted = self._walk(document, path, inner, depth + 1)
        self._json_level -= 1
        if not inner:
            return value
        hits.update(inner)
        return write_json(redacted)
