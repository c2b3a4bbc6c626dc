"""A rate that is kept: when the next packet may go. Pure; the caller gives the time."""

from __future__ import annotations

from typing import Final

_BURST: Final = 0.02
"""Seconds of the rate that may be caught up with: timers are late."""


class Pace:
    """The virtual scheduling form of the generic cell rate algorithm (ITU-T I.371, annex A).

    Arguments:
        interval: seconds from one packet to the next.
        burst: seconds that packets may come early, so that late timers cost no rate.
    """

    def __init__(self, interval: float, burst: float = _BURST) -> None:
        self.interval = interval
        self._burst = burst
        self._due = 0.0  # the time at which the next packet is exactly on time

    def wait(self, now: float) -> float:
        """Seconds until the next packet may go; 0.0 when it may go now."""
        return max(0.0, self._due - self._burst - now)

    def take(self, now: float, count: int = 1) -> None:
        """Packets went."""
        self._due = max(self._due, now) + self.interval * count
