"""A cache that is bounded in number, and in which each entry has its own time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class TimedCache(Generic[K, V]):
    """Keeps values for their time; when it is full, the one goes that was asked for longest ago.

    Arguments:
        limit: the most entries.
        now: the clock, in seconds.
    """

    def __init__(self, limit: int, now: Callable[[], float]) -> None:
        self._limit = limit
        self._now = now
        self._entries: dict[K, tuple[float, V]] = {}  # in the order in which they were asked for

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """What is known, or None."""
        entry = self._entries.pop(key, None)
        if entry is None or entry[0] <= self._now():
            return None
        self._entries[key] = entry
        return entry[1]

    def put(self, key: K, value: V, seconds: float) -> None:
        """Keep a value for so long."""
        self._entries.pop(key, None)
        if seconds <= 0:
            return
        while len(self._entries) >= self._limit:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = (self._now() + seconds, value)
