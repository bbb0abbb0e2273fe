"""What an app says it has hidden before it sent an event: evidence, checked as everything a sender says."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Final

from otel_audit.exporter.redaction.engine import Redactor

_CLAIM_CHARS_MAX: Final = 65_536
_ENTRIES_MAX: Final = 64
_FIELD_CHARS_MAX: Final = 256
_COUNT_MAX: Final = 1_000_000


def app_hits(claim: str, redactor: Redactor) -> Counter[tuple[str, str]]:
    """Hits per (rule, field) of the attribute `audit.redactions`; what cannot be true is left out.

    A rule has to be one we know, and the field's own name is redacted like any other text.
    """
    hits: Counter[tuple[str, str]] = Counter()
    if len(claim) > _CLAIM_CHARS_MAX:
        return hits
    try:
        entries: Any = json.loads(claim)
    except (ValueError, RecursionError):
        return hits
    known = redactor.rules.ids
    for entry in entries[:_ENTRIES_MAX] if isinstance(entries, list) else []:
        if not isinstance(entry, dict):
            continue
        rule, field, count = entry.get("rule"), entry.get("field"), entry.get("count")
        if not isinstance(rule, str) or rule not in known or not isinstance(field, str):
            continue
        if type(count) is int and 0 < count <= _COUNT_MAX:
            shown, _ = redactor.text(field[:_FIELD_CHARS_MAX], personal=True, field="redactions")
            hits[rule, shown] += count
    return hits
