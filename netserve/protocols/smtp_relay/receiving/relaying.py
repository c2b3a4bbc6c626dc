"""Who may hand mail over, and whether a file would make an open relay. Pure.

Mail is taken from users who have authenticated, and from clients in the networks that the file
lists; from nobody else.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

from netserve.config.networks import Network, has_strangers, names_addresses
from netserve.errors import InvalidValue

LOOPBACK: Final[tuple[Network, ...]] = (
    ipaddress.IPv4Network("127.0.0.0/8"),
    ipaddress.IPv6Network("::1/128"),
)


def open_relay(networks: Iterable[Network]) -> InvalidValue | None:
    """Why mail would be relayed for strangers, or None when it would not.

    Arguments:
        networks: those whose clients need no login.
    """
    for network in networks:
        if has_strangers(network):
            return InvalidValue(
                "{network} would make an open relay: it has addresses of strangers, who could send"
                " to everybody through it; list the networks of your own, or let senders log in",
                network=network,
            )
    return None


def untied(networks: Iterable[Network]) -> InvalidValue | None:
    """Why networks do not tie a listener to its devices, or None when they do.

    Arguments:
        networks: those that may connect.
    """
    named = tuple(networks)
    if not named:
        return InvalidValue("role devices: allow has to name the devices, by their addresses")
    for network in named:
        if not names_addresses(network):
            return InvalidValue(
                "role devices: {network} is too wide to name devices; list their addresses, or"
                " networks of at most 256 of them (/24; /64 of IPv6)",
                network=network,
            )
    return None
