"""Transports that stand in for another one, and see what is written to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from twisted.python.failure import Failure
from zope.interface import providedBy

if TYPE_CHECKING:
    from netserve.connection.tap import GuardedTap


class TransportLayer:
    """A transport that stands in for another one.

    Its owner reports to it what the connection receives, since a transport does not see that.

    Arguments:
        transport: all methods and attributes that are not in this class are its own.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    @property
    def __providedBy__(self) -> Any:
        # Asked each time: the transport provides more after STARTTLS.
        return providedBy(self._transport)

    @property
    def bufferSize(self) -> int:
        """Unsent bytes above which a push producer is paused."""
        size: int = self._transport.bufferSize
        return size

    @bufferSize.setter
    def bufferSize(self, size: int) -> None:
        self._transport.bufferSize = size

    def write(self, data: bytes) -> None:
        """See `ITransport.write`."""
        self._transport.write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """See `ITransport.writeSequence`."""
        self.write(b"".join(data))

    def received(self, data: bytes) -> None:
        """The connection has received bytes."""

    def read_closed(self) -> None:
        """The peer will send no more, and the connection stays open."""

    def ended(self, reason: Failure) -> None:
        """The connection is over."""


class TappedTransport(TransportLayer):
    """A transport with a tap.

    Arguments:
        transport: of the connection.
        tap: gets the bytes of both directions.
    """

    def __init__(self, transport: Any, tap: GuardedTap) -> None:
        super().__init__(transport)
        self._tap = tap

    def write(self, data: bytes) -> None:
        """See `ITransport.write`."""
        # First, as the answer of a peer on this machine may come within the call.
        if data:
            self._tap.sent(data if isinstance(data, bytes) else bytes(data))
        self._transport.write(data)

    def loseWriteConnection(self) -> None:
        """See `IHalfCloseableDescriptor.loseWriteConnection`."""
        self._tap.half_closed(by_peer=False)
        self._transport.loseWriteConnection()

    def received(self, data: bytes) -> None:
        """The connection has received bytes."""
        self._tap.received(data)

    def read_closed(self) -> None:
        """The peer will send no more, and the connection stays open."""
        self._tap.half_closed(by_peer=True)

    def ended(self, reason: Failure) -> None:
        """The connection is over."""
        self._tap.ended(reason)


def insert(protocol: Any, tapped: TappedTransport) -> TappedTransport:
    """Put a tapped transport before a protocol whose connection is being made.

    Arguments:
        protocol: of Twisted; its own methods are called as before.
        tapped: what it is to use as its transport.
    """
    # The methods are looked up for each call, as a protocol may exchange them on the way.
    kind = type(protocol)

    def data_received(data: bytes) -> None:
        tapped.received(data)
        kind.dataReceived(protocol, data)

    def connection_lost(reason: Failure) -> None:
        tapped.ended(reason)
        kind.connectionLost(protocol, reason)

    protocol.dataReceived = data_received
    protocol.connectionLost = connection_lost
    if hasattr(kind, "readConnectionLost"):

        def read_connection_lost() -> None:
            tapped.read_closed()
            kind.readConnectionLost(protocol)

        protocol.readConnectionLost = read_connection_lost
    return tapped
