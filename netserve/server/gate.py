"""What stands between a listening socket and a service's protocol.

`Gates` are the connections of a service, and `Gate` sees to one from its first to its last moment:
counts, the handshake timeout, the idle sweep, the drain. Neither does anything per message: the
transport's bytes go to the service's own ``dataReceived``, unless a layer wants to see them.
`netserve.server.layers` has what stands before a gate and behind it.

The listening sockets know an `netserve.server.entrance.Entrance` each, which comes before this.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from netserve.connection import Connection, Tracker
from netserve.connection.record import local_address, note
from netserve.connection.transport import TransportLayer
from netserve.fairness.turns import Share
from netserve.plugin import Metrics
from netserve.reactor.interfaces import IPeerWatcher
from netserve.reactor.stream import Stream
from netserve.server.admission import Admission
from netserve.server.layers import BEHIND_GATE
from netserve.server.tls_failures import tls_failure
from netserve.server.traffic import CountingTransport, TCPTraffic, Traffic
from netserve.server.waiting import Waiting
from netserve.wire.reply_guard import LogLimit, times

_ALL_ADDRESSES: Final = frozenset({"0.0.0.0", "::", None})


def _never() -> bool:
    """For a transport that does not say whether its peer takes what is written."""
    return False


@implementer(IHandshakeListener, IPeerWatcher)
class Gate(Protocol):
    """One connection of a service, whose protocol does not know half-closed connections.

    When the peer closes its side, the transport tells that the connection is lost, and still sends
    what was written. The connection counts until that is over.

    Arguments:
        inner: the service's protocol.
        gates: where it is counted.
        address: the peer's, or that of the client that it speaks for.
        identity: the id of the connection, where it has one already; else an empty string.
        is_tls: whether TLS comes first.
    """

    transport: Any
    connection: Connection
    """Its record."""

    def __init__(
        self, inner: Any, gates: Gates, address: Any, identity: str, *, is_tls: bool
    ) -> None:
        self.inner = inner
        self.address = address
        self.peer: str = getattr(address, "host", "")
        """The peer's IP address, or an empty string."""
        self.gates = gates
        self._identity = identity
        self._is_tls = is_tls
        self._handshake_call: Any = None
        self._shaken = False
        self._made = False
        self.raw: Any = None
        """The transport of the socket, beneath TLS."""
        self._is_full: Callable[[], bool] = _never
        self.traffic_source: TCPTraffic | CountingTransport | None = None
        """Counts the bytes; set by the layer `counting`."""
        self._layers: tuple[TransportLayer, ...] = ()
        self.closing = False
        """Set by the idle sweep when it has asked for an orderly close."""
        self.seen = Traffic(0, 0)
        """What had moved when `traffic` was read last."""
        self.seen_at = gates.clock.seconds()
        """When something had moved, as far as is known."""

    def makeConnection(self, transport: Any) -> None:
        self.gates.opened(self)
        # Under TLS the transport is the TLS protocol, and the socket's own is beneath it.
        self.raw = raw = transport.transport if self._is_tls else transport
        self._is_full = getattr(raw, "is_full", _never)
        self.connection = self.gates.tracker.record(
            self.gates.local_address(raw),
            self.address,
            tls=self._is_tls,
            identity=self._identity,
        )
        note(raw, self.connection)
        for layer in BEHIND_GATE:
            before, transport = transport, layer(self, transport)
            if transport is not before:
                self._layers += (transport,)
        self.transport = transport
        if not self._layers:
            # So that data passes us by.
            self.dataReceived = self.inner.dataReceived  # type: ignore[method-assign]
        if self._is_tls:
            self._handshake_call = self.gates.clock.callLater(
                self.gates.handshake_timeout, self._handshake_took_too_long
            )
        if self.gates.started.called:
            self._begin()
        else:
            transport.pauseProducing()
            self.gates.started.addCallback(self._late)

    def _begin(self) -> None:
        """Hand the connection to the service's protocol."""
        self._made = True
        self.inner.makeConnection(self.transport)
        if not self._layers:
            # A protocol may put a shorter way in place when it is connected, as echo does.
            self.dataReceived = self.inner.dataReceived  # type: ignore[method-assign]

    def _late(self, result: None) -> None:
        """The service has started; go on with a connection that came before."""
        if self in self.gates.open:
            self._begin()
            self.transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        """Show the data to the layers that want to see it."""
        for layer in self._layers:
            layer.received(data)
        self.inner.dataReceived(data)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        if isinstance(self.traffic_source, TCPTraffic):
            self.traffic_source.ended = getattr(self.raw, "read_closed", False)
        self._stop_waiting_for_handshake()
        self.gates.waiting.discard(self)
        self._log_tls_failure(reason)
        for layer in self._layers:
            layer.ended(reason)
        if self._is_flushing():
            self.raw.flushing.then(self._gone)
        else:
            self._gone()
        made, self._made = self._made, False
        if made:
            self.inner.connectionLost(reason)

    def _is_flushing(self) -> bool:
        """Whether the connection is lost, but its transport still sends what was written."""
        return getattr(self.raw, "flushing", None) is not None

    def _gone(self) -> None:
        """The socket has sent everything, or will send nothing more."""
        self.traffic()
        self.gates.closed(self)

    def _log_tls_failure(self, reason: Failure) -> None:
        is_tls = self._is_tls or getattr(self.raw, "TLS", False)
        if not is_tls or getattr(self.raw, "aborted", False):
            return
        why = tls_failure(reason, shaken=self._shaken)
        if why is None:
            return
        self.traffic()
        if not self._shaken and not self.seen.received:
            return  # somebody has looked whether the port is open
        self.gates.metrics.errors["tls" if self._shaken else "handshake"] += 1
        what = "TLS" if self._shaken else "the TLS handshake"
        self.gates.log.info(
            "closed {peer}: {what} failed: {why}",
            peer=self.peer,
            what=what,
            why=why,
            connection_id=self.connection.id,
        )

    def waitsForPeer(self, waiting: bool) -> None:
        """See `IPeerWatcher`."""
        if waiting and isinstance(self.raw, Stream):
            self.gates.waiting.add(self)
        elif not self.transport.disconnecting:
            self.gates.waiting.discard(self)

    def drain(self) -> bool:
        """Have the service's protocol finish, by its method ``drain``.

        A connection that came before the start, which the protocol knows nothing of, is aborted.

        Returns:
            False where the protocol has no such method, or a bug in it.
        """
        if not self._made:
            if not self._is_flushing():
                self.transport.abortConnection()
            return True
        return self._tell("drain")

    def end_idle(self) -> None:
        """Close it, in the words of the service's protocol, by its method ``timed_out``."""
        if not (self._made and self._tell("timed_out")):
            self.close_quietly()

    def _tell(self, name: str) -> bool:
        """Call a method of the service's protocol, if it has it; whether that went well."""
        method = getattr(self.inner, name, None)
        if method is None:
            return False
        try:
            method()
        except Exception:
            self.gates.metrics.errors["internal"] += 1
            self.gates.log.failure(
                "the connection of {peer} failed at {name}",
                peer=self.peer,
                name=name,
                connection_id=self.connection.id,
            )
            return False
        return True

    def handshakeCompleted(self) -> None:
        self._shaken = True
        self._stop_waiting_for_handshake()
        if IHandshakeListener.providedBy(self.inner):
            self.inner.handshakeCompleted()

    def _stop_waiting_for_handshake(self) -> None:
        call, self._handshake_call = self._handshake_call, None
        if call is not None:
            call.cancel()

    def _handshake_took_too_long(self) -> None:
        self._handshake_call = None
        self.gates.metrics.errors["handshake_timeout"] += 1
        self.gates.log.info(
            "closed {peer}: no TLS handshake in time",
            peer=self.peer,
            connection_id=self.connection.id,
        )
        self.transport.abortConnection()

    def close_quietly(self) -> None:
        """Close a connection on which nothing moves.

        A transport waits for its producer to end. One that was not told to wait has nothing to
        say, and would hold the connection open; echo, which is its own producer, for ever.
        """
        if not self._is_full():
            self.transport.unregisterProducer()
        self.transport.loseConnection()

    def traffic(self) -> bool:
        """Read and count what has moved; tells whether anything has since the last time."""
        if self.traffic_source is None:
            return False
        now = self.traffic_source.read()
        if now == self.seen:
            return False
        metrics = self.gates.metrics
        metrics.bytes_received += now.received - self.seen.received
        metrics.bytes_sent += now.sent - self.seen.sent
        self.seen = now
        self.seen_at = self.gates.clock.seconds()
        return True


@implementer(IHalfCloseableProtocol)
class HalfCloseableGate(Gate):
    """One connection of a service whose protocol knows half-closed connections."""

    def readConnectionLost(self) -> None:
        """The peer has closed its side, as ``nc -N`` does after its question."""
        if isinstance(self.traffic_source, TCPTraffic):
            self.traffic_source.ended = True
        for layer in self._layers:
            layer.read_closed()
        self.inner.readConnectionLost()

    def writeConnectionLost(self) -> None:
        self.inner.writeConnectionLost()


class Gates:
    """The connections of one service, whichever of its addresses they came in by.

    Arguments:
        admission: decides who is taken, and counts.
        metrics: the service's counters.
        clock: the reactor.
        log: the service's logger.
        started: fires when the service has started; connections wait for it.
        turns: the service's share of the reactor's time.
        tracker: makes the records of the connections, and opens their taps.
        handshake_timeout: seconds for the TLS handshake, and for a PROXY header.
    """

    def __init__(
        self,
        *,
        admission: Admission,
        metrics: Metrics,
        clock: Any,
        log: Logger,
        started: Deferred[None],
        turns: Share,
        tracker: Tracker,
        handshake_timeout: float = 10.0,
    ) -> None:
        self.metrics = metrics
        self.clock = clock
        self.log = log
        self.open: set[Gate] = set()
        self.waiting = Waiting(self)
        self.started = started
        self.turns = turns
        self.tracker = tracker
        self.handshake_timeout = handshake_timeout
        self.empty: Deferred[None] | None = None
        """Set by who waits for the last connection to go."""
        self.admission = admission
        self._local_addresses: dict[Any, Any] = {}
        self._refusals: defaultdict[str, LogLimit] = defaultdict(partial(LogLimit, 1.0))

    def local_address(self, transport: Any) -> Any:
        """Our address of a connection.

        All connections of a port have the same one, unless the port listens on all addresses; it
        is not asked of the system for each.
        """
        port = getattr(transport, "server", None)
        try:
            known = self._local_addresses[port]
        except KeyError:
            known = local_address(port)
            if getattr(known, "host", None) in _ALL_ADDRESSES:
                known = None
            self._local_addresses[port] = known
        return local_address(transport) if known is None else known

    def refused(self, peer: str, why: str) -> None:
        """Count a connection that is not taken, and log it, but not oftener than is readable.

        To connect costs a client less than the line would.
        """
        self.metrics.connections_refused[why] += 1
        if count := self._refusals[why].count(self.clock.seconds()):
            self.log.info(
                "refused {peer}: {reason}{more}", peer=peer, reason=why, more=times(count)
            )

    def does_not_read(self, gate: Gate) -> None:
        """Abort a connection whose peer takes nothing of the last that is sent to it."""
        if not gate.closing:  # the idle sweep has told already
            self.metrics.errors["not_reading"] += 1
            self.log.info(
                "closed {peer}: it does not read what is left for it",
                peer=gate.peer,
                connection_id=gate.connection.id,
            )
        gate.transport.abortConnection()

    def opened(self, gate: Gate) -> None:
        """A connection was made; called by its gate."""
        self.open.add(gate)
        self.metrics.connections_open += 1
        self.metrics.connections_total += 1

    def closed(self, gate: Gate) -> None:
        """A connection is gone; called by its gate."""
        self.admission.release(gate.peer)
        self.open.discard(gate)
        self.metrics.connections_open -= 1
        if self.empty is not None and not self.open:
            empty, self.empty = self.empty, None
            empty.callback(None)
