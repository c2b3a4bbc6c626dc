"""TLS handshakes in turns: one takes a millisecond or more of the reactor's time, and costs its
client next to nothing.
"""

from __future__ import annotations

from typing import Any

from netserve.fairness.turns import Share


class PacedHandshake:
    """Has a TLS protocol do its handshake when it is this connection's turn.

    It stands in for the protocol's `dataReceived` until the handshake is over.

    Arguments:
        tls: a `netserve.reactor.tls.TLSProtocol` that has received nothing yet.
        turns: the service's share of the reactor's time.
        address: the peer's, as `netserve.wire.peer.counting_key` has it.
    """

    __slots__ = ("_paused", "_receive", "_tls", "_turn", "_waiting")

    def __init__(self, tls: Any, turns: Share, address: str) -> None:
        self._tls = tls
        self._receive = tls.dataReceived
        self._turn = turns.turn(address, self._work, tls.abortConnection)
        self._waiting: list[bytes] = []
        self._paused = False
        tls.dataReceived = self.receive

    def receive(self, data: bytes) -> None:
        """A part of the handshake has come, and maybe of what follows it."""
        self._waiting.append(data)
        self._turn.ask()
        if self._turn.waits and not self._paused:
            self._paused = True
            self._tls.transport.pauseProducing()

    def _work(self) -> None:
        tls, data = self._tls, b"".join(self._waiting)
        self._waiting.clear()
        if not tls.connected:
            return  # it has gone while it waited
        if self._paused:
            self._paused = False
            tls.transport.resumeProducing()
        self._receive(data)
        if tls.handshake_done:
            self._turn.drop()
            del tls.dataReceived
