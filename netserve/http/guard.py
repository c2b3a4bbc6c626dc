"""Which addresses an HTTP client may connect to (S11); pure, it resolves and opens nothing.

What comes in over a bridge may choose, by a path, a redirect or a name, where a request of ours
goes to. So an address is refused unless it is a public unicast one, or the file lists it in
``allow_upstreams``, by address, network or host name:

=========================================  ================================================
form                                       decided by
=========================================  ================================================
``10.1.2.3``, ``[fc00::1]``                the tables below, from IANA's registries of
                                           special-purpose addresses (RFC 6890 and later)
``[::ffff:10.1.2.3]``, 6to4, NAT64         the IPv4 address inside
``2130706433``, ``0x7f.1``, ``0177.0.0.1`` refused, whatever they mean: one spelling is enough
a name                                     each address that it has when it is connected to
a name that the file lists                 the name alone
=========================================  ================================================

The list only adds: public addresses need no entry.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from netserve.errors import InvalidValue

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
AnyNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_REFUSED_V4: Final = tuple(
    (ipaddress.IPv4Network(network), what)
    for network, what in (
        ("169.254.169.254/32", "a metadata service"),
        ("169.254.170.2/32", "a metadata service"),
        ("100.100.100.200/32", "a metadata service"),
        ("168.63.129.16/32", "a metadata service"),
        ("192.0.0.192/32", "a metadata service"),
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by carriers (CGNAT)"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("240.0.0.0/4", "reserved"),
    )
)

_REFUSED_V6: Final = tuple(
    (ipaddress.IPv6Network(network), what)
    for network, what in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("fd00:ec2::254/128", "a metadata service"),
        ("fd20:ce::254/128", "a metadata service"),
        ("64:ff9b:1::/48", "a translation prefix"),
        ("2001::/32", "a Teredo tunnel"),
        ("2001::/23", "reserved"),
        ("2001:db8::/32", "for documentation"),
        ("3fff::/20", "for documentation"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)

_GLOBAL_V6: Final = ipaddress.IPv6Network("2000::/3")

_EMBEDDED: Final = tuple(
    (ipaddress.IPv6Network(network), shift)
    for network, shift in (
        ("::ffff:0:0/96", 0),  # IPv4-mapped, RFC 4291
        ("::ffff:0:0:0/96", 0),  # IPv4-translated, RFC 2765
        ("64:ff9b::/96", 0),  # NAT64, RFC 6052
        ("::/96", 0),  # IPv4-compatible, RFC 4291
        ("2002::/16", 80),  # 6to4, RFC 3056
    )
)
"""Where IPv6 addresses hold an IPv4 address, and how far it is from their right end, in bits."""

# The last label decides whether a host is meant as an IPv4 address (the rule of the URL standard).
_ENDS_IN_A_NUMBER: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9a-fA-F]*)\.*", re.DOTALL)
_HOST_NAME: Final = re.compile(
    r"(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_](?:[a-z0-9_-]{0,62}))*"
)


def embedded_ipv4(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to, or None."""
    if isinstance(address, ipaddress.IPv6Address):
        for network, shift in _EMBEDDED:
            if address in network and int(address) > 1:
                return ipaddress.IPv4Address(int(address) >> shift & 0xFFFF_FFFF)
    return None


def special_use(address: Address) -> str | None:
    """What a special address is for, such as ``loopback``; None for a public unicast one."""
    inner = embedded_ipv4(address)
    if inner is not None:
        return special_use(inner)
    table: Iterable[tuple[AnyNetwork, str]] = _REFUSED_V4 if address.version == 4 else _REFUSED_V6
    for network, what in table:
        if address in network:
            return what
    if address.version == 6 and address not in _GLOBAL_V6:
        return "not public"
    return None


@dataclass(frozen=True, slots=True)
class AddressGuard:
    """The addresses that one service may connect to.

    Arguments:
        networks: allowed though they are not public.
        names: host names, in lower case, whose addresses are allowed, whatever they are.
        suffixes: the same for all names below these, each with its leading dot.
    """

    networks: tuple[AnyNetwork, ...] = ()
    names: frozenset[str] = frozenset()
    suffixes: tuple[str, ...] = ()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> AddressGuard:
        """The guard for the entries of ``allow_upstreams``.

        Arguments:
            entries: each an address, a network, a host name, or ``*.`` and a host name.

        Raises:
            ValueError: one is none of these.
        """
        networks: list[AnyNetwork] = []
        names: set[str] = set()
        suffixes: list[str] = []
        for index, entry in enumerate(entries):
            name = entry.lower().rstrip(".")
            wild = name.removeprefix("*.")
            if "/" in entry or ":" in entry or _ENDS_IN_A_NUMBER.fullmatch(entry):
                try:
                    networks.append(ipaddress.ip_network(entry))
                except ValueError as error:
                    raise InvalidValue(
                        "not an address or network: {error}",
                        at=(index,),
                        otherwise="not an address or network",
                        error=error,
                    ) from None
            elif not _HOST_NAME.fullmatch(wild):
                raise InvalidValue(
                    "not an address, a network or a host name: {entry}; write for example"
                    " 127.0.0.1, 10.0.0.0/8, api.internal or *.internal",
                    at=(index,),
                    otherwise="not an address, a network or a host name; write for example"
                    " 127.0.0.1, 10.0.0.0/8, api.internal or *.internal",
                    entry=repr(entry),
                )
            elif wild != name:
                suffixes.append(f".{wild}")
            else:
                names.add(name)
        return cls(tuple(networks), frozenset(names), tuple(suffixes))

    def allows_name(self, host: str) -> bool:
        """Whether the file lists this host name, so that its addresses are not looked at."""
        name = host.lower().rstrip(".")
        return name in self.names or (bool(self.suffixes) and name.endswith(self.suffixes))

    def refusal(self, address: Address) -> str | None:
        """Why this address is not connected to, in a few words; None when it may be."""
        what = special_use(address)
        if what is None:
            return None
        inner = embedded_ipv4(address)
        for network in self.networks:
            if address in network or (inner is not None and inner in network):
                return None
        return f"{address} is {what}"

    def host_refusal(self, host: str) -> str | None:
        """Why this host of a URL is not connected to; None when it may be, or is a name.

        A name's addresses are given to `refusal` when it is resolved.

        Arguments:
            host: as it stands in the URL, without brackets.
        """
        if ":" not in host and not _ENDS_IN_A_NUMBER.fullmatch(host):
            return None if host else "a URL without a host"
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return f"{host} is not an address in its usual form"
        return self.refusal(address)


PUBLIC_ONLY: Final = AddressGuard()
"""What holds without ``allow_upstreams``."""
