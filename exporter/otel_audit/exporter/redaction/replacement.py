"""What stands in place of a secret: a marker, or a mask that still tells people which one it was."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from otel_audit.exporter.redaction.bounds import TooManyLooks

Replacement = Callable[[str, str, tuple[str, ...]], str]
# Below this, a prefix and four characters would show too much of a key.
_MASK_KEY_MIN: Final = 16
# More than all rounds leave in any text.
_SETTLED_MAX: Final = 20_000
BULLETS: Final = "•••"
_SETTLED: Final = re.compile(
    r"\[REDACTED:([a-z][a-z0-9_]{0,39})\]|\[UNKNOWN_USER:[0-9a-f]{8}\]|…[A-Za-z0-9_+/-]{4}"
)


STANDS_FOR: Final = re.compile(r"\[(?:REDACTED:[a-z][a-z0-9_]{0,39}|UNKNOWN_USER:[0-9a-f]{8})\]")
"""Matches what stands in place of a whole value."""


def marker(rule_id: str) -> str:
    """`[REDACTED:<rule id>]`."""
    return f"[REDACTED:{rule_id}]"


def _marker(secret: str, rule_id: str, prefixes: tuple[str, ...]) -> str:
    return marker(rule_id)


def _mask_key(secret: str, rule_id: str, prefixes: tuple[str, ...]) -> str:
    folded, last = secret.lower(), secret.rstrip("=")[-4:]
    prefix = next((p for p in prefixes if folded.startswith(p.lower())), "")
    if not prefix or len(secret) < _MASK_KEY_MIN or not re.fullmatch(r"[A-Za-z0-9_+/-]{4}", last):
        return marker(rule_id)
    return f"{prefix}…{last}"


def _mask_email(secret: str, rule_id: str, prefixes: tuple[str, ...]) -> str:
    local, _, domain = secret.partition("@")
    return f"{local[0] if len(local) > 1 else ''}{BULLETS}@{domain}"


def _mask_phone(secret: str, rule_id: str, prefixes: tuple[str, ...]) -> str:
    return f"{secret[:3]}{BULLETS}{secret[-2:]}"


def _compact(grouped: str) -> str:
    return grouped.replace(" ", "").replace("-", "").replace(".", "")


def _mask_card(secret: str, rule_id: str, prefixes: tuple[str, ...]) -> str:
    return f"{BULLETS}•{_compact(secret)[-4:]}"


def _mask_iban(secret: str, rule_id: str, prefixes: tuple[str, ...]) -> str:
    return f"{secret[:2]}{BULLETS}•{_compact(secret)[-4:]}"


REPLACEMENTS: Final[Mapping[str, Replacement]] = MappingProxyType(
    {
        "marker": _marker,
        "mask_key": _mask_key,
        "mask_email": _mask_email,
        "mask_phone": _mask_phone,
        "mask_card": _mask_card,
        "mask_iban": _mask_iban,
    }
)


def settled(rule_ids: Iterable[str], prefixes: Iterable[str]) -> Callable[[str], Iterator[tuple[int, int]]]:
    """A function text → ascending spans of what earlier redaction left: markers, masked keys, unknown users.

    The function raises TooManyLooks.

    Only ids and prefixes of the rules count, so that a secret in a marker's clothes is still a secret.
    """
    ids, known = frozenset(rule_ids), frozenset(prefixes)
    lengths = sorted({len(prefix) for prefix in known}, reverse=True)

    def spans(text: str) -> Iterator[tuple[int, int]]:
        last = 0
        for count, match in enumerate(_SETTLED.finditer(text)):
            if count == _SETTLED_MAX:
                raise TooManyLooks
            start, end = match.span()
            if match.group(1) is not None and match.group(1) not in ids:
                continue
            if text[start] == "…":
                fitting = (n for n in lengths if start - n >= last and text[start - n : start] in known)
                length = next(fitting, None)
                if length is None:
                    continue
                start -= length
            yield start, end
            last = end

    return spans
