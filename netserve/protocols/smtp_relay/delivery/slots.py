"""How many connections several pools may have together. Pure bookkeeping."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol


class Sharer(Protocol):
    """A pool that shares slots with others."""

    def slot_is_free(self) -> None:
        """There is room again; called once for each time that there was none."""

    def let_go(self) -> None:
        """Close one connection that is idle: others need its slot."""


class Slots:
    """A number of connections, shared.

    Where there is none left, the pool whose connection has been idle for longest is asked to
    close it, or the next one whose connection has no job; and the one that asked is told when
    there is room.

    Arguments:
        limit: the most at one time.
    """

    def __init__(self, limit: int) -> None:
        self.used = 0
        "Connections that there are."
        self.limit = limit
        "The most at one time; it may be changed."
        # Dictionaries for their order: who has been there longest comes first.
        self._waiting: dict[Sharer, None] = {}
        self._idle: dict[Sharer, None] = {}

    @property
    def unused(self) -> bool:
        """Whether no pool has or wants anything here."""
        return not (self.used or self._waiting or self._idle)

    def take(self, pool: Sharer) -> bool:
        """Whether one more connection may be made; it is counted."""
        if self.used < self.limit:
            self.used += 1
            self._waiting.pop(pool, None)
            return True
        if pool not in self._waiting:
            self._waiting[pool] = None
            other = next((each for each in self._idle if each is not pool), None)
            if other is not None:
                other.let_go()
        return False

    def give_back(self) -> None:
        """A connection is gone."""
        self.used -= 1
        while self._waiting and self.used < self.limit:
            pool = next(iter(self._waiting))
            del self._waiting[pool]
            pool.slot_is_free()

    def idle(self, pool: Sharer) -> None:
        """It has connections without a job, as of now, and wants no more."""
        self._waiting.pop(pool, None)
        self._idle.pop(pool, None)
        self._idle[pool] = None
        if self._waiting:
            pool.let_go()

    def busy(self, pool: Sharer) -> None:
        """It has none any more."""
        self._idle.pop(pool, None)

    def forget(self, pool: Sharer) -> None:
        """It is closed, or has nothing to send."""
        self._waiting.pop(pool, None)
        self._idle.pop(pool, None)


class SeveralSlots:
    """Slots of several kinds, of which each connection takes one: of its domain, and of all.

    Arguments:
        find: gives them; it is called when the first connection is made.
    """

    def __init__(self, find: Callable[[], Sequence[Slots]]) -> None:
        self._find = find
        self._all: Sequence[Slots] = ()

    def take(self, pool: Sharer) -> bool:
        """As `Slots.take`."""
        if not self._all:
            self._all = self._find()
        for at, slots in enumerate(self._all):
            if not slots.take(pool):
                for taken in self._all[:at]:
                    taken.give_back()
                return False
        return True

    def give_back(self) -> None:
        """As `Slots.give_back`."""
        for slots in self._all:
            slots.give_back()

    def idle(self, pool: Sharer) -> None:
        """As `Slots.idle`."""
        for slots in self._all:
            slots.idle(pool)

    def busy(self, pool: Sharer) -> None:
        """As `Slots.busy`."""
        for slots in self._all:
            slots.busy(pool)

    def forget(self, pool: Sharer) -> None:
        """As `Slots.forget`."""
        for slots in self._all:
            slots.forget(pool)
