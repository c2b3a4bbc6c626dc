"""Who may hand mail over, and whether a file would make an open relay. Pure.

Mail is taken from users who have authenticated, and from clients in the networks that the file
lists; from nobody else.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final, TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK: Final[tuple[Network, ...]] = (
    ipaddress.IPv4Network("127.0.0.0/8"),
    ipaddress.IPv6Network("::1/128"),
)

_OF_ONE_SITE: Final[tuple[Network, ...]] = (
    *LOOPBACK,
    *map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")),
    *map(ipaddress.IPv4Network, ("100.64.0.0/10", "169.254.0.0/16")),
    *map(ipaddress.IPv6Network, ("fc00::/7", "fe80::/10")),
)
"""Networks that the internet does not route (RFC 6890): nobody from outside has such an address."""

_WIDEST: Final = {4: 16, 6: 32}
"""Prefix length of the widest public network that one site may have."""


def open_relay(networks: Iterable[Network]) -> str | None:
    """Why mail would be relayed for strangers, or None when it would not.

    Arguments:
        networks: those whose clients need no login.
    """
    for network in networks:
        if any(_inside(network, site) for site in _OF_ONE_SITE):
            continue
        if network.prefixlen < _WIDEST[network.version]:
            return (
                f"{network} would make an open relay: it has addresses of strangers, who could send"
                " to everybody through it; list the networks of your own, or let senders log in"
            )
    return None


def _inside(network: Network, site: Network) -> bool:
    if isinstance(network, ipaddress.IPv4Network) and isinstance(site, ipaddress.IPv4Network):
        return network.subnet_of(site)
    if isinstance(network, ipaddress.IPv6Network) and isinstance(site, ipaddress.IPv6Network):
        return network.subnet_of(site)
    return False


def is_in(client: str, networks: Iterable[Network]) -> bool:
    """Whether a client's address is in one of the networks.

    Arguments:
        client: its IP address; without one (a UNIX socket) it is in none.
        networks: of either version.
    """
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)
