"""How wide a network of the file is: whether anybody may have an address in it. No I/O."""

from __future__ import annotations

import ipaddress
from typing import Final, TypeAlias

__all__ = ["Network", "has_strangers", "names_addresses"]

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_OF_ONE_SITE: Final[tuple[Network, ...]] = (
    *map(ipaddress.IPv4Network, ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")),
    *map(ipaddress.IPv4Network, ("100.64.0.0/10", "169.254.0.0/16")),
    *map(ipaddress.IPv6Network, ("::1/128", "fc00::/7", "fe80::/10")),
)
"""Networks that the internet does not route (RFC 6890): nobody from outside has such an address."""

_OF_ALL_OF_IPV4: Final = tuple(
    map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "2001::/32"))
)
"""Networks in which all of IPv4 has addresses: NAT64 (RFC 6052, RFC 8215) and Teredo (RFC 4380)."""

_WIDEST_OF_ONE_SITE: Final = {4: 16, 6: 32}
"""Prefix length of the widest public network that one site may have."""

_WIDEST_OF_ONE_ROOM: Final = {4: 24, 6: 64}
"""Prefix length of the widest network whose addresses count as named one by one."""


def has_strangers(network: Network) -> bool:
    """Whether a network is wider than one site's, so that anybody may have an address of it."""
    if any(_inside(network, site) for site in _OF_ONE_SITE):
        return False
    if any(network.version == 6 and network.overlaps(wide) for wide in _OF_ALL_OF_IPV4):
        return network.prefixlen - 96 < _WIDEST_OF_ONE_SITE[4]
    return network.prefixlen < _WIDEST_OF_ONE_SITE[network.version]


def names_addresses(network: Network) -> bool:
    """Whether a network is so narrow that it names its addresses: a /24 at most, or a /64."""
    return network.prefixlen >= _WIDEST_OF_ONE_ROOM[network.version]


def _inside(network: Network, site: Network) -> bool:
    if isinstance(network, ipaddress.IPv4Network) and isinstance(site, ipaddress.IPv4Network):
        return network.subnet_of(site)
    if isinstance(network, ipaddress.IPv6Network) and isinstance(site, ipaddress.IPv6Network):
        return network.subnet_of(site)
    return False
