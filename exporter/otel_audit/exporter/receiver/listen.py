"""Addresses to listen on, and the rule that plain text stays on this machine."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from otel_audit.instrumentation.errors import AuditError


class ListenRefused(AuditError):
    """An address that cannot, or may not, be listened on."""


class Address(NamedTuple):
    """host: name or IP address, without brackets. port: 0 picks a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def address_of(bind: str) -> Address:
    """The address in `HOST:PORT` or `[IPV6]:PORT`. Raises ListenRefused."""
    host, colon, port = bind.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ListenRefused(f"not an address to listen on: {bind}", hint="write HOST:PORT, port 0 to 65535")
    return Address(host, int(port))


def check_exposure(address: Address, *, tls: bool, insecure: bool) -> None:
    """Raises ListenRefused for plain text beyond this machine, unless `insecure` says it is meant."""
    if not (tls or insecure or address.is_loopback):
        raise ListenRefused(
            f"{address} is reachable from other machines and has no TLS",
            hint="configure tls for this listener, or insecure = true behind a proxy that has it",
        )
