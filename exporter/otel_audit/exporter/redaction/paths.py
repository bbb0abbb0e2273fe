"""The values of a JSON document that a policy names by path: taken out, changed, put back in their places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import Any, Final, NamedTuple

from otel_audit.exporter.redaction.actions import HIDDEN, POLICY_MARKER, Action, Tokenise, acted
from otel_audit.exporter.redaction.policy import POLICY_RULES

# As tree.py's: a path is evidence for people.
_PATH_CHARS_MAX: Final = 256
_CHANGE: Final = frozenset({"before", "after"})


class _Taken(NamedTuple):
    """A value that was taken out. secret: whether redaction has found a secret in it."""

    action: Action
    value: Any
    secret: bool


Places = Any
"""The document's containers with _Taken where a value was, and None elsewhere."""


class ActionWalk:
    """Finds values by path. A name may have dots of its own: `a.b` is {"a.b": …} and {"a": {"b": …}}.

    Lists are walked as if their items stood in their place; the longest path that fits a value counts.
    """

    def __init__(self, paths: Mapping[str, Action]) -> None:
        self.paths = dict(paths)
        # Every spelling of a path begins with a name that begins like this.
        self._begin = {encode_basestring(path.partition(".")[0])[:-1] for path in paths}
        self._parents = {path[:at] for path in paths for at, char in enumerate(path) if char == "."}

    def may_be_in(self, text: str) -> bool:
        """Whether the text of a document may hold one of the paths; False is certain."""
        # A name may be written with escapes, and then begins like none of them.
        return any(begin in text for begin in self._begin) or (bool(self._begin) and "\\" in text)

    def take(self, safe: Any, original: Any) -> tuple[Any, Places]:
        """The document `safe` without the named values, and where they were.

        safe: `original` without its secrets, in the same order. Both are no deeper than a walked tree.
        """
        return self._take(safe, original, "", None)

    def put_back(
        self, document: Any, places: Places, column: str, tokenise: Tokenise
    ) -> tuple[Any, Counter[tuple[str, str]]]:
        """`document`, as `take` left it or redacted since, with the changed values; and the hits."""
        hits: Counter[tuple[str, str]] = Counter()
        return _put(document, places, column, tokenise, hits), hits

    def _take(self, safe: Any, original: Any, path: str, action: Action | None) -> tuple[Any, Places]:
        action = self.paths.get(path, action)
        if isinstance(safe, dict) and not self._is_whole(safe, path, action):
            others = list(original.values()) if isinstance(original, dict) else []
            rest: dict[str, Any] = {}
            places: dict[int, Places] = {}
            for number, (name, value) in enumerate(safe.items()):
                inner = f"{path}.{name}" if path else name
                if path and safe.keys() <= _CHANGE and not self._leads(inner):
                    inner = path  # before and after of a change are the field itself
                if action is None and not self._leads(inner):
                    rest[name] = value
                    continue
                other = others[number] if number < len(others) else None
                rest[name], places[number] = self._take(value, other, inner, action)
            return rest, places
        if isinstance(safe, list) and not self._is_whole(safe, path, action):
            others = list(original) if isinstance(original, list) else []
            pairs = [
                self._take(item, others[number] if number < len(others) else None, path, action)
                for number, item in enumerate(safe)
            ]
            return [pair[0] for pair in pairs], {number: pair[1] for number, pair in enumerate(pairs)}
        if action is None or safe is None or safe in ("", {}, []):
            return safe, None
        if isinstance(safe, str) and HIDDEN.fullmatch(safe):
            return safe, None
        return None, _Taken(action, safe, safe != original)

    def _leads(self, path: str) -> bool:
        """Whether a path is named, or lies above one that is."""
        return path in self.paths or path in self._parents

    def _is_whole(self, value: Any, path: str, action: Action | None) -> bool:
        """Whether a container goes as one: redacted, with nothing below it that a longer path names."""
        change = isinstance(value, dict) and value.keys() <= _CHANGE
        return action == "redact" and path not in self._parents and not change


def _put(document: Any, places: Places, path: str, tokenise: Tokenise, hits: Counter[tuple[str, str]]) -> Any:
    if isinstance(places, _Taken):
        new = _changed(places, tokenise)
        if new != places.value:
            hits[POLICY_RULES[places.action], path[:_PATH_CHARS_MAX]] += 1
        return new
    if not places:
        return document
    if isinstance(document, dict):
        return {
            name: _put(value, places.get(number), f"{path}.{name}", tokenise, hits)
            for number, (name, value) in enumerate(document.items())
        }
    if isinstance(document, list):
        return [_put(item, places.get(number), path, tokenise, hits) for number, item in enumerate(document)]
    return document  # redaction has hidden all of it since


def _changed(taken: _Taken, tokenise: Tokenise) -> Any:
    value = taken.value
    if taken.action == "keep":
        return value
    if isinstance(value, str):
        return acted(taken.action, str(value), secret=taken.secret, tokenise=tokenise)
    # True and false have no first letter, and a token of one of two values hides nothing.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return POLICY_MARKER
    return acted(taken.action, str(value), secret=taken.secret, tokenise=tokenise)
