"""The open connections of one service: the idle sweep, and the drain at the end.

One sweep goes over all connections from time to time, instead of a timer that each message
would have to move.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater

from netserve.server.gate import Gate, Gates

QUIET = 0.5
"""Seconds without traffic after which a draining connection is taken to be idle."""
BATCH = 500
"""Connections that are looked at in one turn of the reactor."""


class Connections:
    """Sweeps and drains the connections of one service.

    Arguments:
        gates: where they are counted.
        idle_timeout: seconds without traffic after which a connection is closed.
        clock: the reactor.
    """

    def __init__(self, gates: Gates, *, idle_timeout: float, clock: Any) -> None:
        self._gates = gates
        self._idle_timeout = idle_timeout
        self._clock = clock
        self._sweeping = LoopingCall(self._sweep)
        self._sweeping.clock = clock

    def start(self) -> None:
        """Begin to sweep: four times in an idle timeout, but not oftener than that is worth."""
        interval = min(max(self._idle_timeout / 4, 0.25), 15.0)
        self._sweeping.start(interval, now=False)

    def stop(self) -> None:
        """End sweeping."""
        if self._sweeping.running:
            self._sweeping.stop()

    def read_traffic(self) -> None:
        """Bring the service's byte counters up to date."""
        for gate in self._gates.open:
            gate.traffic()

    async def _sweep(self) -> None:
        gates = list(self._gates.open)
        for start in range(0, len(gates), BATCH):
            if start:
                await deferLater(self._clock, 0)
            now = self._clock.seconds()
            for gate in gates[start : start + BATCH]:
                if not gate.traffic() and now - gate.seen_at >= self._idle_timeout:
                    self._close_idle(gate)

    def _close_idle(self, gate: Gate) -> None:
        if gate not in self._gates.open:
            return
        # A peer that does not take what was written would hold up an orderly close for ever,
        # so that the second sweep that finds the connection idle aborts it.
        if gate.closing:
            gate.transport.abortConnection()
            return
        gate.closing = True
        self._gates.metrics.errors["idle_timeout"] += 1
        self._gates.log.debug(
            "closed {peer}: idle", peer=gate.peer, connection_id=gate.connection.id
        )
        gate.end_idle()

    async def drain(self, seconds: float) -> None:
        """Let the connections finish, and close what is left.

        A protocol with a method ``drain`` is told, and closes when it is done. Without one, a
        connection is closed as soon as nothing moves on it.

        Arguments:
            seconds: at most for all of it.
        """
        self.stop()
        gates = self._gates
        deadline = self._clock.seconds() + seconds
        untold: set[Gate] = set()
        for gate in list(gates.open):
            gate.traffic()
            if not gate.drain():
                untold.add(gate)
        while gates.open and (left := deadline - self._clock.seconds()) > 0:
            await self._wait_until_empty(min(QUIET, left))
            for gate in [gate for gate in untold & gates.open if not gate.traffic()]:
                untold.discard(gate)
                gate.close_quietly()
        self.cut()
        if gates.open:
            await self._wait_until_empty(QUIET)

    def cut(self) -> None:
        """Close what is open at once."""
        for gate in list(self._gates.open):
            gate.transport.abortConnection()

    def _wait_until_empty(self, seconds: float) -> Deferred[None]:
        empty: Deferred[None] = Deferred()
        self._gates.empty = empty

        def timed_out(result: Any, timeout: float) -> None:
            self._gates.empty = None

        return empty.addTimeout(seconds, self._clock, onTimeoutCancel=timed_out)
