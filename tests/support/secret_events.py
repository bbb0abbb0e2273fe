"""Events with secrets of any rule at any place, beside innocent values; a seed always gives the same."""

from __future__ import annotations

from typing import Any, Final

from otel_audit.exporter.redaction import load_rules
from otel_audit.instrumentation.event import AuditEvent
from otel_audit.instrumentation.ids import uuid7
from tests.support.redaction_corpus import INNOCENT_TEMPLATES, Corpus

_TEMPLATES: Final = tuple(example for rule in load_rules().rules for example in rule.positive)
_NAMES: Final = (
    "note", "password", "api_key", "X-Auth-Token", "order", "name", "value", "payload", "user.email", "größe",
)  # fmt: skip
_LIST_MAX, _DEPTH_MAX = 3, 3


class SecretEvents:
    """Makes events, texts and trees; about half of their texts hold a secret."""

    def __init__(self, seed: int) -> None:
        self._corpus = Corpus(seed)
        self._random = self._corpus.random

    def text(self) -> str:
        kind = self._random.randrange(4)
        if kind == 0:
            return self._random.choice(("", "x", "Zürich 東京 🎉", 'a\nb\t"c"\\', "0", "null", "[1, 2", "{}"))
        return self._corpus.expand(self._random.choice(_TEMPLATES if kind > 1 else INNOCENT_TEMPLATES))

    def name(self) -> str:
        return self._random.choice(_NAMES) if self._random.random() < 0.8 else self.text() or "empty"

    def value(self, depth: int = 0) -> Any:
        """Text, a number, true, false, null, or a list or map of them."""
        kind = self._random.randrange(9 if depth < _DEPTH_MAX else 6)
        if kind < 3:
            return self.text()
        if kind < 6:
            plain = (True, False, None, 0, -7, 2.5, 1e30, 12345678901, self._random.getrandbits(60))
            return self._random.choice(plain)
        if kind == 6:
            return [self.value(depth + 1) for _ in range(self._random.randrange(_LIST_MAX))]
        return self.tree(depth + 1)

    def tree(self, depth: int = 0) -> dict[str, Any]:
        return {self.name(): self.value(depth) for _ in range(self._random.randrange(1, _LIST_MAX + 1))}

    def event(self) -> AuditEvent:
        return AuditEvent(
            record_id=uuid7(),
            time_unix_nano=1_700_000_000_000_000_000,
            category="data_access",
            action="update",
            message=self.text(),
            user_id=self.text(),
            user_email=self.text(),
            user_roles=("admin", self.text()),
            client_address=self.text(),
            user_agent=self.text(),
            session_id=self.text(),
            target_type="file",
            target_id=self.text(),
            target_name=self.text(),
            http_route=self.text(),
            # Named alone: the receiver sees fields of a change one by one.
            changes={self._random.choice(("note", "password", "size")): (self.value(), self.value())},
            attributes=self.tree(),
        )
