"""The ways into a generation of a service: what an entrance gives its connections to.

The addresses of a service share its gates, with their limits. They differ in what a `WayIn`
knows: which protocol answers, and whether TLS comes first. A peer that may speak HAProxy's PROXY
protocol has to; it is admitted as the client that it names, and everything behind goes by that
client's address: access rules, limits, logs, the protocol itself. Anyone else is a client, and
what it sends is the service's protocol, whatever it looks like.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from netserve.server.gate import Gates
from netserve.wire.peer import Network, is_in, parse_address
from netserve.wire.proxy_header import ProxyHeader, ProxyHeaderError, read_proxy_header


@implementer(IProtocolFactory)
class WayIn:
    """One way into a generation of a service.

    Arguments:
        gates: of the service.
        inner: the factory of the protocol that answers here.
        tls: a factory that wraps a gate in TLS, or None.
        refusal: sent to who is refused for a limit.
        proxies: networks whose connections begin with a PROXY header.
    """

    noisy = False

    def __init__(
        self,
        gates: Gates,
        inner: Any,
        *,
        tls: Any = None,
        refusal: bytes = b"",
        proxies: Iterable[Network] = (),
    ) -> None:
        self.gates = gates
        self.behind_header: set[HeaderReader] = set()
        """Connections whose PROXY header is not complete."""
        self._inner = inner
        self._tls = tls
        self._refusal = refusal
        self._proxies = tuple(proxies)

    def doStart(self) -> None:
        """One more listening port uses this factory."""
        if hasattr(self._inner, "doStart"):
            self._inner.doStart()

    def doStop(self) -> None:
        """One listening port less uses this factory."""
        if hasattr(self._inner, "doStop"):
            self._inner.doStop()

    def buildProtocol(self, addr: Any) -> Any:
        peer = getattr(addr, "host", "")
        if not self._proxies or not is_in(peer, self._proxies):
            return self.take(addr)
        if len(self.behind_header) >= self.gates.admission.room:
            self.gates.refused(peer, "connections")
            return None
        return HeaderReader(self, peer)

    def take(self, addr: Any) -> Any:
        """The protocol for a client at this address, or None where it is not taken."""
        return self.gates.take(addr, self._inner, tls=self._tls, refusal=self._refusal)

    def drain(self) -> None:
        """End what has not begun."""
        for reader in list(self.behind_header):
            reader.transport.abortConnection()


class HeaderReader(Protocol):
    """Reads a PROXY header, and makes room for the protocol that goes on from there.

    Arguments:
        way_in: where the connection came in.
        peer: the balancer's address.
    """

    transport: Any

    def __init__(self, way_in: WayIn, peer: str) -> None:
        self._way_in = way_in
        self._peer = peer
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
        protocol = self._way_in.take(address)
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
        gates.log.info("closed {peer}: its PROXY header: {why}", peer=self._peer, why=why)
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._end()
