"""What is queued and not in memory: it is read page by page, and put into other lanes.

Few pages are read at one time, and each has only so many bytes as there is room for: a start with
mail for thousands of destinations fills neither the memory nor the writer's transactions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from netserve.outbox.lanes import Lane
from netserve.outbox.ledger import RETRY
from netserve.outbox.model import Item
from netserve.outbox.records import START, Changed, DuePage, Move, task_key
from netserve.outbox.routing import Routed
from netserve.outbox.storage import Storage

T = TypeVar("T")

READS: Final = 4
"""Pages that are read at one time, over all lanes."""


class Backlog:
    """What the agent asks of the store.

    Arguments:
        storage: the store.
        room: the bytes that a lane's page may have.
        take: is given a lane and its page.
        expect: is told a lane's name and the unix seconds for which it is to be looked at.
        now: unix seconds.
        reactor: for trying again on a full disk.
        log: for what goes wrong.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        room: Callable[[Lane], int],
        take: Callable[[Lane, DuePage], None],
        expect: Callable[[str, float], None],
        now: Callable[[], float],
        reactor: Any,
        log: Logger,
    ) -> None:
        self.inside: set[int] = set()
        """The keys of recipients that are in memory, or on their way to another lane."""
        self._storage = storage
        self._room = room
        self._take = take
        self._expect = expect
        self._now = now
        self._reactor = reactor
        self._log = log
        self._reading = 0
        self._to_read: dict[Lane, None] = {}  # in their order

    def read(self, lane: Lane) -> None:
        """Read the next page of a lane, of which none is being read, when it is its turn."""
        lane.reading, lane.next_at = True, inf
        self._to_read[lane] = None
        self._read_more()

    def _read_more(self) -> None:
        while self._to_read and self._reading < READS:
            lane = next(iter(self._to_read))
            del self._to_read[lane]
            self._reading += 1
            self._read(lane, self._now(), lane.position, self._room(lane))

    def _read(self, lane: Lane, now: float, position: Any, room: int) -> None:
        claimed = self._storage.claim(lane.name, now, after=position, skip=self.inside, room=room)
        claimed.addCallbacks(
            partial(self._was_read, lane), partial(self._not_read, lane)
        ).addErrback(self._bug)

    def _was_read(self, lane: Lane, page: DuePage) -> None:
        self._reading -= 1
        lane.turn_page(page.position, page.next_at if page.position is None else self._now())
        self._take(lane, page)
        self._read_more()

    def _not_read(self, lane: Lane, failure: Failure) -> None:
        self._reading -= 1
        self._log.error(
            "cannot read what is due for {lane}: {error}",
            lane=lane.name,
            error=str(failure.value),
        )
        lane.reading, lane.next_at, lane.position = False, inf, START
        if self._storage.broken is None:
            self._expect(lane.name, self._now() + RETRY)
            self._read_more()

    def stop(self) -> None:
        """Read no more."""
        self._to_read.clear()

    def move(self, moved: Sequence[tuple[int, Routed]]) -> None:
        """Let recipients wait in the database, in the lanes that they go by now.

        Arguments:
            moved: numbers of messages, and where some of their recipients go.
        """
        rows = [
            Move(way.lane, number, recipient.id)
            for number, way in moved
            for recipient in way.recipients
        ]
        keys = [task_key(row.number, row.n) for row in rows]
        self.inside.update(keys)  # until they are there, the old lane does not see them again

        def done(_: None) -> None:
            self.inside.difference_update(keys)
            for name in {row.lane for row in rows}:
                self._expect(name, -inf)

        self._insist(lambda: self._storage.move(rows), done)

    def hold(self, message: Item, why: str, done: Callable[[], None]) -> None:
        """Hold a message, and log it; where it was dropped meanwhile, so was its body."""

        def is_held(changed: Changed) -> None:
            if changed.numbers:
                self._log.critical("{id} is held: {why}", id=message.id, why=why)
            done()

        self._insist(lambda: self._storage.change("hold", [message.number], reason=why), is_held)

    def forget_usage(self, now: float) -> None:
        """Forget what no longer counts for quotas."""
        self._insist(lambda: self._storage.forget_usage(now), lambda _: None)

    def _insist(self, operation: Callable[[], Deferred[T]], done: Callable[[T], None]) -> None:
        """Change the store; on a full disk, try again later."""

        def failed(failure: Failure) -> None:
            self._log.error("the queue cannot be changed: {error}", error=str(failure.value))
            if self._storage.broken is None:
                self._reactor.callLater(RETRY, self._insist, operation, done)

        operation().addCallbacks(done, failed).addErrback(self._bug)

    def _bug(self, failure: Failure) -> None:
        self._log.failure("a result of the queue's store was not taken", failure)
