"""What stands between a socket of datagrams and a service's protocol: access rules, counters, taps.

A socket has one record, whose id is in the log lines about its datagrams. Where the service is
tapped, each peer has a record of its own (`netserve.server.datagram_taps`).
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

from netserve.connection import Connection, Tracker
from netserve.connection.record import local_address
from netserve.plugin import Metrics
from netserve.reactor.context import LogContext, contexts
from netserve.server.access import AccessRules
from netserve.server.datagram_taps import DatagramTaps, Flow
from netserve.wire.peer import parse_address


class CountingDatagramTransport:
    """A datagram transport that counts what is sent, and shows it to taps.

    Arguments:
        transport: all other methods are its own.
        metrics: the service's counters.
        gate: has the taps.
    """

    def __init__(self, transport: Any, metrics: Metrics, gate: DatagramGate) -> None:
        self._transport = transport
        self._metrics = metrics
        self._gate = gate

    @property
    def connection(self) -> Connection:
        """The record of the datagram that is being handled, or of the socket."""
        return self._gate.connection

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
            if self._gate.is_tapped():
                self._gate.sent(datagram, *address)


class DatagramGate(DatagramProtocol):
    """One address of a generation of a service that takes datagrams.

    Arguments:
        inner: the service's protocol.
        access: whose datagrams are taken.
        metrics: the service's counters.
        log: the service's logger.
        started: fires when the service has started; datagrams before it are dropped.
        tracker: makes records, and opens taps.
        clock: the reactor.
    """

    noisy = False
    connection: Connection
    """The record of the datagram that is being handled, or of the socket."""

    def __init__(
        self,
        inner: Any,
        *,
        access: AccessRules,
        metrics: Metrics,
        log: Logger,
        started: Deferred[None],
        tracker: Tracker,
        clock: Any,
    ) -> None:
        self._inner = inner
        self.access = access
        """Whose datagrams are taken; may be replaced."""
        self._is_open = False
        self._metrics = metrics
        self._log = log
        self._started = started
        self._tracker = tracker
        self._clock = clock
        self._switched_on = tracker.taps.switched_on
        self._flows: dict[Any, Flow] = {}
        self._log_context = LogContext(self)

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        self._is_open = True
        local = local_address(transport)
        self.connection = self._socket = self._tracker.record(local, None, tls=False)
        self._taps = DatagramTaps(self._tracker, local, self._clock)
        self._flows = self._taps.flows
        self._contexts = contexts()
        self._inner.makeConnection(CountingDatagramTransport(transport, self._metrics, self))

    def logPrefix(self) -> str:
        """What log records about its datagrams begin with."""
        return type(self._inner).__name__

    def is_tapped(self) -> bool:
        """Whether a tap may want to see a datagram."""
        return bool(self._switched_on or self._flows)

    def sent(self, datagram: bytes, address: Any = None) -> None:
        """Show a datagram that was sent to the tap of its peer, if it has one."""
        flow = self._taps.of(address)
        if flow is not None and flow.tap is not None:
            flow.tap.sent(bytes(datagram))

    def _received(self, datagram: bytes, address: Any) -> None:
        flow = self._taps.of(address)
        if flow is not None:
            self.connection = flow.connection
            if flow.tap is not None:
                flow.tap.received(datagram)

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        if not self._started.called:
            return
        # A UNIX datagram's sender is a path, or None.
        peer = addr[0] if isinstance(addr, tuple) else ""
        if not self.access.permits(parse_address(peer)):
            self._metrics.connections_refused["denied"] += 1
            return
        self._metrics.bytes_received += len(datagram)
        if self._switched_on or self._flows:
            self._received(datagram, addr)
        self._contexts.append(self._log_context)
        try:
            self._inner.datagramReceived(datagram, addr)
        except Exception:
            self._metrics.errors["internal"] += 1
            self._log.failure(
                "a datagram of {peer} could not be handled",
                peer=peer,
                connection_id=self.connection.id,
            )
        finally:
            self._contexts.pop()
            self.connection = self._socket

    def connectionRefused(self) -> None:
        self._inner.connectionRefused()

    def doStop(self) -> None:
        """The socket is closed, or serves another generation."""
        if self._is_open:
            self._is_open = False
            self._taps.close()
            self._inner.doStop()
            self.transport = None
