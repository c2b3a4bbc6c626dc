"""What a listening socket gives its connections or datagrams to, for as long as it is open.

An entrance points at the generation of a service that serves at the moment. It is pointed at
another one between two connections, by one assignment: no socket is closed for that, and no
connection is refused. Everything about a connection comes from the generation that took it.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

from netserve.server.datagram import DatagramGate
from netserve.server.way_in import WayIn


@implementer(IProtocolFactory)
class Entrance:
    """The factory of a socket that takes connections.

    Arguments:
        target: takes them first.
    """

    noisy = False

    def __init__(self, target: WayIn) -> None:
        self.target = target
        self._ports = 0

    def doStart(self) -> None:
        """One more listening port uses this factory."""
        self._ports += 1
        self.target.doStart()

    def doStop(self) -> None:
        """One listening port less uses this factory."""
        self._ports -= 1
        self.target.doStop()

    def buildProtocol(self, addr: Any) -> Any:
        return self.target.buildProtocol(addr)

    def point_at(self, target: WayIn) -> None:
        """Give the next connections to another generation."""
        before = self.target
        for _ in range(self._ports):
            target.doStart()
        self.target = target
        for _ in range(self._ports):
            before.doStop()


class DatagramEntrance(DatagramProtocol):
    """The protocol of a socket that takes datagrams.

    Arguments:
        target: takes them first.
    """

    noisy = False

    def __init__(self, target: DatagramGate) -> None:
        self.target = target

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        self._serve(self.target)

    def _serve(self, target: DatagramGate) -> None:
        target.makeConnection(self.transport)
        self.target = target
        # The port looks it up for each datagram: so there is no call more than without us.
        self.datagramReceived = target.datagramReceived  # type: ignore[method-assign]

    def connectionRefused(self) -> None:
        self.target.connectionRefused()

    def point_at(self, target: DatagramGate) -> None:
        """Give the next datagrams to another generation; the one before may still send."""
        self._serve(target)

    def doStop(self) -> None:
        """The socket is closed."""
        self.target.doStop()
        self.transport = None
