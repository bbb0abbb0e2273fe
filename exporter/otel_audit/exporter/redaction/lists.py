"""Secrets split over the items of a list: `["--password", "…"]`, a key in pieces, a PEM block in lines."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from otel_audit.exporter.redaction.hits import Hit
from otel_audit.exporter.redaction.replacement import marker

if TYPE_CHECKING:
    from otel_audit.exporter.redaction.engine import Redactor

# Pieces of one text, arguments of a command, lines.
_JOINERS: Final = ("", " ", "\n")
# Longer lists are data; what is split over their items is found within each of these parts of them.
_ITEMS_MAX: Final = 256
_CHARS_MAX: Final = 16_384


def joined_hits(items: list[str], redactor: Redactor, *, crossing: bool) -> dict[int, tuple[str, str]]:
    """Item index → (item without its piece of a secret, rule), for secrets that several items make together.

    crossing: only what begins in one item and ends in another; else also a value whose name is in another
    one, for items that are redacted by themselves already. Personal data is left alone: two numbers are often
    only neighbours. May raise, as the engine does.
    """
    changed: dict[int, tuple[str, str]] = {}
    for first in range(0, len(items), _ITEMS_MAX // 2):
        part = items[first : first + _ITEMS_MAX]
        if len(part) > 1 and sum(map(len, part)) <= _CHARS_MAX:
            for joiner in _JOINERS:
                for index, found in _together(part, joiner, redactor, crossing).items():
                    changed.setdefault(first + index, found)
    return changed


def _together(
    items: list[str], joiner: str, redactor: Redactor, crossing: bool
) -> dict[int, tuple[str, str]]:
    text = joiner.join(items)
    if not redactor.suspect(text, personal=False):
        return {}
    starts = list(accumulate((len(item) + len(joiner) for item in items), initial=0))
    hits = [_of_one_item(hit, items, starts) for hit in redactor.hits(text, personal=False)]
    changed: dict[int, tuple[str, str]] = {}
    for index, (start, item) in enumerate(zip(starts, items, strict=False)):
        rest, rule = item, ""
        end = start + len(item)
        for hit in reversed(hits):
            whole = start <= hit.start and hit.end <= end
            if hit.start < end and hit.end > start and not (crossing and whole):
                rule = hit.rule
                rest = rest[: max(0, hit.start - start)] + marker(rule) + rest[hit.end - start :]
        if rule:
            changed[index] = (rest, rule)
    return changed


def _of_one_item(hit: Hit, items: list[str], starts: list[int]) -> Hit:
    """A value whose name is in the item before ends with its own item, whatever is joined to it."""
    index = bisect_right(starts, hit.start) - 1
    named = index > 0 and (items[index - 1].endswith(("=", ":")) or items[index - 1].startswith("-"))
    if not named or hit.start != starts[index] or items[index - 1].startswith("-----"):
        return hit
    return hit._replace(end=min(hit.end, hit.start + len(items[index])))
