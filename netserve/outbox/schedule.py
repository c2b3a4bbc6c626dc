"""When the recipients of a message are retried, and when that ends. Pure.

The wait doubles from `first` to `longest`; jitter keeps messages that failed together from
coming back together. The attempts that the notice and the end of life hang on are made at these
very moments, so that neither comes hours late.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

HOUR = 3600.0
DAY = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Again:
    """What follows a deferral.

    Arguments:
        next_at: unix seconds of the next attempt; None when the life is over.
        notice: a delay notice is due now.
    """

    next_at: float | None
    notice: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How often and how long a message is tried; all times in seconds.

    Arguments:
        first: the wait after the first attempt.
        longest: no wait is longer.
        life: after so long a message is given up.
        delay_notice: after so long the sender is told once that it waits; 0 for never.
        jitter: each wait is spread by this part of it, both ways; below 1.
    """

    first: float = 300.0
    longest: float = 4 * HOUR
    life: float = 5 * DAY
    delay_notice: float = 4 * HOUR
    jitter: float = 0.1

    def __post_init__(self) -> None:
        if not (0 < self.first <= self.longest and 0 <= self.jitter < 1 and self.life >= 0):
            raise ValueError("a schedule needs 0 < first <= longest, 0 <= jitter < 1, life >= 0")

    def next_attempt(self, attempts: int, random: Random) -> float:
        """Seconds to wait after so many attempts (from 1 up)."""
        doubled = self.first * 2.0 ** min(attempts - 1, 60)
        wait = min(doubled, self.longest)
        return min(wait * (1 + self.jitter * (2 * random.random() - 1)), self.longest)

    def is_overdue(self, *, created: float, now: float, warned: bool) -> bool:
        """Whether the sender of a message that is not tried now is to be told something.

        Arguments:
            created: when the message was taken in, unix seconds.
            now: unix seconds.
            warned: the delay notice was sent already.
        """
        if now >= created + self.life:
            return True
        return 0 < self.delay_notice <= now - created and not warned

    def after_deferral(
        self, *, created: float, now: float, attempts: int, warned: bool, random: Random
    ) -> Again:
        """What follows a deferral.

        Arguments:
            created: when the message was taken in, unix seconds.
            now: unix seconds.
            attempts: how many there were, this one counted.
            warned: the delay notice was sent already.
            random: the source of the jitter.
        """
        end = created + self.life
        if now >= end:
            return Again(None)
        notice_at = created + self.delay_notice
        wants_notice = self.delay_notice > 0 and not warned
        notice = wants_notice and now >= notice_at
        next_at = min(now + self.next_attempt(attempts, random), end)
        if wants_notice and not notice:
            next_at = min(next_at, notice_at)
        return Again(next_at, notice)
