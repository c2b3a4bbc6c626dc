"""One retry time for each message and destination (RFC 5321, section 4.5.4.1). Pure.

Recipients that were deferred together get one time, and stay in one transaction. A message with
more recipients than one transaction may have is tried in several deliveries, which do not end at
the same moment; the later ones join the time of the first, so that the next attempt finds all of
its recipients due at once.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

MOST: Final = 10_000
"""Messages and destinations that are remembered; the oldest is forgotten first."""
STRETCH: Final = 2.0
"""A recipient that joins others waits for at least its own wait divided by this, and at most its
own wait times this."""


class RetryTimes:
    """Remembers the last retry time of a message at a destination."""

    def __init__(self) -> None:
        self._times: OrderedDict[tuple[int, str], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._times)

    def join(self, message: int, lane: str, *, now: float, wanted: float) -> float:
        """The time to retry at: `wanted`, or the time of other recipients of the message.

        Arguments:
            message: its number.
            lane: the name of the destination's lane.
            now: unix seconds.
            wanted: unix seconds of the next attempt by the schedule.
        """
        key, wait = (message, lane), wanted - now
        known = self._times.get(key)
        if known is not None and now + wait / STRETCH <= known <= now + wait * STRETCH:
            return known
        self._times[key] = wanted
        self._times.move_to_end(key)
        if len(self._times) > MOST:
            self._times.popitem(last=False)
        return wanted
