"""Who may connect: networks to allow and deny, and how an address is counted. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse_address(text: str) -> Address | None:
    """A peer's address; IPv4 that came in over an IPv6 socket is given as IPv4.

    Returns None for what is not an IP address: a UNIX socket's peer has none.
    """
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def counting_key(address: Address | None) -> str:
    """What counts as one address: an IPv4 address, or the /64 of an IPv6 address.

    One subscriber has a /64 at least, so that counting single IPv6 addresses limits nobody.
    """
    if address is None:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


class AccessRules:
    """The rules ``deny`` and ``allow`` of one service; deny is decided first.

    Arguments:
        allow: networks that may connect; empty means all.
        deny: networks that may not.
    """

    def __init__(self, *, allow: Iterable[Network] = (), deny: Iterable[Network] = ()) -> None:
        self._allow = tuple(allow)
        self._deny = tuple(deny)

    def permits(self, address: Address | None) -> bool:
        """Whether this peer may connect; a peer without an address (UNIX socket) may."""
        if address is None:
            return True
        if any(address in network for network in self._deny):
            return False
        return not self._allow or any(address in network for network in self._allow)
