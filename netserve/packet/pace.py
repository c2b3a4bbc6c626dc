"""Keeps a rate: computes when the next packet may be sent. Pure; the caller passes the time."""

from __future__ import annotations

from typing import Final

_BURST: Final = 0.02
"""Seconds by which packets may be early, since timers are late."""


class Pace:
    """The virtual scheduling form of the generic cell rate algorithm (ITU-T I.371, annex A).

    Arguments:
        interval: seconds from one packet to the next.
        burst: seconds by which packets may be early, so that late timers do not lower the rate.
    """

    def __init__(self, interval: float, burst: float = _BURST) -> None:
        self.interval = interval
        self._burst = burst
        self._due = 0.0  # the time at which the next packet is exactly on time

    def wait(self, now: float) -> float:
        """Seconds until the next packet may be sent; 0.0 if it may be sent now."""
        return max(0.0, self._due - self._burst - now)

    def take(self, now: float, count: int = 1) -> None:
        """Packets were sent."""
        self._due = max(self._due, now) + self.interval * count
