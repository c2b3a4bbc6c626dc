"""The interface between the queue and the store that keeps it. Plain data only.

A store keeps items, their tasks (a recipient is the task of a mail), the attempts made for each
task, and what was used of quotas. `netserve.outbox.sqlite` is the store of one process; another
store implements `Storage` and passes `netserve.testing.storage.check_storage`.

The states of a task:

==========  ==========  ==================================================================
from        to          by
==========  ==========  ==================================================================
(nothing)   queued      `add`, or the reports of a `mark`
queued      queued      a deferral: a later `next_at`, one attempt more
queued      done        an attempt that delivered
queued      failed      an attempt that failed, or the end of its life; the report about it is
                        inserted by the same transaction
queued      held        `change` by hold; a body that is missing; a report that cannot be made
held        queued      `change` by release
held        done,       a delivery that was under way when it was held
            failed
==========  ==========  ==================================================================

An item exists as long as one of its tasks is queued or held; the transaction that ends the last of
them deletes it. Deliveries that are under way are not a state of the store: after a crash they are
queued still, and made again. That is the promise, at least once.

What every store guarantees: an item whose `add` succeeded is found by every later `open`. An item
whose `add` failed is not found, unless the commit itself was in doubt; then the store is broken.
`open` removes nothing that was accepted. A `mark` is one transaction: outcomes, reports and quotas
are stored together or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred

from netserve.outbox.errors import OutboxError
from netserve.outbox.model import BodyReader, Item
from netserve.outbox.query import Filter
from netserve.outbox.quota import Slice
from netserve.outbox.records import (
    BodyWriter,
    Changed,
    Depth,
    Description,
    Done,
    DuePage,
    Found,
    Mark,
    Move,
    NewItem,
    Position,
    Report,
    Survey,
    Verb,
)


class Storage(Protocol):
    """A store. Its methods are called in the reactor's thread, and none of them blocks.

    Deferreds fail with OutOfSpace, after which the store goes on, or with StorageFailed. `add`,
    `mark` and `use` take a function instead of giving a Deferred, since they are called for every
    item. These take effect in the order in which they are called. What gives a Deferred sees
    all that was asked for before it, and may see what was asked for after it.
    """

    @property
    def broken(self) -> OutboxError | None:
        """Why the store takes nothing more, or None. It is for good."""

    @property
    def commits(self) -> int:
        """Transactions since it was opened."""

    def refuse_if_in_use(self) -> None:
        """Look whether another process has a store that belongs to one process.

        Raises:
            StartError: one has it.
        """

    def open(self, broke: Callable[[OutboxError], None]) -> Deferred[int]:
        """Open the store; gives the largest number in use, or 0.

        What a crash has left is set right first, and logged. Items that lack their body, or that
        cannot be read, are held.

        Arguments:
            broke: is called once, with the reason, when the store breaks.

        Errors:
            StartError: it cannot be opened; nothing in it was removed.
        """

    def close(self) -> Deferred[None]:
        """Finish what was asked for, end a check, and let everything go."""

    def free_space(self) -> int:
        """Bytes that are free for new bodies."""

    def body(self, number: int) -> BodyWriter:
        """A new, empty body for a large item.

        Raises:
            OutOfSpace, StorageFailed: the store refuses it.
        """

    def open_body(self, number: int, size: int, body_sum: int | None = None) -> BodyReader:
        """Open a body that was written by a `BodyWriter`.

        Arguments:
            number: of the item.
            size: in bytes.
            body_sum: CRC-32 of the body, or None to compare the size only.

        Raises:
            BodyMissing: it is gone or damaged.
            BodyUnreadable: it cannot be read now.
        """

    def survey(self, services: Container[str], *, now: float, longest: float) -> Deferred[Survey]:
        """Look at what waits, once the store is open.

        A queued task of which nobody could tell where it goes, or when, is made due in the lane
        ``SERVICE (unrouted)``. A task is due at once where its time is later than any wait could
        be.

        Arguments:
            services: the names of those that are configured.
            now: unix seconds.
            longest: seconds of the longest wait.
        """

    def add(self, new: NewItem, done: Done) -> None:
        """Make an item durable. A `BodyWriter` is the store's from now on."""

    def mark(self, mark: Mark, done: Done) -> None:
        """Make the outcome of a delivery durable."""

    def use(self, account: str, used: Sequence[Slice]) -> None:
        """Make durable what was used of quotas; where that fails the next change has all of it."""

    def claim(
        self, lane: str, now: float, *, after: Position, skip: Container[int], room: int
    ) -> Deferred[DuePage]:
        """Take the next page of what is due in a lane.

        A page ends between two items that are due at different times, so that the tasks of one
        stay together. A store of one process gives what is due, and the caller remembers what it
        has. A store that several processes share leases what it gives, and gives nothing that
        another one has leased.

        Arguments:
            lane: its name.
            now: unix seconds.
            after: where the last page ended.
            skip: the keys (`task_key`) of what the caller has already. It is read in another
                thread, and may change meanwhile.
            room: bytes of small bodies; a page has at least one item, whatever its size.
        """

    def move(self, moved: Sequence[Move]) -> Deferred[None]:
        """Let tasks wait in other lanes."""

    def change(
        self, verb: Verb, numbers: Collection[int], *, now: float = 0.0, reason: str = ""
    ) -> Deferred[Changed]:
        """Change items.

        ==========  ==================================================================
        verb        what it changes
        ==========  ==================================================================
        retry       queued tasks are due now
        hold        queued tasks are held, also those whose state is damaged
        release     held tasks are queued, and due now
        drop        items are deleted
        ==========  ==================================================================

        Arguments:
            verb: see above.
            numbers: of the items; those that do not exist are passed over.
            now: unix seconds.
            reason: why tasks are held.
        """

    def forget_usage(self, now: float) -> Deferred[None]:
        """Delete what no longer counts for quotas, at a time in unix seconds."""

    def find(self, wanted: Filter, *, after: int, limit: int, now: float) -> Deferred[Found]:
        """A page of the items that are meant, in the order of their numbers.

        It takes a bounded time: there may be fewer than `limit`, or none, and more pages.

        Arguments:
            wanted: which ones.
            after: where the page begins: 0, or `Found.after` of the last page.
            limit: how many items at most.
            now: unix seconds.

        Errors:
            NoSuchMessage: an id in `wanted` cannot be one.
        """

    def describe(
        self, numbers: Sequence[int], *, tasks: int, history: bool = False
    ) -> Deferred[list[Description]]:
        """Describe items, in the order of their numbers; those that do not exist are left out.

        Arguments:
            numbers: of the items.
            tasks: how many of the tasks of each at most.
            history: with the attempts of each task.
        """

    def load(self, number: int) -> Deferred[Item]:
        """An item, for its body.

        Errors:
            NoSuchMessage: it does not exist.
        """

    def depth(self) -> Deferred[Depth]:
        """How many tasks there are; it may take some milliseconds."""

    def check(self) -> Deferred[Report]:
        """Look for damage in everything that is stored, beside the work.

        Errors:
            OutboxError: it was ended by `close`.
        """
