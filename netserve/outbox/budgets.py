"""What a destination may be given by the whole process: concurrent deliveries, and quotas. Pure.

A lane is of one service and one destination. Lanes of several services may go to the same server
with the same login: to the server that is one account, whose limits count for all of them. They
share a budget, take turns at it, and the strictest limit of them holds.

What was used of quotas is kept beyond the life of a lane. By MX there are as many destinations as
there are domains; those that do not come again are forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from netserve.outbox.model import Destination
from netserve.outbox.quota import Slice, Usage

if TYPE_CHECKING:
    from netserve.outbox.lanes import Lane

MOST: Final = 1000
"""Budgets with quotas, beyond which those are forgotten of which nothing is used."""


@dataclass(slots=True, eq=False)
class Budget:
    """What one account may be given.

    Arguments:
        account: its name.
        limit: deliveries at one time, in all lanes.
    """

    account: str
    limit: int
    running: int = 0
    usage: Usage | None = None
    """What was used of its quotas, where it has some."""
    waiting: dict[Lane, None] = field(default_factory=dict)
    """Lanes that could begin a delivery if there were room, in the order of their turns."""
    lanes: int = 0
    """Lanes that there are."""

    @property
    def is_shared(self) -> bool:
        """Whether a lane has to ask it: there are others, or quotas. Its own limit is the same."""
        return self.lanes > 1 or self.usage is not None

    def grants(self, lane: Lane, now: float) -> bool:
        """Whether a lane may begin its next delivery now; else it waits for its turn.

        Arguments:
            lane: it could begin by itself.
            now: unix seconds.
        """
        others_first = self.waiting and next(iter(self.waiting)) is not lane
        if others_first or self.running >= self.limit or self.free_at(lane, now) > now:
            self.waiting.setdefault(lane)
            return False
        return True

    def free_at(self, lane: Lane, now: float) -> float:
        """The unix seconds from which on the quotas let a lane's next delivery begin."""
        if self.usage is None or not lane.waiting:
            return now
        return self.usage.free_at(now, len(lane.waiting[0].recipients))

    def take(self, lane: Lane, now: float, recipients: int) -> None:
        """A lane begins a delivery, and goes to the end of the line."""
        self.waiting.pop(lane, None)
        self.running += 1
        if self.usage is not None:
            self.usage.add(now, recipients)

    def give_back(self, now: float, unused: int) -> None:
        """A delivery has ended.

        Arguments:
            now: unix seconds.
            unused: recipients that nobody there has counted.
        """
        self.running -= 1
        if unused and self.usage is not None:
            self.usage.add(now, -unused)

    def leave(self, lane: Lane) -> None:
        """A lane does not wait: it has nothing, or may not begin for reasons of its own."""
        self.waiting.pop(lane, None)

    def next_lane(self, now: float) -> Lane | None:
        """The lane whose turn it is, where it can begin a delivery now (in unix seconds)."""
        while self.waiting:
            lane = next(iter(self.waiting))
            if lane.waiting and lane.may_start(now):
                free = self.running < self.limit and self.free_at(lane, now) <= now
                return lane if free else None
            del self.waiting[lane]
        return None


class Budgets:
    """The budgets of all accounts.

    Arguments:
        forget: is called with the unix seconds, to forget what is stored of quotas as well.
    """

    def __init__(self, forget: Callable[[float], None]) -> None:
        self._forget = forget
        self._known: dict[str, Budget] = {}
        self._most = MOST
        self._earlier: dict[str, Sequence[Slice]] = {}  # until it is asked for

    def __len__(self) -> int:
        return len(self._known)

    def begin(self, earlier: Mapping[str, Sequence[Slice]]) -> None:
        """Take over what earlier processes have used, by account."""
        self._earlier = dict(earlier)

    def of(self, destination: Destination, now: float) -> Budget | None:
        """The budget of a destination, as the destination has it now; None where it needs none.

        Arguments:
            destination: as its courier gives it.
            now: unix seconds.
        """
        account = destination.account
        if not account:
            if not destination.quotas:
                return None
            account = destination.key
        budget = self._known.get(account)
        if budget is None:
            budget = self._known[account] = Budget(account, destination.concurrency)
            if len(self._known) > self._most:
                self._sweep(now)
        budget.limit = max(destination.concurrency, 1)
        quotas = destination.quotas
        if (budget.usage.quotas if budget.usage is not None else ()) != quotas:
            stored = (
                budget.usage.slices() if budget.usage is not None else self._stored(destination)
            )
            budget.usage = Usage(quotas, stored) if quotas else None
        return budget

    def lane_ended(self, budget: Budget, now: float) -> None:
        """A lane is gone; what was used is kept for as long as it counts."""
        budget.lanes -= 1
        self.drop_unused(budget, now)

    def _stored(self, destination: Destination) -> list[Slice]:
        """What earlier processes have used; those before version 3 had it by the key."""
        names = dict.fromkeys((destination.account, destination.key))
        return [one for name in names for one in self._earlier.pop(name, ())]

    def drop_unused(self, budget: Budget, now: float) -> None:
        """Forget a budget of which there is nothing to remember."""
        unused = budget.usage is None or budget.usage.is_unused(now)
        if unused and not budget.lanes and not budget.running:
            self._known.pop(budget.account, None)

    def _sweep(self, now: float) -> None:
        for budget in list(self._known.values()):
            if not budget.lanes:
                self.drop_unused(budget, now)
        self._most = max(2 * len(self._known), MOST)
        self._forget(now)


class Turns:
    """Pumps lanes, one after the other, for as long as one has its turn at a budget.

    What a lane does may give another one its turn, so that is done in a loop, not in a call.

    Arguments:
        pump: starts what a lane may start.
        now: unix seconds.
    """

    def __init__(self, pump: Callable[[Lane], None], now: Callable[[], float]) -> None:
        self._pump = pump
        self._now = now
        self._lanes: dict[Lane, None] = {}
        self._looping = False

    def pump(self, lane: Lane) -> None:
        """Pump a lane, and then those that have their turn."""
        self._pump(lane)
        if self._looping:
            return
        self._looping = True
        try:
            while self._lanes:
                other = next(iter(self._lanes))
                del self._lanes[other]
                self._pump(other)
        finally:
            self._looping = False

    def give(self, budget: Budget) -> None:
        """Give the turn to the lane that has waited longest for a budget, if there is room."""
        lane = budget.next_lane(self._now())
        if lane is not None and not lane.pumping:  # else it goes on by itself
            self._lanes[lane] = None
