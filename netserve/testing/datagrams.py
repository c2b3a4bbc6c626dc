"""A client of datagrams that remembers what it got, for tests over real sockets of loopback."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import DatagramProtocol

__all__ = ["DatagramClient"]


class DatagramClient(DatagramProtocol):
    """A UDP socket that is connected to nothing.

    ``received`` grows; `until` waits for a number of datagrams::

        client = DatagramClient()
        client.open()
        client.send(b"hi", port)
        assert await client.until(1) == [b"hi"]
        await client.close()
    """

    noisy = False
    transport: Any

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self._waiting: list[tuple[int, Deferred[list[bytes]]]] = []
        self._port: Any = None
        self._reactor: Any = None

    def open(self, *, reactor: Any = None) -> None:
        """Bind a free port of 127.0.0.1.

        Arguments:
            reactor: Twisted's global one unless given.
        """
        if reactor is None:
            from twisted.internet import reactor as global_reactor

            reactor = global_reactor
        self._reactor = reactor
        self._port = reactor.listenUDP(0, self, interface="127.0.0.1")

    def send(self, data: bytes, port: int) -> None:
        """Send a datagram to a port of 127.0.0.1."""
        self.transport.write(data, ("127.0.0.1", port))

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.received.append(datagram)
        for count, found in [one for one in self._waiting if one[0] <= len(self.received)]:
            self._waiting.remove((count, found))
            found.callback(self.received)

    def until(self, count: int, *, seconds: float = 10.0) -> Deferred[list[bytes]]:
        """Everything received, once there are so many datagrams.

        Arguments:
            count: of datagrams.
            seconds: after which the Deferred fails with Twisted's TimeoutError.
        """
        found: Deferred[list[bytes]] = Deferred()
        if count <= len(self.received):
            found.callback(self.received)
        else:
            self._waiting.append((count, found))
            found.addTimeout(seconds, self._reactor)
        return found

    async def close(self) -> None:
        """Close the socket."""
        await maybeDeferred(self._port.stopListening)
