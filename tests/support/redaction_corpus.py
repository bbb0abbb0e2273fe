"""Makes secrets and look-alikes at run time from the templates in rules.toml."""

from __future__ import annotations

import base64
import json
import random
import re
import string
import uuid
from collections.abc import Callable

from otel_audit.exporter.redaction.validators import luhn

_SLOT = re.compile(r"\{([^{}:]+)(?::([0-9]+))?\}")


class Corpus:
    """Expands templates; the same seed gives the same secrets."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def expand(self, template: str) -> str:
        """`{A-Z0-9:16}` is sixteen such characters, `{jwt}` a made-up token, and so on."""
        return _SLOT.sub(lambda m: self._slot(m.group(1), int(m.group(2) or 0)), template)

    def secrets(self, template: str) -> tuple[str, list[str]]:
        """The expanded text and the made-up parts of at least eight characters, which must not survive."""
        parts: list[str] = []

        def fill(match: re.Match[str]) -> str:
            made = self._slot(match.group(1), int(match.group(2) or 0))
            if len(made) >= 8:
                parts.append(made)
            return made

        return _SLOT.sub(fill, template), parts

    def chars(self, alphabet: str, count: int) -> str:
        return "".join(self.random.choices(alphabet, k=count))

    def _slot(self, kind: str, count: int) -> str:
        named = _NAMED.get(kind)
        if named is not None:
            return named(self, count)
        return self.chars(_alphabet(kind), count)


def _alphabet(ranges: str) -> str:
    found = ""
    for first, last, single in re.findall(r"(.)-(.)|(.)", ranges):
        found += single or "".join(map(chr, range(ord(first), ord(last) + 1)))
    return found


def _b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _jwt(corpus: Corpus, _: int) -> str:
    header = json.dumps({"alg": "HS256", "typ": "JWT"}, separators=(",", ":")).encode()
    body = json.dumps({"sub": corpus.chars(string.digits, 10)}).encode()
    return f"{_b64url(header)}.{_b64url(body)}.{_b64url(corpus.random.randbytes(32))}"


def _jwe(corpus: Corpus, _: int) -> str:
    header = json.dumps({"alg": "RSA-OAEP", "enc": "A256GCM"}, separators=(",", ":")).encode()
    return ".".join([_b64url(header), *(_b64url(corpus.random.randbytes(n)) for n in (32, 12, 40, 16))])


def _pem(corpus: Corpus, _: int, *, newline: str = "\n", kind: str = "RSA PRIVATE KEY") -> str:
    body = base64.b64encode(corpus.random.randbytes(300)).decode()
    lines = [body[i : i + 64] for i in range(0, len(body), 64)]
    return newline.join([f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----"])


def _card(corpus: Corpus, size: int = 16, start: str = "4", good: bool = True) -> str:
    digits = start + corpus.chars(string.digits, size - len(start) - 1)
    check = next(d for d in string.digits if luhn(digits + d))
    return digits + (check if good else str((int(check) + 1) % 10))


def _iban(corpus: Corpus, good: bool = True) -> str:
    account = corpus.chars(string.digits, 18)
    check = 98 - int(account + "131400") % 97
    return f"DE{check if good else (check + 1) % 97:02}{account}"


def _grouped(text: str) -> str:
    return " ".join(text[i : i + 4] for i in range(0, len(text), 4))


def _aws_secret(corpus: Corpus, _: int) -> str:
    return "aB3/" + corpus.chars(string.ascii_letters + string.digits + "/+", 36)


def _basic(corpus: Corpus, _: int) -> str:
    user, word = corpus.chars(string.ascii_lowercase, 5), corpus.chars(string.ascii_letters, 9)
    return base64.b64encode(f"{user}:{word}".encode()).decode()


_NAMED: dict[str, Callable[[Corpus, int], str]] = {
    "jwt": _jwt,
    "jwe": _jwe,
    "pem": _pem,
    "pem_one_line": lambda c, n: _pem(c, n, newline="\\n", kind="EC PRIVATE KEY"),
    "pgp": lambda c, n: _pem(c, n, kind="PGP PRIVATE KEY BLOCK"),
    "aws_secret": _aws_secret,
    "basic": _basic,
    "base64_json": lambda c, _: base64.b64encode(json.dumps({"n": c.chars("abc", 9)}).encode()).decode(),
    "card": lambda c, _: _card(c),
    "card_grouped": lambda c, _: _grouped(_card(c, start="51")),
    "amex": lambda c, _: _card(c, size=15, start="37"),
    "not_card": lambda c, _: _card(c, good=False),
    "iban": lambda c, _: _iban(c),
    "iban_grouped": lambda c, _: _grouped(_iban(c)),
    "not_iban": lambda c, _: _iban(c, good=False),
    "uuid": lambda c, _: str(uuid.UUID(int=c.random.getrandbits(128), version=4)),
    "hex": lambda c, n: c.chars("0123456789abcdef", n),
}

INNOCENT_TEMPLATES = (
    "{uuid}",
    "trace {hex:32} span {hex:16}",
    "sha256:{hex:64}",
    "{hex:40}",
    "order 1{0-9:9}",
    "1{0-9:12}",
    "17{0-9:17}",
    "2025-03-0{1-9:1}T1{0-9:1}:0{0-9:1}:00.{0-9:6}+02:00",
    "report-2024-q{1-4:1}-final-v{0-9:1}.{0-9:2}.pdf",
    "v{0-9:1}.{0-9:2}.{0-9:1}-rc.{0-9:1}",
    "password reset requested by {a-z:6}",
    "password policy changed, minimum length {0-9:2}",
    "the secret of {a-z:5} is patience",
    "10.{0-9:2}.{1-9:2}.{1-9:2}",
    "2001:db8::{hex:4}:{hex:4}",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/1{0-9:2}.0.{0-9:4}.{0-9:2} Safari/537.36",
    "GET /api/v1/orgs/{a-z:6}/events?limit=100&cursor={0-9:9}",
    '{"input_tokens": {0-9:4}, "max_tokens": 4096, "password_set": true, "cookie_consent": "yes"}',
    "https://cdn.example.com/{a-z:8}/{hex:32}.js",
    "token_count={0-9:3} page_token={0-9:6}",
    "data:image/png;base64,iVBORw0KGgo{A-Za-z0-9:200}",
    "{a-z:5}_{a-z:4}_{0-9:8}.xlsx",
    "https://example.com:8443/{a-z:5}",
    "logged in with password and authenticator",
    "basic authentication is deprecated; use bearer authentication",
    "arn:aws:s3:::{a-z:8}/{a-z:5}",
    "user-{0-9:12}",
    "ISBN 978-3-16-{0-9:6}-0",
    "50%25 of 100%",
    "Zürich – Ω café „{a-z:4}“",
)
