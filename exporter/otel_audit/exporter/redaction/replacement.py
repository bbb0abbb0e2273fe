"""What stands in place of a secret: a marker, or a mask that still tells people which one it was."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

Replacement = Callable[[str, str, tuple[str, ...]], str]
# Below this, a prefix and four characters would show too much of a key.
_MASK_KEY_MIN: Final = 16
BULLETS: Final = "•••"


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


def settled_pattern(rule_ids: Iterable[str], prefixes: Iterable[str]) -> re.Pattern[str]:
    """Matches what earlier redaction left: known markers, masked keys, unknown users. Never matched again.

    Only ids and prefixes of the rules count, so that a secret in a marker's clothes is still a secret.
    """
    ids = "|".join(sorted(map(re.escape, rule_ids)))
    known = "|".join(sorted(map(re.escape, prefixes), key=lambda p: (-len(p), p)))
    return re.compile(
        rf"\[REDACTED:(?:{ids})\]|\[UNKNOWN_USER:[0-9a-f]{{8}}\]|(?:{known})…[A-Za-z0-9_+/-]{{4}}"
    )
