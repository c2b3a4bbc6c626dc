"""How much may go to one destination in a time: windows that slide, and survive a restart. Pure.

A window is parted into slices. What was used in a slice counts until the whole slice is older than
the window, so in no stretch of the window's length more is used than allowed; it may be a little
less. Slices are what is stored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, NamedTuple

SLICES: Final = 60
"""Parts of a window."""
KEPT: Final = 1 + 1 / SLICES
"""The lengths of its window after which a slice no longer counts."""
STORED_FROM: Final = 60.0
"""Seconds of the shortest window that is stored: a restart takes about as long as those below."""


@dataclass(frozen=True, slots=True)
class Quota:
    """So many recipients in so many seconds.

    Arguments:
        count: how many, from 1 up.
        seconds: in which time.
    """

    count: int
    seconds: float


class Slice(NamedTuple):
    """What was used in one slice of a window, as it is stored.

    Arguments:
        seconds: the length of the window.
        start: where the slice begins, in unix seconds.
        used: recipients; 0 for a slice that is over.
    """

    seconds: float
    start: float
    used: int


class _Window:
    """What was used under one quota."""

    __slots__ = ("_slices", "changed", "quota", "used", "width")

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self.width = quota.seconds / SLICES
        self.used = 0
        self.changed: dict[float, int] = {}
        self._slices: deque[list[float]] = deque()  # start and count, in order

    def forget(self, now: float) -> None:
        """Let go of what no longer counts."""
        over = now - self.quota.seconds - self.width
        while self._slices and self._slices[0][0] <= over:
            start, count = self._slices.popleft()
            self.used -= int(count)
            self.changed[start] = 0

    def add(self, now: float, count: int) -> None:
        """Count some, or take some back."""
        start = now - now % self.width
        if not self._slices or self._slices[-1][0] < start:
            self._slices.append([start, 0])
        last = self._slices[-1]
        count = max(count, -int(last[1]))
        last[1] += count
        self.used += count
        self.changed[last[0]] = int(last[1])

    def restore(self, start: float, count: int) -> None:
        """Take over a stored slice; they come in order."""
        self._slices.append([start, count])
        self.used += count

    def slices(self) -> Iterator[tuple[float, int]]:
        """What was used, by the begin of its slice."""
        return ((start, int(count)) for start, count in self._slices)

    def free_at(self, count: int) -> float:
        """When there is room for so many, as things are now; for more than the quota, for all."""
        left = self.used
        most = self.quota.count - min(count, self.quota.count)
        at = -inf
        for start, used in self._slices:
            if left <= most:
                break
            left -= int(used)
            at = start + self.quota.seconds + self.width
        return at


class Usage:
    """What was used of a destination's quotas.

    Arguments:
        quotas: all of them hold at the same time.
        stored: slices of an earlier process, in any order; of other windows than these they are
            passed over.
    """

    __slots__ = ("_windows",)

    def __init__(self, quotas: Iterable[Quota], stored: Iterable[Slice] = ()) -> None:
        self._windows = [_Window(quota) for quota in quotas]
        by_seconds = {window.quota.seconds: window for window in self._windows}
        for seconds, start, used in sorted(stored):
            if used and (window := by_seconds.get(seconds)) is not None:
                window.restore(start, used)

    @property
    def quotas(self) -> tuple[Quota, ...]:
        """What may be used."""
        return tuple(window.quota for window in self._windows)

    def free_at(self, now: float, count: int) -> float:
        """The unix seconds from which on so many may go; not later than `now` where they may now.

        Arguments:
            now: unix seconds.
            count: recipients. More than a quota allows at all wait until nothing of it is used.
        """
        for window in self._windows:
            window.forget(now)
        return max(window.free_at(count) for window in self._windows)

    def add(self, now: float, count: int) -> None:
        """Count recipients that go now; with a negative number take back what did not go."""
        for window in self._windows:
            window.add(now, count)

    def is_unused(self, now: float) -> bool:
        """Whether there is nothing to remember."""
        for window in self._windows:
            window.forget(now)
        return not any(window.used for window in self._windows)

    def changes(self) -> Sequence[Slice]:
        """The slices that have changed since this was asked last, of windows that are stored."""
        changed = [
            Slice(window.quota.seconds, start, count)
            for window in self._windows
            for start, count in window.changed.items()
            if window.quota.seconds >= STORED_FROM
        ]
        for window in self._windows:
            window.changed.clear()
        return changed

    def slices(self) -> Iterator[Slice]:
        """All slices, to be taken over by the usage of other quotas."""
        for window in self._windows:
            for start, count in window.slices():
                yield Slice(window.quota.seconds, start, count)
