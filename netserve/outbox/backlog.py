"""What is queued and not in memory: it is read page by page, and put into other lanes.

Few pages are read at one time, and each has only so many bytes as there is room for: a start with
mail for thousands of destinations fills neither the memory nor the writer's transactions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Any, Final

from twisted.logger import Logger

from netserve.outbox.due import START, DuePage, due_page, forget_used, recipient_key
from netserve.outbox.lanes import Lane
from netserve.outbox.ledger import RETRY
from netserve.outbox.model import QueuedMessage
from netserve.outbox.recovery import hold
from netserve.outbox.routing import Routed
from netserve.outbox.store import Store

READS: Final = 4
"""Pages that are read at one time, over all lanes."""


class Backlog:
    """What the agent asks of the database; it is done in the writer's transactions.

    Arguments:
        store: the queue.
        room: the bytes that a lane's page may have.
        take: is given a lane and its page.
        expect: is told a lane's name and the unix seconds for which it is to be looked at.
        now: unix seconds.
        reactor: for trying again on a full disk.
        log: for what goes wrong.
    """

    def __init__(
        self,
        store: Store,
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
        self._store = store
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
        bodies, inside = self._store.bodies, self.inside
        self._store.call(
            lambda database, _: due_page(
                database, bodies, lane.name, now, position, inside=inside, room=room
            ),
            partial(self._was_read, lane),
            partial(self._not_read, lane),
        )

    def _was_read(self, lane: Lane, page: DuePage) -> None:
        self._reading -= 1
        lane.turn_page(page.position, page.next_at if page.position is None else self._now())
        self._take(lane, page)
        self._read_more()

    def _not_read(self, lane: Lane, error: BaseException) -> None:
        self._reading -= 1
        self._log.error(
            "cannot read what is due for {lane}: {error}", lane=lane.name, error=str(error)
        )
        lane.reading, lane.next_at, lane.position = False, inf, START
        if self._store.broken is None:
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
            (way.lane, number, recipient.id)
            for number, way in moved
            for recipient in way.recipients
        ]
        keys = [recipient_key(number, n) for _, number, n in rows]
        self.inside.update(keys)  # until they are there, the old lane does not see them again

        def done(_: None) -> None:
            self.inside.difference_update(keys)
            for name in {name for name, _, _ in rows}:
                self._expect(name, -inf)

        self._insist(lambda database, _: _set_lanes(database, rows), done)

    def hold(self, message: QueuedMessage, why: str, done: Callable[[], None]) -> None:
        """Hold a message, and say so; who has dropped it meanwhile has dropped its body as well."""

        def is_held(held: int) -> None:
            if held:
                self._log.critical("{id} is held: {why}", id=message.id, why=why)
            done()

        self._insist(lambda database, _: hold(database, [message.number], why), is_held)

    def forget_used(self, now: float) -> None:
        """Forget what no longer counts for quotas."""
        self._insist(lambda database, _: forget_used(database, now), lambda _: None)

    def _insist(
        self,
        function: Callable[[sqlite3.Connection, list[int]], Any],
        done: Callable[[Any], None],
    ) -> None:
        """Do something in the writer's next transaction; on a full disk in a later one."""

        def failed(error: BaseException) -> None:
            self._log.error("the queue cannot be changed: {error}", error=str(error))
            if self._store.broken is None:
                self._reactor.callLater(RETRY, self._insist, function, done)

        self._store.call(function, done, failed)


def _set_lanes(database: sqlite3.Connection, rows: Sequence[tuple[str, int, int]]) -> None:
    database.executemany("UPDATE recipient SET lane = ? WHERE message = ? AND n = ?", rows)
