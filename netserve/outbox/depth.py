"""How much is in the queue, for metrics: counted in the background, at hand at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred

_COUNT: Final = """
SELECT (SELECT count(*) FROM recipient INDEXED BY recipient_due WHERE state = 0),
    (SELECT count(*) FROM recipient INDEXED BY recipient_held WHERE state = 1)
"""
_UNREPORTED: Final = """
SELECT count(*) FROM recipient INDEXED BY recipient_held JOIN attempt
    ON attempt.message = recipient.message AND attempt.n = recipient.n
    AND attempt.number = recipient.attempts
WHERE recipient.state = 1 AND attempt.outcome IN ('failed', 'expired')
"""
_LEAST: Final = 1.0
_PART: Final = 50.0
"""Counting takes at most one part in so many of the time."""


class Depth:
    """The number of recipients that are queued and held, and of those among the held ones that have
    failed, which is so only if no report to the sender could be made.

    Counting a long queue takes some milliseconds, so it is done by the reading thread, only when
    something has changed, and the less often the longer it takes.

    Arguments:
        reactor: the clock.
        read: runs a function with the reading connection.
    """

    def __init__(
        self,
        reactor: Any,
        read: Callable[[Callable[[sqlite3.Connection], Any]], Deferred[Any]],
    ) -> None:
        self.queued = 0
        self.held = 0
        self.unreported = 0
        self._reactor = reactor
        self._read = read
        self._timer: Any = None
        self._counting = False
        self._outdated = False
        self._stopped = False
        self._wait = _LEAST

    def changed(self) -> None:
        """Count soon."""
        if self._counting:
            self._outdated = True  # it may have been counted before
        elif self._timer is None and not self._stopped:
            self._timer = self._reactor.callLater(self._wait, self.count)

    def count(self) -> Deferred[None]:
        """Count now."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        self._counting, self._outdated = True, False
        began = self._reactor.seconds()

        def counted(row: tuple[int, int]) -> Deferred[None] | None:
            self.queued, self.held = row
            if self.held:
                return self._read(_count_unreported).addCallback(look)
            self.unreported = 0
            return None

        def look(count: int) -> None:
            self.unreported = count

        def ended(result: Any) -> Any:
            self._counting = False
            self._wait = max(_LEAST, (self._reactor.seconds() - began) * _PART)
            if self._outdated:
                self.changed()
            return result

        counting = self._read(lambda connection: connection.execute(_COUNT).fetchone())
        return counting.addCallback(counted).addBoth(ended)

    def stop(self) -> None:
        """Count no more."""
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None


def _count_unreported(connection: sqlite3.Connection) -> int:
    (count,) = connection.execute(_UNREPORTED).fetchone()
    return int(count)
