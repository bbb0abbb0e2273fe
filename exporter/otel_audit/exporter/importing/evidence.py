"""What redaction did to an event before it was exported stays in its column `redactions`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from otel_audit.exporter.receiver.rows import replaced
from otel_audit.exporter.redaction.policy import POLICY_RULES, UNKNOWN_USER_RULE
from otel_audit.exporter.redaction.rules import ENGINE_ERROR, RuleSet
from otel_audit.exporter.store.schema import ROW

from .event_line import Facts

_COUNT_MAX: Final = 2**31 - 1


class Evidence:
    """Adds exported evidence to redacted rows.

    Only known rules and columns are taken over: any other text of a file has not been redacted. So a path
    inside a JSON column becomes the column.
    """

    def __init__(self, rules: RuleSet) -> None:
        self._rules = {*rules.ids, *POLICY_RULES.values(), UNKNOWN_USER_RULE, ENGINE_ERROR}

    def added(self, rows: pa.RecordBatch, facts: Sequence[Facts | None]) -> pa.RecordBatch:
        """The same rows (schema ROW) with what `facts`, one entry a row, tell of earlier redaction."""
        if not any(each is not None and each.redactions for each in facts):
            return rows
        redactions = [
            [*(own or ()), *self._trusted(each)]
            for own, each in zip(rows.column("redactions").to_pylist(), facts, strict=True)
        ]
        return replaced(rows, "redactions", redactions)

    def _trusted(self, facts: Facts | None) -> list[dict[str, Any]]:
        counts: Counter[tuple[str, str]] = Counter()
        for item in facts.redactions if facts is not None else ():
            if not isinstance(item, dict):
                continue
            rule, path, count = item.get("rule"), item.get("field"), item.get("count")
            column = path.partition(".")[0] if isinstance(path, str) else ""
            known = isinstance(rule, str) and rule in self._rules and column in ROW.names
            if known and isinstance(count, int) and 0 < count <= _COUNT_MAX:
                counts[str(rule), column] = min(counts[str(rule), column] + count, _COUNT_MAX)
        return [{"rule": r, "field": f, "count": n} for (r, f), n in sorted(counts.items())]
