"""One lane for each destination, so that a slow or dead one does not slow the others. Pure.

A lane has deliveries in memory, and more of its recipients in the database, which are read when
there is room. How many run at one time adapts: one more after each delivery that reached its
destination, up to what that allows; half after one that reached nobody. When several in a row
reached nobody, the lane rests, and then begins with one delivery. What lanes of several services
may do together stands in budgets.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final

from netserve.outbox.budgets import Budget
from netserve.outbox.model import Destination, Item, Outcome, Task
from netserve.outbox.records import START, Position

LANE_BYTES: Final = 8 * 1024 * 1024
"""Bodies that wait in memory in one lane."""
TOTAL_BYTES: Final = 32 * 1024 * 1024
"""Bodies in memory in all lanes. Each may have a few beyond it; see `Lane.has_room`."""
PAGE_BYTES: Final = 1024 * 1024
"""Bodies that are read from the database in one go."""
_OVERHEAD: Final = 2048
_REST_AFTER: Final = 3
_FIRST_CONCURRENCY: Final = 5
_FIRST_REST: Final = 30.0
_LONGEST_REST: Final = 900.0


@dataclass(slots=True, eq=False)
class Delivery:
    """Recipients of one message that go to one destination together.

    Arguments:
        message: the message.
        recipients: not more than the destination's batch.
        destination: where they go.
        started: when its attempt began, in unix seconds.
        session_at: when a session with the remote took it, by the reactor's clock, or 0.
        budget: what it is taken from while it runs, or None.
        withdrawn: the message was dropped meanwhile; its outcome is only logged.
    """

    message: Item
    recipients: Sequence[Task]
    destination: Destination
    started: float = 0.0
    session_at: float = 0.0
    budget: Budget | None = None
    withdrawn: bool = False

    @property
    def weight(self) -> int:
        """About the bytes that it takes in memory."""
        message = self.message
        return _OVERHEAD if message.in_file else _OVERHEAD + message.size


@dataclass(slots=True, eq=False)
class Lane:
    """The deliveries to one destination.

    Arguments:
        name: what stands in the database: the service, a space, the destination's key.
        limit: the most deliveries at one time.
        next_at: unix seconds of the first recipient that is in the database and not in memory,
            as far as is known; infinity for none.
    """

    name: str
    limit: int
    next_at: float = inf
    waiting: deque[Delivery] = field(default_factory=deque)
    bytes: int = 0
    running: int = 0
    recipients: int = 0
    """In memory: waiting, under way, or with an outcome that is not written yet."""
    reading: bool = False
    pumping: bool = False
    position: Position = START
    window: float = _FIRST_CONCURRENCY
    unreached: int = 0
    last: Outcome | None = None
    rests_until: float = 0.0
    """Unix seconds; zero while the destination answers."""
    budget: Budget | None = None
    """What it shares with the lanes of other services to the same account."""
    destination: Destination | None = None
    """The last one that came by here."""
    looked_at: float = -inf
    """Unix seconds at which those were looked for who are to be told, or given up."""

    @property
    def service(self) -> str:
        """Whose mail goes this way."""
        return self.name.partition(" ")[0]

    @property
    def idle(self) -> bool:
        """Nothing is in memory, and nothing known in the database."""
        return not (self.recipients or self.reading or self.next_at < inf)

    def expect(self, next_at: float) -> None:
        """In the database a recipient is due at a time in unix seconds."""
        self.next_at = min(self.next_at, next_at)
        if next_at <= self.position[0]:
            self.position = START  # the pages that come would pass it over

    def turn_page(self, position: Position | None, next_at: float) -> None:
        """A page was read.

        Arguments:
            position: where the next one begins, or None where this was the last one.
            next_at: unix seconds for which the next one is to be read.
        """
        self.reading = False
        if position is None or self.next_at <= position[0]:
            position = START  # what was expected meanwhile may stand in front of it
        self.position = position
        self.next_at = min(self.next_at, next_at)

    def may_start(self, now: float) -> bool:
        """Whether one more delivery may begin now (in unix seconds), as far as it is the lane's."""
        running = self.running
        return running < self.window and running < self.limit and now >= self.rests_until

    def quota_until(self, now: float) -> float:
        """The unix seconds from which on the quotas let the next delivery begin."""
        return now if self.budget is None else self.budget.free_at(self, now)

    def has_room(self, total: int, share: float = 1.0) -> bool:
        """Whether one more delivery may wait here.

        One of each lane may always be in memory, and while its destination answers so many as may
        run at one time; these have as much memory again as all the others.

        Arguments:
            total: the bytes that are in memory in all lanes.
            share: the part of this lane's bytes that may be used.
        """
        if not (self.waiting or self.running):
            return True
        if len(self.waiting) < self.limit and not self.rests_until:
            return total < 2 * TOTAL_BYTES
        return self.bytes < LANE_BYTES * share and total < TOTAL_BYTES

    def room(self, total: int) -> int:
        """The bytes that the next page may have; its first message may have more.

        Arguments:
            total: as in `has_room`.
        """
        return max(min(LANE_BYTES - self.bytes, TOTAL_BYTES - total, PAGE_BYTES), 0)

    def put(self, delivery: Delivery) -> None:
        """Let a delivery wait."""
        self.waiting.append(delivery)
        self.bytes += delivery.weight
        self.recipients += len(delivery.recipients)

    def take(self, now: float) -> Delivery:
        """The delivery that has waited longest; it runs from now on."""
        delivery = self.waiting.popleft()
        self.bytes -= delivery.weight
        self.running += 1
        delivery.started = now
        if (budget := self.budget) is not None:
            delivery.budget = budget
            budget.take(self, now, len(delivery.recipients))
        return delivery

    def remove(self, delivery: Delivery) -> None:
        """Let one wait no longer."""
        self.waiting.remove(delivery)
        self.bytes -= delivery.weight

    def forget(self, delivery: Delivery) -> None:
        """Its outcome is written, or it is withdrawn: it is in memory no more."""
        self.recipients -= len(delivery.recipients)

    def put_back(self, delivery: Delivery, now: float) -> None:
        """It was taken, but not begun, at a time in unix seconds."""
        self.running -= 1
        if delivery.budget is not None:
            delivery.budget.give_back(now, len(delivery.recipients))

    def ended(self, delivery: Delivery, outcomes: Mapping[int, Outcome], now: float) -> None:
        """A delivery has its outcomes, at a time in unix seconds."""
        self.running -= 1
        unreached = _unreached(outcomes)
        if delivery.budget is not None:
            unused = 0 if unreached is None else len(delivery.recipients)
            delivery.budget.give_back(now, unused)
        if unreached is None:
            self.unreached, self.rests_until = 0, 0.0
            self.window = min(self.window + 1, self.limit)
            return
        self.last = unreached
        self.unreached += 1
        self.window = max(self.window / 2, 1.0)
        if self.unreached >= _REST_AFTER:
            self.window = 1.0
            times = min(self.unreached - _REST_AFTER, 10)
            self.rests_until = now + min(_FIRST_REST * 2**times, _LONGEST_REST)

    def wake(self) -> None:
        """Do not rest any longer: somebody asks for an attempt now."""
        self.unreached = 0
        self.rests_until = 0.0


def _unreached(outcomes: Mapping[int, Outcome]) -> Outcome | None:
    """The outcome where nobody answered, else None."""
    outcome: Outcome | None = None
    for outcome in outcomes.values():
        if outcome.verdict != "deferred" or (outcome.remote and outcome.reached):
            return None
    return outcome
