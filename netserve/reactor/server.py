"""Listening TCP ports.

Binding, listening, accepting and running out of descriptors are Twisted's own `tcp.Port`;
what it accepts gets a native transport.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any, Final

from twisted.internet import tcp
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.logger import Logger

from netserve.reactor.stream import Stream

MOST_ACCEPTED: Final = 20
"""Connections that are accepted in one turn of the reactor by one port."""


def numeric(address: tuple[Any, ...]) -> tuple[Any, ...]:
    """A socket address with an IPv6 scope written into its host, as Twisted has it."""
    if len(address) == 4 and address[3]:
        host, _ = socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
        return (host, *address[1:])
    return address


def internet_address(address: tuple[Any, ...]) -> IPv4Address | IPv6Address:
    """Twisted's address object for a socket's address."""
    kind = IPv4Address if len(address) == 2 else IPv6Address
    return kind("TCP", *numeric(address))


class ServerStream(Stream):
    """A connection of any kind that was accepted, or given to the reactor as a descriptor.

    Args:
        client: the peer's socket address.
        server: the port that accepted it, if one did.
        session: its number there.
    """

    __slots__ = ("client", "server", "sessionno")

    def __init__(
        self,
        reactor: Any,
        sock: socket.socket,
        protocol: Any,
        client: Any,
        server: Any,
        session: int,
    ) -> None:
        super().__init__(reactor, sock, protocol)
        self.client = client
        self.server = server
        self.sessionno = session

    @property
    def hostname(self) -> Any:
        """The peer's address, without its port."""
        return numeric(self.client)[0]

    def logPrefix(self) -> str:
        return f"{super().logPrefix()},{self.sessionno},{self.hostname}"

    def __repr__(self) -> str:
        return f"<{type(self.protocol).__name__} #{self.sessionno} on {self._listening_on()}>"

    def _listening_on(self) -> Any:
        raise NotImplementedError


class TCPServerStream(ServerStream, tcp.Server):  # type: ignore[override]  # logstr is only read
    """A TCP connection of a listening port.

    It is a `tcp.Server` for programs that look for one, and uses nothing of that class.
    """

    __slots__ = ()

    def getHost(self) -> Any:
        """See `ITransport.getHost`."""
        return internet_address(self.socket.getsockname())

    def getPeer(self) -> Any:
        """See `ITransport.getPeer`."""
        return internet_address(self.client)

    def _listening_on(self) -> Any:
        return self.getHost().port


class Accepting:
    """The part of a port that accepts connections, before one of Twisted's own ports."""

    _log = Logger()

    @classmethod
    def adopted(cls: Any, *args: Any) -> Any:
        """A port on a listening socket that exists, not started yet; arguments are Twisted's."""
        return cls._fromListeningDescriptor(*args)

    def doRead(self: Any) -> None:
        """Accept as many connections as came."""
        accepted = 0
        try:
            for sock, address in self._waiting():
                accepted += 1
                self._accepted(sock, address)
        except OSError:
            self._log.failure("cannot accept a connection")
        # A full round tells that more may wait; the next one is larger, up to what others can wait.
        more = accepted + 20 if accepted == self.numberAccepts else max(1, accepted)
        self.numberAccepts = min(more, MOST_ACCEPTED)

    def _waiting(self: Any) -> Iterator[tuple[socket.socket, Any]]:
        """The connections of one round, by Twisted's way of surviving without descriptors."""
        # No record is written while descriptors are short: an observer may need one.
        with tcp._BuffersLogs(self._logger.namespace, self._logger.observer) as log:  # noqa: SLF001
            rounds = range(self.numberAccepts)
            yield from tcp._accept(log, rounds, self.socket, tcp._reservedFD)  # noqa: SLF001

    def _accepted(self: Any, sock: socket.socket, address: Any) -> None:
        try:
            protocol = self.factory.buildProtocol(self._buildAddr(address))
        except Exception:
            self._log.failure("no protocol for {address}", address=address)
            protocol = None
        if protocol is None:
            sock.close()
            return
        session = self.sessionno
        self.sessionno = session + 1
        self._serve(sock, protocol, address, session)

    def _serve(self: Any, sock: socket.socket, protocol: Any, address: Any, session: int) -> None:
        self.transport(self.reactor, sock, protocol, address, self, session).begin()


class Port(Accepting, tcp.Port):
    """A listening TCP socket; see `IListeningPort`."""

    transport: Any = TCPServerStream

    def _buildAddr(self, address: Any) -> Any:
        return internet_address(address)


def adopt(reactor: Any, descriptor: int, family: int, factory: Any) -> TCPServerStream | None:
    """Take over a connected TCP socket; see `IReactorSocket.adoptStreamConnection`.

    Returns:
        the transport; None if the factory has no protocol for it.
    """
    sock = socket.fromfd(descriptor, family, socket.SOCK_STREAM)
    client = sock.getpeername()
    protocol = factory.buildProtocol(internet_address(client))
    if protocol is None:
        sock.close()
        return None
    stream = TCPServerStream(reactor, sock, protocol, client, None, client[1])
    stream.begin()
    return stream
