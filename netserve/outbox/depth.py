"""How much is in the queue, for metrics: counted in the background, at hand at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred

from netserve.outbox import records

_LEAST: Final = 1.0
_PART: Final = 50.0
"""Counting takes at most one part in so many of the time."""


class Depth:
    """The number of recipients that are queued and held, and of those among the held ones that have
    failed, which is so only if no report to the sender could be made.

    Counting a long queue takes some milliseconds, so it is done in the background, only when
    something has changed, and the less often the longer it takes.

    Arguments:
        reactor: the clock.
        read: counts what is stored; see `Storage.depth`.
    """

    def __init__(
        self,
        reactor: Any,
        read: Callable[[], Deferred[records.Depth]],
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

        def counted(found: records.Depth) -> None:
            self.queued, self.held, self.unreported = found

        def ended(result: Any) -> Any:
            self._counting = False
            self._wait = max(_LEAST, (self._reactor.seconds() - began) * _PART)
            if self._outdated:
                self.changed()
            return result

        return self._read().addCallback(counted).addBoth(ended)

    def stop(self) -> None:
        """Count no more."""
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
