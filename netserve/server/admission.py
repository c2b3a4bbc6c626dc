"""Which connections are taken: access rules, and limits in all and per address. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Literal, TypeAlias

from netserve.server.access import AccessRules
from netserve.wire.peer import counting_key, parse_address

Refusal: TypeAlias = Literal["denied", "connections", "connections_per_address"]


class Census:
    """Counts the open connections of one service, over all of its generations."""

    __slots__ = ("by_address", "open")

    def __init__(self) -> None:
        self.open = 0
        self.by_address: Counter[str] = Counter()


class Admission:
    """Admits connections to one generation of a service, and refuses those past a limit.

    Arguments:
        access: who may connect at all; may be replaced.
        connections: how many at one time, in all.
        connections_per_address: how many at one time from one address.
        census: counts them; that of the service, so that a new generation does not double the
            limits. Without it, this admission counts alone.
    """

    def __init__(
        self,
        *,
        access: AccessRules,
        connections: int,
        connections_per_address: int,
        census: Census | None = None,
    ) -> None:
        self.access = access
        self._connections = connections
        self._connections_per_address = connections_per_address
        self._census = census or Census()

    @property
    def room(self) -> int:
        """How many more connections could be taken."""
        return max(self._connections - self._census.open, 0)

    def admit(self, peer: str) -> Refusal | None:
        """Take one connection, to be given back by `release`; or say why it is refused.

        Arguments:
            peer: the peer's IP address, or an empty string on a UNIX socket.
        """
        if not self.access.permits(parse_address(peer)):
            return "denied"
        census = self._census
        if census.open >= self._connections:
            return "connections"
        key = counting_key(peer)
        if key and census.by_address[key] >= self._connections_per_address:
            return "connections_per_address"
        census.open += 1
        if key:
            census.by_address[key] += 1
        return None

    def release(self, peer: str) -> None:
        """Give back a connection that `admit` has taken."""
        census = self._census
        census.open -= 1
        key = counting_key(peer)
        if not key:
            return
        if census.by_address[key] > 1:
            census.by_address[key] -= 1
        else:
            del census.by_address[key]  # the table does not grow with the peers ever seen
