"""Deadlines of many connections, watched by one timer.

A timer for each message would cost more than the message. So a connection only notes when its time
is over, and one call goes over all of them from tick to tick. The time is read at each tick, and
not by the connections: a deadline passes up to two ticks late, and never early.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final, Protocol

NEVER: Final = math.inf
BATCH: Final = 500
"""Connections that are looked at in one turn of the reactor."""

_SHORTEST, _LONGEST = 0.02, 1.0


class Watched(Protocol):
    """What has a deadline."""

    deadline: float
    "On the clock of `Deadlines`; `NEVER` where there is none."

    def deadline_passed(self) -> None:
        """It is over; a deadline that is left as it is passes again at the next tick."""


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
        "The time as of the last tick, and a tick more, so that nothing passes early."

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
            if thing.deadline <= now and thing in self._watched:
                thing.deadline_passed()
        if len(things) > BATCH:
            self._clock.callLater(0, self._look_at, things[BATCH:], now)
