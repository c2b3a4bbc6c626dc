"""Reads the PROXY header that a load balancer puts before the bytes of a client."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from netserve.wire.peer import parse_address
from netserve.wire.proxy_header import ProxyHeader, ProxyHeaderError, read_proxy_header

if TYPE_CHECKING:
    from netserve.server.way_in import WayIn


class HeaderReader(Protocol):
    """Reads a PROXY header, and makes room for the protocol that goes on from there.

    Arguments:
        way_in: where the connection came in.
        peer: the balancer's address.
        build: makes that protocol, from the client's address and the connection's id; or None
            where the client is not taken.
    """

    transport: Any

    def __init__(self, way_in: WayIn, peer: str, build: Callable[[Any, str], Any]) -> None:
        self._way_in = way_in
        self._peer = peer
        self._build = build
        self._id = way_in.gates.tracker.new_id()
        self._data = b""
        self._timeout: Any = None

    def connectionMade(self) -> None:
        """Wait for the header, within the time that a handshake has."""
        gates = self._way_in.gates
        self._way_in.behind_header.add(self)
        if gates.started.called:
            self._begin(None)
        else:
            self.transport.pauseProducing()
            gates.started.addCallback(self._begin)

    def _begin(self, _: None) -> None:
        if self not in self._way_in.behind_header:
            return  # it went before the service was there
        gates = self._way_in.gates
        self._timeout = gates.clock.callLater(
            gates.handshake_timeout, self._give_up, "there is none in time"
        )
        self.transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        """A part of the header, and maybe of what stands behind it."""
        self._data += data
        try:
            header = read_proxy_header(self._data)
        except ProxyHeaderError as error:
            self._give_up(str(error))
            return
        if header is not None:
            self._end()
            self._hand_over(header)

    def _hand_over(self, header: ProxyHeader) -> None:
        transport = self.transport
        address = self._client(header)
        protocol = self._build(address, self._id)
        if protocol is None:
            transport.abortConnection()
            return
        transport.getPeer = lambda: address
        transport.protocol = protocol
        protocol.makeConnection(transport)
        rest = self._data[header.size :]
        if rest and not transport.disconnecting:
            protocol.dataReceived(rest)

    def _client(self, header: ProxyHeader) -> Any:
        """The address that counts as the client's.

        Loopback of another machine is not ours: such a client is as the balancer itself.
        """
        own = self.transport.getPeer()
        if header.client is None:
            return own
        host, port = header.client
        balancer, client = parse_address(self._peer), parse_address(host)
        if client is not None and client.is_loopback and not (balancer and balancer.is_loopback):
            return own
        return (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)

    def _end(self) -> None:
        self._way_in.behind_header.discard(self)
        timeout, self._timeout = self._timeout, None
        if timeout is not None and timeout.active():
            timeout.cancel()

    def _give_up(self, why: str) -> None:
        gates = self._way_in.gates
        gates.metrics.errors["proxy_header"] += 1
        gates.log.info(
            "closed {peer}: its PROXY header: {why}",
            peer=self._peer,
            why=why,
            connection_id=self._id,
        )
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._end()
