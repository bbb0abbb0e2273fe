"""What a tenant's policy does to one value: mask it, replace it, or make a token that search can find."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import unicodedata
from collections.abc import Callable
from typing import Final, Literal

from otel_audit.exporter.redaction.policy import POLICY_MARKER_RULE
from otel_audit.exporter.redaction.replacement import BULLETS, marker

Action = Literal["keep", "mask", "redact", "tokenise"]
Tokenise = Callable[[str], str]

POLICY_MARKER: Final = marker(POLICY_MARKER_RULE)
TOKEN: Final = re.compile(r"tok_[1-9][0-9]{0,5}_[0-9a-f]{32}")
HIDDEN: Final = re.compile(r"\[(?:REDACTED:[a-z][a-z0-9_]{0,39}|UNKNOWN_USER:[0-9a-f]{8})\]")
"""What redaction leaves when all of a value was a secret, or the name of nobody."""
_MASKED: Final = re.compile(rf"[^{BULLETS}@]?{BULLETS}(?:@[^@\s]+)?")
_EMAIL: Final = re.compile(r"([^@\s]+)@([^@\s]+)")
_ADDRESS: Final = re.compile(r"[0-9A-Fa-f:.]+(?:%[0-9A-Za-z]+)?(?:/[0-9]{1,3})?")
# What tells a site or a household apart from its neighbours, and no device.
_PREFIXES: Final = {4: 24, 6: 48}


def normalised(value: str) -> str:
    """The form of a value that its token is made of: the same for every spelling people use.

    lower(NFKC(strip(value))), and for an IP address its shortest form (IPv4 written as IPv6 is IPv4).
    """
    text = unicodedata.normalize("NFKC", value.strip()).lower()
    address = _address(text)
    return str(address.ip) if address is not None and "/" not in text else text


def token(value: str, number: int, key: bytes) -> str:
    """`tok_<number>_<32 hex>`: the first 128 bits of HMAC-SHA-256(key, normalised value).

    The field is no part of it: the same person has the same token as user, as e-mail address of a change and
    as whom somebody acted for. A value that is a token already is kept.
    """
    if TOKEN.fullmatch(value):
        return value
    text = normalised(value).encode("utf-8", "surrogatepass")
    return f"tok_{number}_{hmac.digest(key, text, hashlib.sha256).hex()[:32]}"


def masked(value: str) -> str:
    """`a•••@example.com`, the /24 or /48 network of an IP address, else the first letter and •••."""
    text = value.strip()
    if not text or _MASKED.fullmatch(text):
        return text
    address = _address(text)
    if address is not None:
        prefix = min(_PREFIXES[address.version], address.network.prefixlen)
        return str(ipaddress.ip_network((address.ip, prefix), strict=False))
    email = _EMAIL.fullmatch(text)
    if email is not None:
        local, domain = email.groups()
        return f"{local[0] if len(local) > 1 else ''}{BULLETS}@{domain}"
    return f"{text[0] if len(text) > 1 else ''}{BULLETS}"


def acted(action: Action, value: str, *, secret: bool, tokenise: Tokenise) -> str:
    """What the action makes of a value that redaction has seen.

    secret: whether it held one. What is left of such a value is neither masked nor hashed, because nobody
    can say how much of it belongs to the secret. A value that is hidden already says why, and stays.
    """
    if action == "keep" or not value or HIDDEN.fullmatch(value):
        return value
    if action == "redact" or secret:
        return POLICY_MARKER
    return masked(value) if action == "mask" else tokenise(value)


def _address(text: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface | None:
    if not _ADDRESS.fullmatch(text) or not (":" in text or "." in text):
        return None
    # A zone (fe80::1%eth0) says which link, not which address.
    plain = re.sub("%[0-9A-Za-z]+", "", text)
    try:
        found = ipaddress.ip_interface(plain)
    except ValueError:
        return None
    mapped = getattr(found.ip, "ipv4_mapped", None)
    return ipaddress.ip_interface(mapped) if mapped is not None else found
