"""Outgoing TCP connections.

Resolving, binding, connecting and giving up are Twisted's own `tcp.Client`; once connected, its
socket gets a native transport.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import tcp
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from netserve.reactor.server import internet_address
from netserve.reactor.stream import Stream


class ClientStream(Stream):
    """A connection that this side has made, of any kind.

    Args:
        attempt: what has connected; its connector is told when the connection is lost.
        protocol: what the connector's factory has built.
    """

    __slots__ = ("addr", "connector", "realAddress")

    _tlsClientDefault = True

    def __init__(self, attempt: Any, protocol: Any) -> None:
        super().__init__(attempt.reactor, attempt.socket, protocol)
        self.addr = attempt.addr
        self.realAddress = attempt.realAddress
        self.connector = attempt.connector

    def _disconnected(self, reason: Failure) -> None:
        try:
            super()._disconnected(reason)
        finally:
            self.connector.connectionLost(reason)

    def logPrefix(self) -> str:
        return f"{super().logPrefix()},client"

    def __repr__(self) -> str:
        return f"<{type(self)} to {self.addr} at {id(self):x}>"


class TCPClientStream(ClientStream, tcp.Client):  # type: ignore[override]  # logstr is only read
    """A TCP connection that this side has made.

    It is a `tcp.Client` for programs that look for one, and uses nothing of that class.
    """

    __slots__ = ()

    def getHost(self) -> Any:
        """See `ITransport.getHost`."""
        return internet_address(self.socket.getsockname())

    def getPeer(self) -> Any:
        """See `ITransport.getPeer`."""
        return internet_address(self.realAddress)


class Attempt(tcp.Client):
    """The attempt to connect. Once it has succeeded it is over, and no longer can fail."""

    def _connectDone(self) -> None:
        connect(self, TCPClientStream)


def connect(attempt: Any, kind: type[ClientStream]) -> None:
    """Begin the connection that `attempt` has made."""
    connector = attempt.connector
    protocol = connector.buildProtocol(attempt.getPeer())
    stream = kind(attempt, protocol or Protocol())
    del attempt.connector
    connector.transport = stream
    stream.begin()
    if protocol is None:
        stream.loseConnection()


class Connector(tcp.Connector):
    """See `IConnector`."""

    def _makeTransport(self) -> Any:
        return Attempt(self.host, self.port, self.bindAddress, self, self.reactor)
