"""Makes secrets and look-alikes at run time from the templates of the rules."""

from __future__ import annotations

import base64
import json
import random
import re
import string
import uuid
from collections.abc import Callable

from otel_audit.exporter.redaction.national_ids import NATIONAL_VALIDATORS
from otel_audit.exporter.redaction.validators import luhn

_SLOT = re.compile(r"\{([^{}:]+)(?::([0-9]+))?\}")


class Corpus:
    """Expands templates; the same seed gives the same secrets."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def expand(self, template: str) -> str:
        """`{A-Z0-9:16}` is sixteen such characters, `{jwt}` a made-up token, and so on."""
        return _SLOT.sub(lambda m: self._slot(m.group(1), int(m.group(2) or 0)), template)

    def secrets(self, template: str, chars_min: int = 8) -> tuple[str, list[str]]:
        """The expanded text and the made-up parts of at least chars_min, which must not survive."""
        parts: list[str] = []

        def fill(match: re.Match[str]) -> str:
            made = self._slot(match.group(1), int(match.group(2) or 0))
            if len(made) >= chars_min:
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


def _iban(corpus: Corpus, country: str = "DE", bank: str = "", digits: int = 18, good: bool = True) -> str:
    account = bank + corpus.chars(string.digits, digits)
    number = "".join(str(int(char, 36)) for char in f"{account}{country}00")
    check = 98 - int(number) % 97
    return f"{country}{check if good else (check + 1) % 97:02}{account}"


def _pem_cut(corpus: Corpus, _: int) -> str:
    return _pem(corpus, 0).rpartition("\n-----END")[0]


def _ean(corpus: Corpus, _: int) -> str:
    digits = "4" + corpus.chars(string.digits, 11)
    total = sum(int(digit) * (3 if index % 2 else 1) for index, digit in enumerate(digits))
    return f"{digits}{-total % 10}"


def _ssh2(corpus: Corpus, _: int) -> str:
    body = base64.b64encode(corpus.random.randbytes(200)).decode()
    kind = "SSH2 ENCRYPTED PRIVATE KEY"
    return f'---- BEGIN {kind} ----\nComment: "key"\n{body}\n---- END {kind} ----'


def _ppk(corpus: Corpus, _: int) -> str:
    body = base64.b64encode(corpus.random.randbytes(96)).decode()
    head = "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPrivate-Lines: 2\n"
    return f"{head}{body[:64]}\n{body[64:]}\nPrivate-MAC: 00"


def _discord(corpus: Corpus, _: int) -> str:
    head = base64.b64encode(("1" + corpus.chars(string.digits, 17)).encode()).decode()
    return f"{head}.{corpus.chars(string.ascii_letters, 6)}.{corpus.chars(string.ascii_letters, 27)}"


_KINDS = {
    "#": string.digits,
    "%": "123456789",
    "@": string.ascii_uppercase,
    "M": "01",
    "D": "012",
    "S": "12",
    "L": "ABCDEHLMPRST",
    "X": "XYZ",
}


def _checked(corpus: Corpus, name: str, shape: str) -> str:
    """A number of this shape (# a digit, @ a letter, …) that its check digit accepts."""
    while True:
        text = "".join(corpus.random.choice(_KINDS[char]) if char in _KINDS else char for char in shape)
        if NATIONAL_VALIDATORS[name](text):
            return text


def _national(name: str, *shapes: str) -> Callable[[Corpus, int], str]:
    return lambda corpus, _: _checked(corpus, name, corpus.random.choice(shapes))


def _dotted_v4(corpus: Corpus, _: int) -> str:
    return ".".join(str(corpus.random.randrange(1, 255)) for _ in range(4))


def _octets(corpus: Corpus, joint: str) -> str:
    return joint.join(corpus.chars("0123456789abcdef", 2) for _ in range(6))


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
    "pem_ec": lambda c, n: _pem(c, n, kind="EC PRIVATE KEY"),
    "pem_openssh": lambda c, n: _pem(c, n, kind="OPENSSH PRIVATE KEY"),
    "pem_pkcs8": lambda c, n: _pem(c, n, kind="PRIVATE KEY"),
    "pem_encrypted": lambda c, n: _pem(c, n, kind="ENCRYPTED PRIVATE KEY"),
    "pem_truncated": _pem_cut,
    "ssh2": _ssh2,
    "ppk": _ppk,
    "discord": _discord,
    "aws_secret": _aws_secret,
    "basic": _basic,
    "base64_json": lambda c, _: base64.b64encode(json.dumps({"n": c.chars("abc", 9)}).encode()).decode(),
    "card": lambda c, _: _card(c),
    "card_grouped": lambda c, _: _grouped(_card(c, start="51")),
    "amex": lambda c, _: _card(c, size=15, start="37"),
    "mastercard": lambda c, _: _card(c, start="52"),
    "card_dotted": lambda c, _: _grouped(_card(c)).replace(" ", "."),
    "card_dashed": lambda c, _: _grouped(_card(c)).replace(" ", "-"),
    "not_card": lambda c, _: _card(c, good=False),
    "iban": lambda c, _: _iban(c),
    "iban_grouped": lambda c, _: _grouped(_iban(c)),
    "iban_gb": lambda c, _: _iban(c, "GB", c.chars(string.ascii_uppercase, 4), 14),
    "iban_fr": lambda c, _: _grouped(_iban(c, "FR", digits=23)),
    "iban_lower": lambda c, _: _iban(c, "NL", c.chars(string.ascii_uppercase, 4), 10).lower(),
    "not_iban": lambda c, _: _iban(c, good=False),
    "uuid": lambda c, _: str(uuid.UUID(int=c.random.getrandbits(128), version=4)),
    "de_tax_id": _national("de_tax_id", "%##########", "%# ### ### ###"),
    "fr_insee": _national("fr_insee", "S##0%75########", "S ## 0% 75 ### ### ##"),
    "it_codice_fiscale": _national("it_codice_fiscale", "@@@@@@##LD%@###@"),
    "es_dni_nie": _national("es_dni_nie", "########@", "X#######@", "########-@"),
    "pl_pesel": _national("pl_pesel", "##M#D######"),
    "nl_bsn": _national("nl_bsn", "%########"),
    "se_personnummer": _national("se_personnummer", "##M#D#-####", "19##M#D#####"),
    "be_national_number": _national("be_national_number", "##M#D######", "##.M#.D#-###.##"),
    "pt_nif": _national("pt_nif", "2########"),
    "at_svnr": _national("at_svnr", "%###D#M###", "%### D#M###"),
    "ro_cnp": _national("ro_cnp", "%##M#D#######"),
    "cz_rodne_cislo": _national("cz_rodne_cislo", "##M#D#/####"),
    "gr_afm": _national("gr_afm", "%########"),
    "hu_taj": _national("hu_taj", "%########", "%##-###-###"),
    "us_ssn": lambda c, _: f"1{c.chars('123456789', 2)}-{c.chars('123456789', 2)}-{c.chars('123456789', 4)}",
    "uk_nino": lambda c, _: f"AB {c.chars('0123456789', 2)} {c.chars('0123456789', 2)} 34 C",
    "ipv4": _dotted_v4,
    "ipv6": lambda c, _: "2001:db8:" + ":".join(c.chars("0123456789abcdef", 4) for _ in range(6)),
    "mac": lambda c, _: _octets(c, ":"),
    "mac_dashed": lambda c, _: _octets(c, "-"),
    "ean": _ean,
    "lb": lambda c, _: "{",
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
