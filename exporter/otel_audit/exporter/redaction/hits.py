"""What redaction found in a text: hits and their overlaps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from otel_audit.exporter.redaction.replacement import marker
from otel_audit.exporter.redaction.rules import RuleClass


class Hit(NamedTuple):
    """One thing to hide, in characters of the original text."""

    start: int
    end: int
    rule: str
    rule_class: RuleClass
    rank: int
    replacement: str


def without_overlaps(found: Iterable[Hit]) -> list[Hit]:
    """One hit a cluster of overlapping ones, covering all of it.

    Personal data inside or across a secret is not told apart from it. The longest hit names the cluster;
    its mask is kept only when it covers the cluster alone.
    """
    found = set(found)
    secrets = _clusters([h for h in found if h.rule_class != "personal"])
    personal = _clusters([h for h in found if h.rule_class == "personal"])
    kept: list[Hit] = []
    at = 0
    for hit in personal:
        while at < len(secrets) and secrets[at].end <= hit.start:
            at += 1
        if at == len(secrets) or secrets[at].start >= hit.end:
            kept.append(hit)
    return sorted([*secrets, *kept])


def _clusters(found: list[Hit]) -> list[Hit]:
    result: list[Hit] = []
    best: Hit | None = None
    start = end = 0
    for hit in sorted(found, key=lambda h: (h.start, h.end, h.rank, h.rule)):
        if best is not None and hit.start < end:
            end = max(end, hit.end)
            best = min(best, hit, key=lambda h: (h.start - h.end, h.rank, h.rule, h.replacement))
            continue
        if best is not None:
            result.append(_covering(best, start, end))
        best, start, end = hit, hit.start, hit.end
    if best is not None:
        result.append(_covering(best, start, end))
    return result


def _covering(hit: Hit, start: int, end: int) -> Hit:
    if (hit.start, hit.end) == (start, end):
        return hit
    return hit._replace(start=start, end=end, replacement=marker(hit.rule))


def replaced(value: str, hits: list[Hit]) -> str:
    """value with every hit replaced. hits: ascending, without overlaps."""
    pieces: list[str] = []
    last = 0
    for hit in hits:
        pieces += (value[last : hit.start], hit.replacement)
        last = hit.end
    pieces.append(value[last:])
    return "".join(pieces)
