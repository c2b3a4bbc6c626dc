"""Timeouts of many connections, with one timer.

A timer for each message would cost more than the message. Instead, a connection records when it
last received or sent something, and one periodic call asks every connection whether it is overdue.
The clock is read once a tick and not by the connections, so a timeout fires at most two ticks late
and never early.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Protocol

BATCH: Final = 500
"""Connections that are looked at in one turn of the reactor."""

_SHORTEST, _LONGEST = 0.02, 1.0


class Watched(Protocol):
    """What may wait for too long."""

    def is_overdue(self, now: float) -> bool:
        """Whether it has, on the clock of the reactor."""

    def give_up(self) -> None:
        """It has; if it is overdue still, this is called again at the next tick."""


class Deadlines:
    """Watches.

    Arguments:
        clock: the reactor.
        timeouts: the seconds that will be used; the tick is a quarter of the shortest.
    """

    def __init__(self, clock: Any, timeouts: Iterable[float]) -> None:
        self._clock = clock
        self.tick = min(max(min(timeouts) / 4, _SHORTEST), _LONGEST)
        "Seconds from one look to the next."
        self._watched: set[Watched] = set()
        self._call: Any = None
        self.now = clock.seconds() + self.tick
        "What is noted as the present time: as of the last tick, and a tick more."

    def watch(self, thing: Watched) -> None:
        """Begin to watch it."""
        self._watched.add(thing)
        if self._call is None:
            self._schedule()

    def forget(self, thing: Watched) -> None:
        """Watch it no more."""
        self._watched.discard(thing)

    def _schedule(self) -> None:
        self.now = self._clock.seconds() + self.tick
        self._call = self._clock.callLater(self.tick, self._look) if self._watched else None

    def _look(self) -> None:
        self._schedule()
        self._look_at(list(self._watched), self.now - self.tick)

    def _look_at(self, things: list[Watched], now: float) -> None:
        for thing in things[:BATCH]:
            if thing.is_overdue(now) and thing in self._watched:
                thing.give_up()
        if len(things) > BATCH:
            self._clock.callLater(0, self._look_at, things[BATCH:], now)
