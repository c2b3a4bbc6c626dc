"""Time for the queue: unix time that never jumps, and waking up at given times."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class Clock:
    """Unix time as of the start, carried on by the reactor's monotonic clock.

    A wall clock that is set while the process runs changes no schedule in it.

    Arguments:
        reactor: the monotonic clock.
        wall: unix seconds; read once.
    """

    def __init__(self, reactor: Any, wall: Callable[[], float]) -> None:
        self._seconds: Callable[[], float] = reactor.seconds
        self._offset: float = wall() - reactor.seconds()

    def now(self) -> float:
        """Unix seconds."""
        return self._seconds() + self._offset

    def unix(self, seconds: float) -> float:
        """Unix seconds of a time by the reactor's clock."""
        return seconds + self._offset


class Wakes:
    """Calls a function for each of many things, at the time that the thing asks for.

    There is one timer of the reactor, for the earliest. Of the times that were asked for the same
    thing the earliest counts.

    Arguments:
        reactor: gives the timer.
        now: unix seconds.
        wake: is called with the thing.
    """

    def __init__(self, reactor: Any, now: Callable[[], float], wake: Callable[[Any], None]) -> None:
        self._reactor = reactor
        self._now = now
        self._wake = wake
        self._times: dict[Any, float] = {}
        self._heap: list[tuple[float, int, Any]] = []
        self._count = 0
        self._timer: Any = None
        self._timer_at = 0.0

    def at(self, thing: Any, when: float) -> None:
        """Wake a thing at a time in unix seconds, or earlier where that was asked for before."""
        if when >= self._times.get(thing, float("inf")):
            return
        self._times[thing] = when
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, thing))
        self._set_timer()

    def stop(self) -> None:
        """Wake nothing any more."""
        self._times.clear()
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        when = self._heap[0][0]
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._reactor.callLater(max(when - self._now(), 0.0), self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = self._now()
        try:
            while self._heap and self._heap[0][0] <= now:
                when, _, thing = heapq.heappop(self._heap)
                if self._times.get(thing) == when:
                    del self._times[thing]
                    self._wake(thing)
        finally:  # an error with one thing does not let the others sleep on
            if self._heap:
                self._set_timer()
