"""Reading in turns, for protocols whose only work is that of the transport, such as echo."""

from __future__ import annotations

from typing import Any, Final

from netserve.fairness.turns import Share, Turn

LARGE: Final = 64 * 1024
"""Bytes of one read after which others are served before the next."""
COST: Final = 0.0002
"""Seconds that one large read and its copies take, about."""


class PacedReading:
    """Pauses and resumes the reading of one transport; an `IPushProducer` for that.

    Arguments:
        transport: what is read from.
        turns: the service's share of the reactor's time.
        address: the peer's, as `netserve.wire.peer.counting_key` has it.
    """

    __slots__ = ("_address", "_share", "_transport", "_turn")

    def __init__(self, transport: Any, turns: Share, address: str) -> None:
        self._transport = transport
        self._share = turns
        self._address = address
        self._turn: Turn | None = None

    def pauseProducing(self) -> None:
        """Read no more for now."""
        self._transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read on, when it is this connection's turn."""
        if self._turn is None:
            work = self._transport.resumeProducing
            self._turn = self._share.turn(self._address, work, cost=COST)
        self._turn.ask()

    def stopProducing(self) -> None:
        """The connection is lost."""
        if self._turn is not None:
            self._turn.drop()
