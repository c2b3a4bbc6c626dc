"""Taps on datagrams: one for each peer of a socket, since a socket of datagrams has no connections.

What is exchanged with one peer counts as a connection, with a record and an id of its own. It ends
after a minute of silence, or when more peers are there than are kept: the one that was silent for
longest goes first. Without a tap nothing of this is in use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from netserve.connection import Connection, Tracker
from netserve.connection.tap import GuardedTap

SILENCE: Final = 60.0
"""Seconds without a datagram after which the exchange with a peer is over."""
MOST: Final = 1000
"""Peers of one socket whose exchanges are kept."""


@dataclass(slots=True)
class Flow:
    """What is exchanged with one peer.

    Arguments:
        connection: its record.
        tap: its tap; None where the peer is left alone.
        last: when the last datagram passed, by the reactor's clock.
    """

    connection: Connection
    tap: GuardedTap | None
    last: float


class DatagramTaps:
    """The taps of one socket.

    Arguments:
        tracker: of the service.
        local: the socket's address.
        clock: the reactor.
    """

    def __init__(self, tracker: Tracker, local: Any, clock: Any) -> None:
        self.flows: dict[Any, Flow] = {}
        """By the peer's address; the one that was silent for longest comes first."""
        self._tracker = tracker
        self._local = local
        self._clock = clock
        self._timer: Any = None

    def of(self, address: Any) -> Flow | None:
        """What is exchanged with a peer; None where it began while the service was not tapped.

        Arguments:
            address: of the peer, as Twisted has it for a datagram; None without one.
        """
        now = self._clock.seconds()
        flow = self.flows.pop(address, None)
        if flow is None:
            flow = self._begin(address, now)
            if flow is None:
                return None
        flow.last = now
        self.flows[address] = flow
        return flow

    def _begin(self, address: Any, now: float) -> Flow | None:
        tracker = self._tracker
        if tracker.service not in tracker.taps.switched_on:
            return None
        if len(self.flows) >= MOST:
            self._end(next(iter(self.flows)))
        connection = tracker.record(self._local, _peer(address), tls=False)
        if self._timer is None:
            self._timer = self._clock.callLater(SILENCE, self._expire)
        return Flow(connection, tracker.open_tap(connection), now)

    def _expire(self) -> None:
        self._timer = None
        oldest = self._clock.seconds() - SILENCE
        for address in [at for at, flow in self.flows.items() if flow.last <= oldest]:
            self._end(address)
        if self.flows:
            first = next(iter(self.flows.values()))
            self._timer = self._clock.callLater(max(first.last - oldest, 1.0), self._expire)

    def _end(self, address: Any) -> None:
        tap = self.flows.pop(address).tap
        if tap is not None:
            tap.ended(Failure(ConnectionDone()))

    def close(self) -> None:
        """The socket is closed, or serves another generation."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for address in list(self.flows):
            self._end(address)


def _peer(address: Any) -> Any:
    """One of Twisted's addresses for what comes with a datagram."""
    if isinstance(address, tuple):
        host, port = address[:2]
        return (IPv6Address if ":" in host else IPv4Address)("UDP", host, port)
    return UNIXAddress(address)
