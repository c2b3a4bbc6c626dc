"""Which connections are taken: access rules, and limits in all and per address. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Literal, TypeAlias

from netserve.server.access import AccessRules
from netserve.wire.peer import counting_key, parse_address

Refusal: TypeAlias = Literal["denied", "connections", "connections_per_address"]


class Admission:
    """Counts the connections of one service, and refuses those past a limit.

    Arguments:
        access: who may connect at all.
        connections: how many at one time, in all.
        connections_per_address: how many at one time from one address.
    """

    def __init__(
        self, *, access: AccessRules, connections: int, connections_per_address: int
    ) -> None:
        self._access = access
        self._connections = connections
        self._connections_per_address = connections_per_address
        self._open = 0
        self._by_address: Counter[str] = Counter()

    @property
    def room(self) -> int:
        """How many more connections could be taken."""
        return self._connections - self._open

    def admit(self, peer: str) -> Refusal | None:
        """Take one connection, to be given back by `release`; or say why it is refused.

        Arguments:
            peer: the peer's IP address, or an empty string on a UNIX socket.
        """
        if not self._access.permits(parse_address(peer)):
            return "denied"
        if self._open >= self._connections:
            return "connections"
        key = counting_key(peer)
        if key and self._by_address[key] >= self._connections_per_address:
            return "connections_per_address"
        self._open += 1
        if key:
            self._by_address[key] += 1
        return None

    def release(self, peer: str) -> None:
        """Give back a connection that `admit` has taken."""
        self._open -= 1
        key = counting_key(peer)
        if not key:
            return
        if self._by_address[key] > 1:
            self._by_address[key] -= 1
        else:
            del self._by_address[key]  # the table does not grow with the peers ever seen
