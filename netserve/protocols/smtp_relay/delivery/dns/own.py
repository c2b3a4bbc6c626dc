"""Whether a connection to an address would come back to this process."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Final

from netserve.config.listen import Listen
from netserve.mail.mx import Address

_EVERYWHERE: Final = frozenset({"", "0.0.0.0", "::"})
_DISCARD: Final = 9


class OwnAddresses:
    """The addresses that this process takes mail at, for one port.

    Arguments:
        listens: every address that the process listens on.
        port: mail goes to it.
    """

    def __init__(self, listens: Iterable[Listen], port: int) -> None:
        inner = [listen.inside for listen in listens]
        interfaces = {listen.interface for listen in inner if listen.port == port}
        self._everywhere = bool(interfaces & _EVERYWHERE)
        self._some = frozenset(interfaces - _EVERYWHERE)

    def __call__(self, address: Address) -> bool:
        """Whether this is one of them."""
        if str(address) in self._some:
            return True
        return self._everywhere and is_of_this_machine(address)


def is_of_this_machine(address: Address) -> bool:
    """Whether the system has this address: what it sends there it sends from there.

    Nothing is sent: a datagram socket that is connected has only looked at the routes.
    """
    if address.is_loopback:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), _DISCARD))
            return ipaddress.ip_address(probe.getsockname()[0]) == address
    except OSError:  # no route, so it is not here
        return False
