"""A peer's name and IP address: read from text, counted, and looked for in networks. No I/O."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final, TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_REMEMBERED: Final = 1024
"""Peers that are remembered: each connection asks about its own several times."""

LOCAL: Final = "unix"
"""The name of a peer on a UNIX socket, which has no address."""


def peer_name(address: Any) -> str:
    """The one name of a peer in logs: ``127.0.0.1:4711``, ``[::1]:4711``, else ``unix``.

    Arguments:
        address: Twisted's address of a connection, or the pair of a datagram.
    """
    if isinstance(address, tuple):
        host, port = address[0], address[1]
    else:
        host, port = getattr(address, "host", None), getattr(address, "port", None)
    if not isinstance(host, str):
        return LOCAL
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@lru_cache(maxsize=_REMEMBERED)
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


@lru_cache(maxsize=_REMEMBERED)
def counting_key(peer: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 of an IPv6 address.

    One subscriber has a /64 at least, so that counting single IPv6 addresses limits nobody.

    Arguments:
        peer: its IP address; without one (a UNIX socket) the key is empty.
    """
    address = parse_address(peer)
    if address is None:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def is_in(peer: str, networks: Iterable[Network]) -> bool:
    """Whether a peer's address is in one of the networks.

    Arguments:
        peer: its IP address; without one (a UNIX socket) it is in none.
        networks: of either version.
    """
    address = parse_address(peer)
    return address is not None and any(address in network for network in networks)
