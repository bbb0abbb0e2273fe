"""Second looks at a candidate: check digits, decodable headers, randomness.

A validator gets the candidate as it was written and answers the part to hide, (start, end), or None when it
is innocent. All are linear in the candidate and never raise on any text.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Final

from otel_audit.exporter.redaction.national_ids import NATIONAL_VALIDATORS

Span = tuple[int, int]
Validator = Callable[[str], Span | None]

# ISO 13616 registry: country → length of its IBAN.
IBAN_LENGTHS: Final[Mapping[str, int]] = MappingProxyType(
    {
        **dict.fromkeys(("NO",), 15),
        **dict.fromkeys(("BE",), 16),
        **dict.fromkeys(("DK", "FK", "FO", "FI", "GL", "NL", "SD"), 18),
        **dict.fromkeys(("MK", "SI"), 19),
        **dict.fromkeys(("AT", "BA", "EE", "KZ", "LT", "LU", "XK", "MN"), 20),
        **dict.fromkeys(("HR", "LV", "LI", "CH"), 21),
        **dict.fromkeys(("BH", "BG", "CR", "GE", "DE", "IE", "ME", "RS", "GB", "VA"), 22),
        **dict.fromkeys(("GI", "IQ", "IL", "TL", "AE", "OM", "SO"), 23),
        **dict.fromkeys(("AD", "CZ", "MD", "PK", "RO", "SA", "SK", "ES", "SE", "TN", "VG"), 24),
        **dict.fromkeys(("PT", "ST", "LY"), 25),
        **dict.fromkeys(("IS", "TR"), 26),
        **dict.fromkeys(("FR", "GR", "IT", "MR", "MC", "SM", "DJ", "BI"), 27),
        **dict.fromkeys(("AL", "AZ", "BY", "CY", "DO", "GT", "HU", "LB", "NI", "PL", "SV"), 28),
        **dict.fromkeys(("BR", "EG", "PS", "QA", "UA"), 29),
        **dict.fromkeys(("JO", "KW", "MU", "YE"), 30),
        **dict.fromkeys(("MT", "SC"), 31),
        **dict.fromkeys(("LC",), 32),
        **dict.fromkeys(("RU",), 33),
    }
)
_FILE_ENDINGS_WORDS: Final = (
    "png jpg jpeg gif svg webp bmp ico pdf css js ts html json yaml toml xml txt csv zip gz py md"
)
_IBAN_OF_DIGITS_WORDS: Final = "AE AT BA BE CZ DE DK EE ES FI HR HU IL IS LT ME NO PL PT RS SE SI SK XK"
_IBAN_OF_DIGITS: Final = frozenset(_IBAN_OF_DIGITS_WORDS.split())
_UNITS: Final = frozenset({"service", "socket", "timer", "target", "mount", "slice", "scope"})
_FILE_ENDINGS: Final = frozenset(_FILE_ENDINGS_WORDS.split())
_CARD_GROUPS: Final = (
    (4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3), (4, 4, 4, 3), (4, 4, 4, 2), (4, 4, 5), (4, 3, 3, 3),
    (6, 13),
)  # fmt: skip
_CARD_SEPARATORS: Final = re.compile("[ .-]")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# ITU-T E.164 country codes of two and three digits; what begins with 1 or 7 has one digit.
_COUNTRY_CODES: Final = re.compile(
    "1|7|2(?:0|7|[1-689][0-9])|3(?:[0123469]|[578][0-9])|4(?:[013-9]|2[0-9])|5(?:[1-8]|[09][0-9])"
    "|6(?:[0-6]|[7-9][0-9])|8(?:[1246]|[058][0-9])|9(?:[0-58]|[679][0-9])"
)
_TYPED_MIN: Final = 6
_ALGORITHM: Final = re.compile(
    r"(?:sha|md|aes|rsa|utf|base|argon|pbkdf|scrypt|bcrypt|oauth|hs|rs|es|ed)-?[0-9-]*[a-z]{0,2}",
    re.IGNORECASE,
)
# camelCase of short words stays below, half of random letters change their case.
_CASE_CHANGES_MIN: Final = 0.42
# Numbers that begin with two zeros are padded more often than dialled to far places.
_DIALLED: Final = re.compile(
    "1[2-9][0-9]{9}$|7[0-9]{10}$|2(?:0|7)|3|4|5[1-8]|6[0-6]|8[1246]|9(?:[0-58]|[679][0-9])"
)
_SMALL_COUNTRIES: Final = re.compile("(?:2[1-69]|3[578]|42|50|59|6[7-9]|85|96|97|99)[0-9]")
_RANDOM_CHARS_MIN: Final = 12
_LOWER_CHARS_MIN: Final = 16
_RANDOM_BITS_MIN: Final = 3.0
# Enough for a token glued behind other text; more would let a crafted run cost quadratic time.
_JWT_TRIES_MAX: Final = 8
_JWT_HEADER_MAX: Final = 8192
# Base64 of `{"alg":0}`: nothing shorter is a header.
_JWT_HEADER_MIN: Final = 12


def entropy(text: str) -> float:
    """Shannon entropy in bits a character; 0.0 for the empty text."""
    total = len(text)
    return -sum(n / total * math.log2(n / total) for n in Counter(text).values()) if total else 0.0


def luhn(digits: str) -> bool:
    """Whether the last digit is the Luhn check digit of the others."""
    total = 0
    for index, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + index % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _decode_base64(text: str) -> bytes:
    padded = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _jwt(text: str) -> Span | None:
    start = text.find("eyJ")
    for _ in range(_JWT_TRIES_MAX):
        if start < 0:
            return None
        head, dot, rest = text[start:].partition(".")
        if dot and _JWT_HEADER_MIN <= len(head) <= _JWT_HEADER_MAX and rest.strip("."):
            decoded = _decode_base64(head)
            if decoded.startswith(b'{"') and _is_token_header(decoded):
                return start, len(text.rstrip("."))
        start = text.find("eyJ", start + 1)
    return None


def _is_token_header(decoded: bytes) -> bool:
    try:
        header = json.loads(decoded)
    except (ValueError, RecursionError):
        return False
    return isinstance(header, dict) and not header.keys().isdisjoint(("alg", "typ", "enc", "kid"))


def _aws_secret(text: str) -> Span | None:
    if len(text) != 40:
        return None
    mixed = any(map(str.isupper, text)) and any(map(str.islower, text)) and any(map(str.isdigit, text))
    return (0, 40) if mixed and entropy(text) >= 4.0 else None


# The beginning of a long run tells what it is.
_OPAQUE_CHARS: Final = 1024
# Fourteen letters seldom reach it by chance alone; case that changes like dice counts as well.
_OPAQUE_BITS_MIN: Final = 3.7


def is_opaque(text: str) -> bool:
    """Whether text looks made by a machine: digits among letters, or mixed case at length, not words."""
    text = text[:_OPAQUE_CHARS]
    if all(map(_is_word, re.split(r"[-_./:=~+]+", text))):
        return False
    digits = sum(map(str.isdigit, text))
    mixed = any(map(str.isupper, text)) and any(map(str.islower, text))
    varied = mixed and (entropy(text) >= _OPAQUE_BITS_MIN or _is_diced(text))
    return bool(digits and (mixed or len(text) >= 16 or digits >= 4)) or varied


def _is_word(part: str) -> bool:
    """Whether a part of a name could be written by a person: a word, a number, a short abbreviation."""
    plain = part.islower() or part.isupper() or part.istitle()
    return part.isdigit() or len(part) <= 3 or (part.isalpha() and plain and len(part) <= 16)


def _basic(text: str) -> Span | None:
    decoded = _decode_base64(text)
    return (0, len(text)) if b":" in decoded and decoded.isascii() and len(decoded) >= 3 else None


def _whole(test: Callable[[str], bool]) -> Validator:
    return lambda text: (0, len(text)) if test(text) else None


def _is_mixed(text: str) -> bool:
    """Upper case, lower case and digits: no word, no number, no hash; or case that changes like dice."""
    text = text[:_OPAQUE_CHARS]
    if text.isupper() or text.islower() or text.upper() == text.lower():
        return False
    return any(map(str.isdigit, text)) or _is_diced(text)


def _is_upper_with_digits(text: str) -> bool:
    text = text[:_OPAQUE_CHARS]
    return text.isupper() and sum(map(str.isdigit, text)) > 1


def _is_random(text: str) -> bool:
    """Whether a value found under a vague name (some_key, …) looks made by a machine to be secret."""
    value = text.strip("\"'")
    if len(value) < _RANDOM_CHARS_MIN or "://" in value or any(map(str.isspace, value)):
        return False
    if _UUID.fullmatch(value) or not any(map(str.isalpha, value)) or not is_opaque(value):
        return _basic(value) is not None
    cased = any(map(str.isupper, value)) and any(map(str.islower, value))
    return entropy(value) >= _RANDOM_BITS_MIN and (cased or len(value) >= _LOWER_CHARS_MIN)


def _typed(text: str) -> Span | None:
    """A word of a sentence that is a password: letters beside digits or signs, or case like dice."""
    word = text.rstrip(".,;:!?)")
    others = any(not char.isalpha() and char not in "-'’_./" for char in word)
    telling = others and any(map(str.isalpha, word)) and not _ALGORITHM.fullmatch(word)
    return (0, len(word)) if len(word) >= _TYPED_MIN and (telling or _is_diced(word)) else None


def _is_diced(text: str) -> bool:
    return sum(a.isupper() != b.isupper() for a, b in pairwise(text)) >= _CASE_CHANGES_MIN * len(text)


def _discord(text: str) -> Span | None:
    head = text.partition(".")[0]
    good = text.startswith("mfa.") or _decode_base64(head).isdigit()
    return (0, len(text)) if good else None


def _not_port(text: str) -> Span | None:
    """A password after `user:` in a URL, not the port and path of a URL without a user."""
    return None if re.match("[0-9]{1,5}(?:[/?#]|$)", text) else (0, len(text))


def _email(text: str) -> Span | None:
    local, _, domain = text.partition("@")
    kept = domain.rstrip(".-")
    labels = kept.split(".")
    local_bare = local.lstrip(".-+!")
    if not local_bare or len(labels) < 2 or not all(labels) or labels[-1].lower() in _FILE_ENDINGS:
        return None
    if (local_bare.endswith("•••") and len(local_bare) <= 4) or local_bare == "git":
        return None
    # lodash@4.17.21-beta.next, getty@tty1.service
    if (labels[0].isdigit() and labels[1][:1].isdigit()) or labels[-1].lower() in _UNITS:
        return None
    if len(labels[-1]) < 2 or not labels[-1].replace("-", "").isalpha():
        return None
    return len(local) - len(local_bare), len(local) + 1 + len(kept)


def _phone(text: str) -> Span | None:
    number = "".join(filter(str.isdigit, text))
    if not 8 <= len(number) <= 15:
        return None
    # A bare signed number of eight or nine digits is more often an amount; small countries have nine.
    small = len(number) == 9 and _SMALL_COUNTRIES.match(number)
    return (0, len(text)) if len(number) >= 10 or small or not text[1:].isdigit() else None


def _phone_00(text: str) -> Span | None:
    number = "".join(filter(str.isdigit, text))[2:]
    code = _COUNTRY_CODES.match(number)
    if code is None or not 8 <= len(number) <= 15:
        return None
    bare = text.isdigit()
    return (0, len(text)) if not bare or (len(number) >= 10 and _DIALLED.match(number)) else None


def _phone_label(text: str) -> Span | None:
    start = re.match("[a-z]{2,10}:[ ]?", text, re.IGNORECASE)
    return start.end() if start else 0, len(text)


def _card(text: str) -> Span | None:
    digits = _CARD_SEPARATORS.sub("", text)
    groups = _CARD_SEPARATORS.split(text)
    if len(groups) > 1 and (tuple(map(len, groups)) not in _CARD_GROUPS or len(set(text) & set(" .-")) > 1):
        return None
    return (0, len(text)) if _issued(digits) and luhn(digits) and len(set(digits)) > 1 else None


def _issued(digits: str) -> bool:
    """Whether a payment network issues numbers of this beginning and length."""
    size, two, four = len(digits), int(digits[:2]), int(digits[:4])
    if size == 13:
        # Old Visa numbers look like article numbers (EAN-13), which have a check digit of their own.
        return digits[0] == "4" and not _ean13(digits)
    if size == 15:
        return two in (34, 37)
    if size == 14:
        return two in (36, 38, 39) or 3000 <= four <= 3059
    if size == 16:
        return (
            digits[0] == "4"
            or 51 <= two <= 55
            or 2200 <= four <= 2204
            or 2221 <= four <= 2720
            or four == 6011
            or 3528 <= four <= 3589
            or two in (50, 56, 57, 58, 62, 63, 64, 65, 67, 68, 69)
        )
    return (size in (17, 18, 19) and two == 62) or (size == 19 and digits[0] == "4")


def _ean13(digits: str) -> bool:
    return sum(int(digit) * (3 if index % 2 else 1) for index, digit in enumerate(digits)) % 10 == 0


def _iban(text: str) -> Span | None:
    length = IBAN_LENGTHS.get(text[:2].upper())
    if length is None:
        return None
    count = 0
    for index, char in enumerate(text):
        count += char not in " -"
        if count == length:
            end = index + 1
            break
    else:
        return None
    if text[end : end + 1].isalnum():
        return None
    if text[:2].upper() in _IBAN_OF_DIGITS and any(map(str.isalpha, text[2:end])):
        return None
    compact = text[:end].replace(" ", "").replace("-", "").upper()
    number = int("".join(str(int(char, 36)) for char in compact[4:] + compact[:4]))
    return (0, end) if number % 97 == 1 else None


VALIDATORS: Final[Mapping[str, Validator]] = MappingProxyType(
    {
        "jwt": _jwt,
        "upper": _whole(str.isupper),
        "upper_digits": _whole(_is_upper_with_digits),
        "upper_prefix": _whole(lambda text: text[:2].isupper()),
        "aws_secret": _aws_secret,
        "opaque": _whole(lambda text: len(text) >= 8 and is_opaque(text)),
        "mixed": _whole(_is_mixed),
        "random": _whole(_is_random),
        "typed": _typed,
        "never": lambda text: None,
        "basic": _basic,
        "discord": _discord,
        "not_port": _not_port,
        "email": _email,
        "phone": _phone,
        "phone_00": _phone_00,
        "phone_label": _phone_label,
        "card": _card,
        "iban": _iban,
        **NATIONAL_VALIDATORS,
    }
)
