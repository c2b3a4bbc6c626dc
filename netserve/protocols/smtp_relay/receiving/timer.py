"""A delayed call that may be started and stopped again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Timer:
    """Calls a function some seconds after it was started last.

    Arguments:
        clock: the reactor.
        seconds: from `start` to the call.
        then: is called.
    """

    __slots__ = ("_call", "_clock", "_seconds", "_then")

    def __init__(self, clock: Any, seconds: float, then: Callable[[], object]) -> None:
        self._clock = clock
        self._seconds = seconds
        self._then = then
        self._call: Any = None

    def start(self) -> None:
        """Begin to wait, from now on if it waits already."""
        self.stop()
        self._call = self._clock.callLater(self._seconds, self._over)

    def stop(self) -> bool:
        """Wait no longer; whether it did."""
        call, self._call = self._call, None
        if call is None:
            return False
        call.cancel()
        return True

    def _over(self) -> None:
        self._call = None
        self._then()
