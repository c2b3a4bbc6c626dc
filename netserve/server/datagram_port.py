"""Sockets of datagrams that are read in turns.

Twisted reads a socket until it has had 256 KiB, which may be any number of small datagrams, and it
never stops where they are empty and come fast enough. Here a socket is read for a slice of time.
"""

from __future__ import annotations

from math import inf
from typing import Any, TypeVar

from twisted.internet import udp, unix

from netserve.fairness.turns import Share, Turn

P = TypeVar("P", bound="ReadInTurns")


class ReadInTurns:
    """The part of a port that reads, before one of Twisted's own ports."""

    _turn: Turn
    _closed = False

    def read_in_turns(self, turns: Share) -> None:
        """Read when it is this socket's turn.

        Arguments:
            turns: the service's share of the reactor's time.
        """
        self._turn = turns.turn("", self._read)

    @property
    def maxThroughput(self) -> float:
        """Twisted asks before each datagram how many bytes it may read in all."""
        return -1 if self._closed or self._turn.is_over() else inf

    @maxThroughput.setter
    def maxThroughput(self, _: float) -> None:
        """Twisted allows none any more when the socket is closed."""
        self._closed = True

    def doRead(self: Any) -> None:
        """Datagrams have come."""
        self._turn.ask()
        if self._turn.waits:
            self.stopReading()

    def _read(self: Any) -> None:
        super().doRead()  # type: ignore[misc]  # Twisted's
        if self.connected:
            self.startReading()

    def connectionLost(self: Any, reason: Any = None) -> None:
        """The socket is closed."""
        self._turn.drop()
        super().connectionLost(reason)  # type: ignore[misc]  # Twisted's


class UDPPort(ReadInTurns, udp.Port):  # type: ignore[misc]  # a property in place of a number
    """A UDP socket."""


class UNIXDatagramPort(ReadInTurns, unix.DatagramPort):  # type: ignore[misc]  # the same
    """A UNIX socket of datagrams."""


def begin(port: P, turns: Share) -> P:
    """Open the socket of a port, and read it in turns."""
    port.read_in_turns(turns)
    port.startListening()  # type: ignore[attr-defined]  # Twisted's
    return port
