"""Connections that wait for a peer that does nothing more.

A peer that has closed its side, and reads nothing of what is left for it, would hold its connection
for as long as it likes; so would one that never answers TLS's close_notify. The transports tell the
gate of a connection when it begins to wait for its peer, and when it no longer does
(`netserve.reactor.interfaces.IPeerWatcher`). The connections of a service that wait are looked at
some times a second; there are none of them as a rule (S25).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.main import CONNECTION_DONE
from twisted.python.failure import Failure

from netserve.reactor.flush import peer_has_closed, queued
from netserve.reactor.lingering import LINGER

if TYPE_CHECKING:
    from netserve.server.gate import Gate, Gates

INTERVAL: Final = 0.1
"""Seconds between two looks."""
PATIENCE: Final = 0.75
"""Seconds that a peer may read nothing after it has closed its side; with `INTERVAL` below one."""


@dataclass(slots=True)
class _Wait:
    """What was seen of a connection."""

    unsent: int
    peer_closed: bool
    since: float
    """When both were first seen as they are."""


class Waiting:
    """The connections of one service that wait for their peers.

    Arguments:
        gates: of the service.
    """

    def __init__(self, gates: Gates) -> None:
        self._gates = gates
        self._waits: dict[Gate, _Wait] = {}
        self._call: Any = None

    def add(self, gate: Gate) -> None:
        """A connection begins to wait."""
        if gate not in self._waits:
            self._waits[gate] = _Wait(-1, False, self._gates.clock.seconds())
            if self._call is None:
                self._call = self._gates.clock.callLater(INTERVAL, self._look)

    def discard(self, gate: Gate) -> None:
        """A connection does not wait any more."""
        self._waits.pop(gate, None)

    def _look(self) -> None:
        self._call = None
        for gate, wait in list(self._waits.items()):
            self._look_at(gate, wait)
        if self._waits:
            self._call = self._gates.clock.callLater(INTERVAL, self._look)

    def _look_at(self, gate: Gate, wait: _Wait) -> None:
        now = self._gates.clock.seconds()
        raw = gate.raw
        tls = raw.protocol if raw.protocol is not gate else None
        unsent = raw.unsent() + queued(raw.socket)
        peer_closed = (
            raw.read_closed
            or bool(getattr(tls, "read_closed", False))
            or peer_has_closed(raw.socket)
        )
        if unsent != wait.unsent or peer_closed != wait.peer_closed:
            wait.unsent, wait.peer_closed, wait.since = unsent, peer_closed, now
            return
        ends = peer_closed or gate.closing
        if now - wait.since < (PATIENCE if ends else LINGER):
            return
        if not unsent:
            # The peer has everything, and TLS has said goodbye, which it does not answer.
            if getattr(tls, "disconnecting", False):
                raw.connectionLost(Failure(CONNECTION_DONE))
        elif ends:
            self._gates.does_not_read(gate)
