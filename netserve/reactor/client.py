"""Outgoing TCP connections.

Resolving, binding, connecting and giving up are Twisted's own `tcp.Client`; once connected, its
socket gets a native transport.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from twisted.internet import tcp
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from netserve.reactor.loop import attach
from netserve.reactor.server import internet_address
from netserve.reactor.stream import Stream


class ClientStream(Stream):
    """A connection that this side has made.

    Args:
        attempt: what has connected; the connector that it works for is told of the rest.
    """

    __slots__ = ("_attempt", "addr", "connector", "realAddress")

    _tlsClientDefault = True

    def __init__(self, reactor: Any, sock: socket.socket, attempt: Any) -> None:
        super().__init__(reactor, sock, None)
        self._attempt = attempt
        self.addr = attempt.addr
        self.realAddress = attempt.realAddress
        self.connector: Any = None

    def connection_made(self, native: asyncio.Transport) -> None:
        if not hasattr(self._attempt, "connector"):
            native.abort()  # given up since
            return
        self.connector = self._attempt.connector
        # From here on the attempt can no longer fail.
        del self._attempt.connector
        super().connection_made(native)

    def _connected(self) -> None:
        self.connector.transport = self
        protocol = self.connector.buildProtocol(self.getPeer())
        if protocol is None:
            self.protocol = Protocol()
            self.loseConnection()
        else:
            self.protocol = protocol
            protocol.makeConnection(self)

    def _disconnected(self, reason: Failure) -> None:
        try:
            if self.protocol is not None:
                super()._disconnected(reason)
        finally:
            self.connector.connectionLost(reason)

    def connection_lost(self, error: Exception | None) -> None:
        if self.connector is not None:
            super().connection_lost(error)

    def getHost(self) -> Any:
        """See `ITransport.getHost`."""
        return internet_address(self.socket.getsockname())

    def getPeer(self) -> Any:
        """See `ITransport.getPeer`."""
        return internet_address(self.realAddress)

    def logPrefix(self) -> str:
        return f"{super().logPrefix()},client"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} to {self.addr} at {id(self):x}>"


class Attempt(tcp.Client):
    """The attempt to connect."""

    stream = ClientStream

    def _connectDone(self) -> None:
        attach(self.reactor.loop, self.socket, self.stream(self.reactor, self.socket, self))


class Connector(tcp.Connector):
    """See `IConnector`."""

    def _makeTransport(self) -> Any:
        return Attempt(self.host, self.port, self.bindAddress, self, self.reactor)
