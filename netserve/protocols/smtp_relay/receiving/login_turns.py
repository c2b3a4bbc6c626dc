"""Which of the logins that wait is verified next: turns between addresses, users and lanes. Pure.

Verifying a password takes long on purpose, so that only a few are verified at a time. An address
has a bounded queue and a part of the places; addresses take turns, and so do the users of one. Who
has logged in before goes first, who has failed goes last, without being passed over for good.

Where many addresses are new at the same time, as when guessers from everywhere begin, the newest
goes first: none of them has to wait for all the others, and those that were guessers have failed.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Generic, TypeVar

J = TypeVar("J")

CROWD: Final = 16
"""New addresses that wait, above which the newest goes first."""

_LAST_FIRST: Final = 4
"""Each such turn begins with the last lane."""


class Lane(IntEnum):
    """How much is known of who wants to log in."""

    KNOWN = 0
    """The user has logged in from this address before."""
    NEW = 1
    FAILED = 2
    """A login from there has failed."""


@dataclass(slots=True, eq=False)
class Waiting(Generic[J]):
    """A login that waits for its turn, has it, or has had it.

    Arguments:
        job: what is to be done.
        address: of whom.
        user: the same.
        lane: see there.
    """

    job: J
    address: str
    user: str
    lane: Lane
    in_queue: bool = False
    """Whether it waits; kept by `LoginTurns`."""


@dataclass(slots=True)
class _Queue(Generic[J]):
    """The logins of one address that wait in one lane, by user in the order of turns."""

    users: OrderedDict[str, deque[Waiting[J]]] = field(default_factory=OrderedDict)
    size: int = 0

    def add(self, waiting: Waiting[J]) -> None:
        self.users.setdefault(waiting.user, deque()).append(waiting)
        self.size += 1
        waiting.in_queue = True

    def take(self) -> Waiting[J]:
        """The next one; the user's further ones have their turn after other users'."""
        user = next(iter(self.users))
        waiting = self.users[user][0]
        self.remove(waiting)
        if user in self.users:
            self.users.move_to_end(user)
        return waiting

    def remove(self, waiting: Waiting[J]) -> None:
        logins = self.users[waiting.user]
        logins.remove(waiting)
        self.size -= 1
        waiting.in_queue = False
        if not logins:
            del self.users[waiting.user]

    def last_of_longest(self) -> Waiting[J]:
        """The last login of the user who has most of them."""
        return max(self.users.values(), key=len)[-1]


class LoginTurns(Generic[J]):
    """See the module.

    Arguments:
        places: logins that are verified at a time.
        queue: logins of one address that wait in one lane.
    """

    def __init__(self, *, places: int, queue: int) -> None:
        self._places = places
        self._of_address = max(1, places // 2)
        self._of_failed = max(1, places - 1)
        self._queue = queue
        self._lanes: dict[Lane, OrderedDict[str, _Queue[J]]] = {
            lane: OrderedDict() for lane in Lane
        }
        self._running: dict[str, int] = {}
        self._running_in: dict[Lane, int] = dict.fromkeys(Lane, 0)
        self._turns = 0

    def __len__(self) -> int:
        """How many wait."""
        return sum(queue.size for lane in self._lanes.values() for queue in lane.values())

    def enter(self, waiting: Waiting[J]) -> Waiting[J] | None:
        """Let one wait.

        Returns:
            The login that the queue of the address has no room for: the last one of the user who
            has most in it, or this one; None where there is room.
        """
        queue = self._lanes[waiting.lane].setdefault(waiting.address, _Queue())
        if queue.size < self._queue:
            queue.add(waiting)
            return None
        crowded_out = queue.last_of_longest()
        if len(queue.users[crowded_out.user]) <= len(queue.users.get(waiting.user, ())) + 1:
            return waiting
        queue.remove(crowded_out)
        queue.add(waiting)
        return crowded_out

    def next(self) -> Waiting[J] | None:
        """Give a place to the next one, until `done`; None where there is none, or nobody waits."""
        if sum(self._running.values()) >= self._places:
            return None
        lanes = list(Lane)
        if self._turns % _LAST_FIRST == _LAST_FIRST - 1:
            lanes.reverse()
        for lane in lanes:
            waiting = self._next_of(lane)
            if waiting is not None:
                self._turns += 1
                self._running[waiting.address] = self._running.get(waiting.address, 0) + 1
                self._running_in[lane] += 1
                return waiting
        return None

    def done(self, waiting: Waiting[J]) -> None:
        """The place is free again."""
        self._running_in[waiting.lane] -= 1
        self._running[waiting.address] -= 1
        if not self._running[waiting.address]:
            del self._running[waiting.address]  # the table does not grow with addresses ever seen

    def leave(self, waiting: Waiting[J]) -> None:
        """It does not wait any more; harmless where it does not."""
        if waiting.in_queue:
            self._queue_of(waiting).remove(waiting)
            self._tidy(waiting)

    def _next_of(self, lane: Lane) -> Waiting[J] | None:
        if lane is Lane.FAILED and self._running_in[lane] >= self._of_failed:
            return None
        queues = self._lanes[lane]
        newest_first = lane is Lane.NEW and len(queues) > CROWD
        for address in reversed(queues) if newest_first else queues:
            # No more are passed over than are running.
            if self._running.get(address, 0) < self._of_address:
                waiting = queues[address].take()
                queues.move_to_end(address, last=not newest_first)
                self._tidy(waiting)
                return waiting
        return None

    def _queue_of(self, waiting: Waiting[J]) -> _Queue[J]:
        return self._lanes[waiting.lane][waiting.address]

    def _tidy(self, waiting: Waiting[J]) -> None:
        if not self._queue_of(waiting).size:
            del self._lanes[waiting.lane][waiting.address]
