"""Secrets and personal data that people paste where they do not belong; made anew at every call."""

from __future__ import annotations

import base64
import json
import secrets
import string
from typing import Final

_ALPHANUMERIC: Final = string.ascii_letters + string.digits


def jwt() -> str:
    """A JSON Web Token as an identity provider signs them."""
    parts = [
        json.dumps({"alg": "RS256", "typ": "JWT", "kid": secrets.token_hex(4)}).encode(),
        json.dumps({"sub": secrets.token_hex(8), "scope": "files:read", "exp": 1_900_000_000}).encode(),
        secrets.token_bytes(64),
    ]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def payment_key() -> str:
    """An API key of a payment provider."""
    return f"sk_live_{_letters(24)}"


def password() -> str:
    """What a person may have chosen."""
    return f"{secrets.choice(['Sunflower', 'Marzipan', 'Lighthouse'])}-{_letters(8)}!{secrets.randbelow(100)}"


def card_number() -> str:
    """A card number in groups of four, right in its check digit and random in the rest."""
    digits = [4, 0, 0, 0, 0, 0, *(secrets.randbelow(10) for _ in range(9))]
    doubled = [d if at % 2 else sum(divmod(2 * d, 10)) for at, d in enumerate(digits)]
    digits.append(-sum(doubled) % 10)
    text = "".join(map(str, digits))
    return " ".join(text[at : at + 4] for at in range(0, 16, 4))


def customer_email() -> str:
    """An address of somebody who is no user of Quire."""
    return f"{secrets.choice(['maria', 'jonas', 'wei', 'amara'])}.{_letters(6).lower()}@customer.example"


def _letters(count: int) -> str:
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(count))
