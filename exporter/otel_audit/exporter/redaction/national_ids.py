"""Check digits of national identity numbers, and addresses of machines. Their rules are off by default.

Each function answers whether a candidate is such a number; separators are already removed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

_NIF_LETTERS: Final = "TRWAGMYFPDXBNJZSQVHLCKE"
# Italian omocodia: letters that stand for digits when two people would share a code.
_OMOCODE: Final = str.maketrans("LMNPQRSTUV", "0123456789")
_CF_ODD: Final = (
    1,
    0,
    5,
    7,
    9,
    13,
    15,
    17,
    19,
    21,
    2,
    4,
    18,
    20,
    11,
    3,
    6,
    8,
    12,
    14,
    16,
    10,
    22,
    25,
    24,
    23,
)
_NINO_REFUSED: Final = frozenset({"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"})
_MONTHS: Final = 12


def _weighted(digits: str, weights: tuple[int, ...]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))


def _date(month: int, day: int) -> bool:
    return 1 <= month <= _MONTHS and 1 <= day <= 31


def de_tax_id(text: str) -> bool:
    """Steueridentifikationsnummer: ISO 7064 mod 11,10, and one digit stands two or three times."""
    product = 10
    for digit in text[:10]:
        total = (int(digit) + product) % 10 or 10
        product = total * 2 % 11
    most = max(text[:10].count(digit) for digit in set(text[:10]))
    return (11 - product) % 10 == int(text[10]) and most in (2, 3)


def fr_insee(text: str) -> bool:
    """Numéro de sécurité sociale: key 97 − number mod 97, Corsica counted as 19 and 18."""
    number = text[:13].upper().replace("2A", "19").replace("2B", "18")
    month = int(text[3:5])
    known = 1 <= month <= _MONTHS or month in range(20, 43) or month >= 50
    return number.isdigit() and known and 97 - int(number) % 97 == int(text[13:])


def it_codice_fiscale(text: str) -> bool:
    """Codice fiscale: the last letter checks the others."""
    upper = text.upper()
    day = int(upper[9:11].translate(_OMOCODE)) % 40
    total = 0
    for index, char in enumerate(upper[:15]):
        value = int(char) if char.isdigit() else ord(char) - ord("A")
        total += value if index % 2 else _CF_ODD[value]
    return 1 <= day <= 31 and chr(ord("A") + total % 26) == upper[15]


def es_dni_nie(text: str) -> bool:
    """DNI or NIE: letter number mod 23."""
    upper = text.upper()
    number = upper[:-1].replace("X", "0").replace("Y", "1").replace("Z", "2")
    return _NIF_LETTERS[int(number) % 23] == upper[-1]


def pl_pesel(text: str) -> bool:
    """PESEL: weights 1, 3, 7, 9 and a month with its century."""
    dated = _date(int(text[2:4]) % 20, int(text[4:6]))
    return dated and (10 - _weighted(text[:10], (1, 3, 7, 9) * 3) % 10) % 10 == int(text[10])


def nl_bsn(text: str) -> bool:
    """Burgerservicenummer: the eleven test."""
    return _weighted(text, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0 and len(set(text)) > 1


def se_personnummer(text: str) -> bool:
    """Personnummer (or samordningsnummer): Luhn over ten digits."""
    digits = text[-10:]
    total = 0
    for index, digit in enumerate(digits):
        value = int(digit) * (2 - index % 2)
        total += value - 9 if value > 9 else value
    day = int(digits[4:6])
    return total % 10 == 0 and _date(int(digits[2:4]), day - 60 if day > 60 else day)


def be_national_number(text: str) -> bool:
    """Rijksregisternummer: 97 − number mod 97, with a leading 2 for births since 2000."""
    check, number = int(text[9:]), text[:9]
    dated = int(text[2:4]) % 20 <= _MONTHS and int(text[4:6]) <= 31
    return dated and check in (97 - int(number) % 97, 97 - int("2" + number) % 97)


def pt_nif(text: str) -> bool:
    """NIF: mod 11."""
    rest = _weighted(text[:8], (9, 8, 7, 6, 5, 4, 3, 2)) % 11
    return int(text[8]) == (0 if rest < 2 else 11 - rest)


def at_svnr(text: str) -> bool:
    """Sozialversicherungsnummer: the fourth digit checks the others; then a date."""
    others = text[:3] + text[4:]
    check = _weighted(others, (3, 7, 9, 5, 8, 4, 2, 1, 6)) % 11
    return check == int(text[3]) and 1 <= int(text[4:6]) <= 31 and 1 <= int(text[6:8]) <= 15


def ro_cnp(text: str) -> bool:
    """Cod numeric personal: mod 11 and a date."""
    check = _weighted(text[:12], (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)) % 11
    return _date(int(text[3:5]), int(text[5:7])) and int(text[12]) == (1 if check == 10 else check)


def cz_rodne_cislo(text: str) -> bool:
    """Rodné číslo: divisible by eleven, women's months plus 50."""
    month = int(text[2:4]) % 50
    return _date(month - 20 if month > 20 else month, int(text[4:6])) and int(text) % 11 == 0


def gr_afm(text: str) -> bool:
    """ΑΦΜ: powers of two, mod 11 mod 10."""
    check = sum(int(digit) * 2 ** (8 - index) for index, digit in enumerate(text[:8])) % 11 % 10
    return check == int(text[8]) and len(set(text)) > 1


def hu_taj(text: str) -> bool:
    """TAJ szám: weights 3 and 7, mod 10."""
    return _weighted(text[:8], (3, 7) * 4) % 10 == int(text[8]) and len(set(text)) > 1


def us_ssn(text: str) -> bool:
    """Social security number: no check digit, but numbers that are never given."""
    return text[:3] not in ("000", "666") and text[3:5] != "00" and text[5:] != "0000"


def uk_nino(text: str) -> bool:
    """National insurance number: prefixes that are never given."""
    return text[:2].upper() not in _NINO_REFUSED


def ip(text: str) -> bool:
    """IPv4 or IPv6 address as the standard library reads it."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return text.strip(":") != ""


_CHECKS: Final[tuple[Callable[[str], bool], ...]] = (
    de_tax_id, fr_insee, it_codice_fiscale, es_dni_nie, pl_pesel, nl_bsn, se_personnummer,
    be_national_number, pt_nif, at_svnr, ro_cnp, cz_rodne_cislo, gr_afm, hu_taj, us_ssn, uk_nino,
)  # fmt: skip
_SEPARATORS: Final = re.compile(r"[ ./+-]")


def _compact(check: Callable[[str], bool]) -> Callable[[str], tuple[int, int] | None]:
    def validator(text: str) -> tuple[int, int] | None:
        return (0, len(text)) if check(_SEPARATORS.sub("", text)) else None

    return validator


def _ip(text: str) -> tuple[int, int] | None:
    return (0, len(text)) if ip(text) else None


NATIONAL_VALIDATORS: Final[Mapping[str, Callable[[str], tuple[int, int] | None]]] = MappingProxyType(
    {**{check.__name__: _compact(check) for check in _CHECKS}, "ip": _ip}
)
