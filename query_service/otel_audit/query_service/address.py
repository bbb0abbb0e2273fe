"""SQL for "is this address, or in this network" over addresses kept as text.

DuckDB without extensions has no address type. One IPv6 address has many spellings, but a network is a
set of values for each of its eight groups, so one regular expression matches all spellings of all its
addresses. An IPv4 address is the IPv6 address ::ffff:a.b.c.d. The cheap tests come first: an equal text,
or a prefix of whole octets.
"""

from __future__ import annotations

import ipaddress
from itertools import combinations
from typing import Final, TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_COLUMN: Final = "client_address"
_OCTET: Final = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4: Final = f"regexp_full_match({_COLUMN}, '{_OCTET}(?:\\.{_OCTET}){{3}}')"
# A masked address is its network: it lies in every network that holds all of it.
_MASKED_IPV4: Final = f"regexp_full_match({_COLUMN}, '{_OCTET}(?:\\.{_OCTET}){{3}}(?:/24)?')"
_MASK_BITS: Final = {4: 24, 6: 48}
_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")
_DIGITS: Final = "0123456789abcdef"


def parse_network(text: str) -> Network:
    """The network of an address or CIDR, host bits allowed; IPv4 written as IPv6 becomes IPv4.

    Raises ValueError.
    """
    # A zone (fe80::1%eth0) says which link, not which address; brackets come from URLs.
    plain = text.strip().removeprefix("[").removesuffix("]").split("%")[0]
    network = ipaddress.ip_network(plain, strict=False)
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        low = int(network.network_address) & 0xFFFF_FFFF
        return ipaddress.IPv4Network((low, network.prefixlen - 96))
    return network


def address_condition(network: Network) -> tuple[str, dict[str, object]]:
    """SQL over `client_address` with its parameters, true for every spelling of an address in `network`."""
    low, high = int(network.network_address), int(network.broadcast_address)
    seen = f"contains({_COLUMN}, ':')"
    if isinstance(network, ipaddress.IPv4Network):
        low, high = low | 0xFFFF << 32, high | 0xFFFF << 32
        # Only a mapped spelling of IPv4 has this group.
        seen = f"contains(lower({_COLUMN}), 'ffff:')"
    spelling = f"lower(split_part({_COLUMN}, '%', 1))"
    if network.prefixlen <= _MASK_BITS[network.version]:
        spelling = f"regexp_replace({spelling}, '/48$', '')"
    spelled = f"({seen} AND regexp_full_match({spelling}, $ip_spelled))"
    params: dict[str, object] = {"ip_spelled": spellings(low, high)}
    if network.num_addresses == 1:
        params["ip_text"] = str(network.network_address)
        return f"({_COLUMN} = $ip_text OR {spelled})", params
    if isinstance(network, ipaddress.IPv4Network):
        inside, more = _inside_ipv4(network)
        return f"({inside} OR {spelled})", params | more
    if network.supernet_of(_MAPPED):
        return f"({_MASKED_IPV4} OR {spelled})", params
    return spelled, params


def spellings(low: int, high: int) -> str:
    """A regular expression of the lower-case texts of the IPv6 addresses of a network, `low` to `high`."""
    ends = [((low >> shift) & 0xFFFF, (high >> shift) & 0xFFFF) for shift in range(112, -16, -16)]
    groups = [_group(*pair) for pair in ends]
    zero = [first == 0 for first, _ in ends]
    forms = [*_forms(groups, zero)]
    # The last 32 bits may be written as IPv4.
    octets = [((low >> shift) & 0xFF, (high >> shift) & 0xFF) for shift in range(24, -8, -8)]
    dotted = r"\.".join(_octet(*pair) for pair in octets)
    forms += _forms([*groups[:6], dotted], [*zero[:6], False])
    return "|".join(forms)


def _forms(groups: list[str], zero: list[bool]) -> list[str]:
    """All groups written out, and each run of groups that may be zero left to a `::`."""
    forms = [":".join(groups)]
    for start, end in combinations(range(len(groups) + 1), 2):
        if all(zero[start:end]):
            forms.append(":".join(groups[:start]) + "::" + ":".join(groups[end:]))
    return forms


def _group(low: int, high: int) -> str:
    if (low, high) == (0, 0xFFFF):
        return "[0-9a-f]{1,4}"
    firsts = [(low >> shift) & 0xF for shift in (12, 8, 4, 0)]
    lasts = [(high >> shift) & 0xF for shift in (12, 8, 4, 0)]
    digits = [
        _DIGITS[first] if first == last else f"[{_DIGITS[first : last + 1]}]"
        for first, last in zip(firsts, lasts, strict=True)
    ]
    # Leading zeros may be left out, but for the last digit.
    shorter = ["".join(digits[skip:]) for skip in range(4) if not any(firsts[:skip])]
    return f"(?:{'|'.join(shorter)})"


def _octet(low: int, high: int) -> str:
    if (low, high) == (0, 0xFF):
        return _OCTET
    return f"(?:{'|'.join(str(value) for value in range(low, high + 1))})"


def _inside_ipv4(network: ipaddress.IPv4Network) -> tuple[str, dict[str, object]]:
    whole, bits = divmod(network.prefixlen, 8)
    octets = network.network_address.packed
    params: dict[str, object] = {}
    tests = []
    if whole:
        params["ip_prefix"] = ".".join(str(octet) for octet in octets[:whole]) + "."
        tests.append(f"starts_with({_COLUMN}, $ip_prefix)")
    if bits:
        params["ip_octet_low"], params["ip_octet_high"] = (
            octets[whole],
            network.broadcast_address.packed[whole],
        )
        part = f"TRY_CAST(split_part({_COLUMN}, '.', {whole + 1}) AS UTINYINT)"
        tests.append(f"{part} BETWEEN $ip_octet_low AND $ip_octet_high")
    looks = _MASKED_IPV4 if network.prefixlen <= _MASK_BITS[4] else _IPV4
    return f"({' AND '.join([*tests, looks])})", params
