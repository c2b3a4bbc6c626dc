"""What stands between a UDP socket and a service's protocol: access rules and counters."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

from netserve.plugin import Metrics
from netserve.server.access import AccessRules
from netserve.wire.peer import parse_address


class CountingDatagramTransport:
    """A datagram transport that counts what is sent.

    Arguments:
        transport: all other methods are its own.
        metrics: the service's counters.
    """

    def __init__(self, transport: Any, metrics: Metrics) -> None:
        self._transport = transport
        self._metrics = metrics

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, datagram: bytes, *address: Any) -> None:
        """See IUDPTransport. A datagram that cannot be sent is lost, as any datagram may be."""
        try:
            self._transport.write(datagram, *address)
        except OSError:
            self._metrics.errors["send"] += 1
        else:
            self._metrics.bytes_sent += len(datagram)


class DatagramGate(DatagramProtocol):
    """One address of a generation of a service that takes datagrams.

    Arguments:
        inner: the service's protocol.
        access: whose datagrams are taken.
        metrics: the service's counters.
        log: the service's logger.
        started: fires when the service has started; datagrams before it are dropped.
    """

    noisy = False

    def __init__(
        self,
        inner: Any,
        *,
        access: AccessRules,
        metrics: Metrics,
        log: Logger,
        started: Deferred[None],
    ) -> None:
        self._inner = inner
        self.access = access
        """Whose datagrams are taken; may be replaced."""
        self._is_open = False
        self._metrics = metrics
        self._log = log
        self._started = started

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        self._is_open = True
        self._inner.makeConnection(CountingDatagramTransport(transport, self._metrics))

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        if not self._started.called:
            return
        # A UNIX datagram's sender is a path, or None.
        peer = addr[0] if isinstance(addr, tuple) else ""
        if not self.access.permits(parse_address(peer)):
            self._metrics.connections_refused["denied"] += 1
            return
        self._metrics.bytes_received += len(datagram)
        try:
            self._inner.datagramReceived(datagram, addr)
        except Exception:
            self._metrics.errors["internal"] += 1
            self._log.failure("a datagram of {peer} could not be handled", peer=peer)

    def connectionRefused(self) -> None:
        self._inner.connectionRefused()

    def doStop(self) -> None:
        """The socket is closed, or serves another generation."""
        if self._is_open:
            self._is_open = False
            self._inner.doStop()
            self.transport = None
