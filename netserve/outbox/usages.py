"""What was used of the quotas of all destinations. Pure.

By MX there are as many destinations as there are domains; those that do not come again are
forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Final

from netserve.outbox.quota import Quota, Slice, Usage

MOST: Final = 1000
"""Destinations with quotas, beyond which those are forgotten that have nothing used."""


class Usages:
    """Knows what was used, beyond the life of a lane.

    Arguments:
        live: the lanes that there are, by name.
        forget: is called with the unix seconds, to forget what is stored as well.
    """

    def __init__(self, live: Container[str], forget: Callable[[float], None]) -> None:
        self._live = live
        self._forget = forget
        self._known: dict[str, Usage] = {}
        self._most = MOST
        self._earlier: dict[str, Sequence[Slice]] = {}  # until it is asked for

    def __len__(self) -> int:
        return len(self._known)

    def begin(self, earlier: Mapping[str, Sequence[Slice]]) -> None:
        """Take over what earlier processes have used, by lane."""
        self._earlier = dict(earlier)

    def of(self, lane: str, quotas: tuple[Quota, ...], now: float) -> Usage | None:
        """What was used of these quotas so far; None where there are none."""
        usage = self._known.get(lane)
        if usage is not None and usage.quotas == quotas:
            return usage
        stored = self._earlier.pop(lane, ()) if usage is None else usage.slices()
        if not quotas:
            self._known.pop(lane, None)
            return None
        usage = self._known[lane] = Usage(quotas, stored)
        if len(self._known) > self._most:
            self._sweep(now)
        return usage

    def lane_ended(self, lane: str, now: float) -> None:
        """A lane is gone; what was used is kept for as long as it counts."""
        usage = self._known.get(lane)
        if usage is not None and usage.is_unused(now):
            del self._known[lane]

    def _sweep(self, now: float) -> None:
        for lane in list(self._known):
            if lane not in self._live:
                self.lane_ended(lane, now)
        self._most = max(2 * len(self._known), MOST)
        self._forget(now)
