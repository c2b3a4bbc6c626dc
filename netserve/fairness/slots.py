"""Places for work that is under way, such as requests to an upstream: one that is free goes to the
addresses that wait in turn, and none of them can have all (`netserve.fairness.shares`).
"""

from __future__ import annotations

from collections.abc import Callable

from netserve.fairness.rotation import Rotation
from netserve.fairness.shares import Shares


class Slots:
    """The slots of one service.

    Arguments:
        total: how many there are.
        per_address: the most of one address; without it, no more than it leaves free.
    """

    __slots__ = ("_shares", "_waiting")

    def __init__(self, total: int, per_address: int | None = None) -> None:
        self._shares = Shares(total, per_address)
        self._waiting: Rotation[str, Callable[[], None]] = Rotation()

    @property
    def used(self) -> int:
        """How many are taken."""
        return self._shares.used

    @property
    def waiting(self) -> int:
        """How many are waited for."""
        return len(self._waiting)

    def take(self, address: str) -> bool:
        """Take one, to be given back by `give`; False where `wait` is needed."""
        return self._shares.take(address)

    def wait(self, address: str, granted: Callable[[], None]) -> None:
        """Wait for one.

        Arguments:
            address: who waits.
            granted: is called once a slot is the caller's; not to be used twice at one time.
        """
        self._waiting.put(address, granted)

    def leave(self, address: str, granted: Callable[[], None]) -> bool:
        """Wait no longer; says whether it still waited."""
        return self._waiting.discard(address, granted)

    def give(self, address: str) -> None:
        """Give one back, to who is next."""
        self._shares.give(address)
        while self._waiting:
            found = self._waiting.pop_where(self._shares.permits)
            if found is None:
                return
            key, granted = found
            self._shares.add(key, 1)
            granted()
