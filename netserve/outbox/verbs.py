"""What operators ask of the queue: list, show, why, retry, hold, release, drop, export, check.

Reading goes by the reading connection, beside the writer. What changes messages goes through the
writer's group commits, in portions, so that mail comes in and goes out meanwhile; after each
portion the agent is told.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from netserve.mail.dsn import HEADER_LIMIT, header_of
from netserve.outbox.agent import Agent
from netserve.outbox.changes import delete_messages
from netserve.outbox.checking import Report, check_queue
from netserve.outbox.database import open_reader
from netserve.outbox.errors import BodyMissing, BodyUnreadable, NoSuchMessage
from netserve.outbox.ids import IdSource, encode_id
from netserve.outbox.model import QueuedMessage
from netserve.outbox.query import EVERY, Filter, described, find, listed, number_of
from netserve.outbox.recent import Recent
from netserve.outbox.rows import MESSAGE_COLUMNS, body_source, json_list, message_of, small_bodies
from netserve.outbox.store import Store

T = TypeVar("T")

PORTION: Final = 500
"""So many messages are changed by one transaction."""
LISTED_RECIPIENTS: Final = 3

Read = Callable[[Callable[[sqlite3.Connection], Any]], Deferred[Any]]
Change = Callable[[sqlite3.Connection, Sequence[int], list[int]], "_Changed"]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list.

    Arguments:
        messages: in a form that becomes JSON; see `query.listed`.
        next: is given to `Verbs.list` for the next page; None at the end.
    """

    messages: list[dict[str, Any]]
    next: str | None


@dataclass(frozen=True, slots=True)
class _Changed:
    """What a portion came to: the messages that it concerned, and the lanes to look at."""

    numbers: set[int]
    lanes: set[str]


class Verbs:
    """The verbs of an open queue.

    Arguments:
        store: the queue.
        agent: is told of changes.
        ids: knows the last message there is.
        read: runs a function with the reading connection.
        reactor: gives a thread for the check.
        now: unix seconds.
        changed: is called when the number of queued recipients may have changed.
        recent: remembers the last outcomes.
    """

    def __init__(
        self,
        store: Store,
        agent: Agent,
        ids: IdSource,
        read: Read,
        *,
        reactor: Any,
        now: Callable[[], float],
        changed: Callable[[], None],
        recent: Recent,
    ) -> None:
        self._reactor = reactor
        self._checks: set[sqlite3.Connection] = set()
        self._stopped = False
        self._recent = recent
        self._store = store
        self._agent = agent
        self._ids = ids
        self._read = read
        self._now = now
        self._changed = changed

    async def list(
        self, wanted: Filter = EVERY, *, after: str | None = None, limit: int = 100
    ) -> Page:
        """A page of messages, the oldest first.

        Arguments:
            wanted: which ones.
            after: `Page.next` of the last page.
            limit: how many at most. There may be fewer, or none, and a next page all the same.

        Raises:
            NoSuchMessage: an id in `wanted` or `after` cannot be one.
        """
        begin = 0 if after is None else int(after)

        def read(connection: sqlite3.Connection) -> Page:
            found = find(connection, wanted, after=begin, limit=limit, now=self._now())
            messages = listed(connection, found.numbers, recipients=LISTED_RECIPIENTS)
            return Page(messages, None if found.after is None else str(found.after))

        page: Page = await self._read(read)
        return page

    async def show(self, message: str) -> dict[str, Any]:
        """A message with its recipients and its header.

        Raises:
            NoSuchMessage: it is not in the queue.
        """
        number = number_of(message)

        def read(connection: sqlite3.Connection) -> dict[str, Any]:
            shown = described(connection, number, attempts=False)
            shown["header"] = self._header(connection, number)
            return shown

        shown: dict[str, Any] = await self._read(read)
        return shown

    def _header(self, connection: sqlite3.Connection, number: int) -> str:
        try:
            with closing(self._load(connection, number).body()) as reader:
                return header_of(reader.read(HEADER_LIMIT)).decode("utf-8", "replace")
        except (BodyMissing, BodyUnreadable) as error:
            return f"({error})"

    async def why(self, message: str) -> dict[str, Any]:
        """A message with its recipients and their last attempts.

        Raises:
            NoSuchMessage: it is not in the queue.
        """
        number = number_of(message)
        found: dict[str, Any] = await self._read(
            lambda connection: described(connection, number, attempts=True)
        )
        return found

    def expect(self, message: str) -> None:
        """Remember what comes of a message that will be there in a moment.

        Raises:
            NoSuchMessage: it is not an id.
        """
        self._recent.follow(number_of(message))

    async def follow(self, message: str) -> dict[str, Any]:
        """What has come of a message so far, also when it is done already.

        Gives its id, the time `now`, its `queued` recipients (None when it is no longer in the
        queue), and the `outcomes` that are remembered. Who asks once is told the later ones too.

        Raises:
            NoSuchMessage: it is not in the queue, and nothing is remembered of it.
        """
        number = number_of(message)
        outcomes = self._recent.of(number)
        queued: list[dict[str, Any]] | None
        try:
            queued = (await self.why(message))["recipients"]
        except NoSuchMessage:
            # Its last outcome may have come since.
            outcomes, queued = self._recent.of(number), None
            if not outcomes:
                raise
        return {
            "id": encode_id(number),
            "now": self._now(),
            "queued": queued,
            "outcomes": [ended.as_json() for ended in outcomes],
        }

    async def export(self, message: str) -> tuple[dict[str, Any], QueuedMessage]:
        """A message's description, and the message, for its body.

        Raises:
            NoSuchMessage: it is not in the queue.
        """
        number = number_of(message)

        def read(connection: sqlite3.Connection) -> tuple[dict[str, Any], QueuedMessage]:
            return described(connection, number, attempts=False), self._load(connection, number)

        exported: tuple[dict[str, Any], QueuedMessage] = await self._read(read)
        return exported

    def _load(self, connection: sqlite3.Connection, number: int) -> QueuedMessage:
        row = connection.execute(_MESSAGE, (number,)).fetchone()
        source = body_source(row, small_bodies(connection, [number]), self._store.bodies)
        return message_of(row, source)

    async def retry(self, wanted: Filter) -> int:
        """Try queued recipients now, also where their destination rests.

        Says of how many messages.
        """
        now = self._now()

        def change(
            connection: sqlite3.Connection, numbers: Sequence[int], _: list[int]
        ) -> _Changed:
            return _updated(connection, _RETRY, (now, json_list(numbers)))

        return await self._each(wanted, change, partial(self._look, now))

    async def hold(self, wanted: Filter, reason: str = "held by an operator") -> int:
        """Keep queued recipients from being tried; says of how many messages."""

        def change(
            connection: sqlite3.Connection, numbers: Sequence[int], _: list[int]
        ) -> _Changed:
            return _updated(connection, _HOLD, (reason, json_list(numbers)))

        def after(changed: _Changed) -> None:
            self._agent.withdraw(changed.numbers, dropped=False)

        return await self._each(wanted, change, after)

    async def release(self, wanted: Filter) -> int:
        """Queue held recipients again, due now; says of how many messages."""
        now = self._now()

        def change(
            connection: sqlite3.Connection, numbers: Sequence[int], _: list[int]
        ) -> _Changed:
            return _updated(connection, _RELEASE, (now, json_list(numbers)))

        return await self._each(wanted, change, partial(self._look, now))

    async def drop(self, wanted: Filter) -> int:
        """Delete messages, and tell nobody; says how many."""

        def change(
            connection: sqlite3.Connection, numbers: Sequence[int], removed: list[int]
        ) -> _Changed:
            chosen = (json_list(numbers),)
            there = dict(connection.execute(_THERE, chosen))
            removed += [number for number, in_file in there.items() if in_file]
            delete_messages(connection, there)
            return _Changed(set(there), set())

        def after(changed: _Changed) -> None:
            self._agent.withdraw(changed.numbers, dropped=True)

        return await self._each(wanted, change, after)

    async def flush(self) -> int:
        """Try all that is queued now; says how many messages."""
        return await self.retry(EVERY)

    async def check(self) -> dict[str, Any]:
        """Look through all pages, rows and bodies, by a connection of its own.

        See `checking.Report.as_json` for what it gives.
        """
        report: Report = await self._check()
        return report.as_json()

    async def repair(self) -> dict[str, Any]:
        """Check, and hold the messages that are damaged; says of how many beside that.

        What else is wrong can only be repaired while the process does not run.
        """
        report: Report = await self._check()
        by_what: dict[str, list[int]] = {}
        for damage in report.damages:
            by_what.setdefault(damage.what, []).append(damage.number)
        changed: set[int] = set()
        for what, numbers in by_what.items():
            values = (what, json_list(numbers))
            held = await self._write(
                lambda connection, *_, values=values: _updated(connection, _HOLD, values), numbers
            )
            self._agent.withdraw(held.numbers, dropped=False)
            changed |= held.numbers
        self._changed()
        return {**report.as_json(), "held_now": len(changed)}

    def _check(self) -> Deferred[Report]:
        def check() -> Report:
            with closing(open_reader(self._store.database)) as connection:
                self._checks.add(connection)
                try:
                    return check_queue(
                        connection, self._store.bodies, stopped=lambda: self._stopped
                    )
                finally:
                    self._checks.discard(connection)

        pool = self._reactor.getThreadPool()
        return deferToThreadPool(self._reactor, pool, check)

    def stop(self) -> None:
        """End what takes long, since the queue is closed."""
        self._stopped = True
        for connection in list(self._checks):
            with suppress(sqlite3.ProgrammingError):  # it has ended just now
                connection.interrupt()

    def _look(self, due: float, changed: _Changed) -> None:
        for lane in changed.lanes:
            self._agent.expect(lane, due, at_once=True)

    async def _each(self, wanted: Filter, change: Change, after: Callable[[_Changed], None]) -> int:
        """Change messages in portions; those that come in meanwhile are not concerned."""
        count = 0
        position: int | None = 0
        last = self._ids.last
        while position is not None and position <= last:
            find_here = partial(find, wanted=wanted, after=position, limit=PORTION, now=self._now())
            found = await self._read(find_here)
            numbers = [number for number in found.numbers if number <= last]
            if numbers:
                changed = await self._write(change, numbers)
                after(changed)
                count += len(changed.numbers)
            position = found.after
        self._changed()
        return count

    def _write(self, change: Change, numbers: Sequence[int]) -> Awaitable[_Changed]:
        done: Deferred[_Changed] = Deferred()
        self._store.call(
            lambda connection, removed: change(connection, numbers, removed),
            done.callback,
            done.errback,
        )
        return done


_MESSAGE: Final = f"SELECT {MESSAGE_COLUMNS} FROM message WHERE id = ?"  # noqa: S608 - of constants
# The plus keeps SQLite from going through all that is queued for the sake of a few messages.
_RETRY: Final = """
UPDATE recipient SET next_at = ? WHERE +state = 0
    AND message IN (SELECT value FROM json_each(?)) RETURNING message, lane
"""
_HOLD: Final = """
UPDATE recipient SET state = 1, last = ? WHERE +state = 0
    AND message IN (SELECT value FROM json_each(?)) RETURNING message, lane
"""
_RELEASE: Final = """
UPDATE recipient SET state = 0, next_at = ? WHERE +state = 1
    AND message IN (SELECT value FROM json_each(?)) RETURNING message, lane
"""
_THERE: Final = """
SELECT id, in_file FROM message WHERE id IN (SELECT value FROM json_each(?))
"""


def _updated(connection: sqlite3.Connection, statement: str, values: tuple[Any, ...]) -> _Changed:
    rows = connection.execute(statement, values).fetchall()
    return _Changed({message for message, _ in rows}, {lane for _, lane in rows})
