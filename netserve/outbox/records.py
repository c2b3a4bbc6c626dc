"""What goes between the queue and its store, as plain data; see `netserve.outbox.storage`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final, Literal, NamedTuple, Protocol

from netserve.outbox.errors import OutboxError
from netserve.outbox.ids import encode_id
from netserve.outbox.model import Item, Task
from netserve.outbox.quota import Slice

DAMAGED: Final = "its row in the database is damaged"
"""Why a store holds an item that it cannot read as it was written."""
PAGE: Final = 100
"""Tasks in a page of `claim`; those of the last item come on top."""
KEPT_ATTEMPTS: Final = 20
"""Attempts of a task that a store remembers: the last ones."""

Done = Callable[[OutboxError | None], None]
"""Is called in the reactor's thread: with None after the commit, or with the error."""
Verb = Literal["retry", "hold", "release", "drop"]
Position = tuple[float, int, int]
"""The place of a task in its lane: the unix seconds at which it is due, its item, its number."""
START: Final[Position] = (-inf, 0, 0)


class BodyWriter(Protocol):
    """A large body that is being written; `NewItem.body` hands it over to the store."""

    def write(self, data: bytes, /) -> None:
        """Append to the body.

        Raises:
            OutOfSpace: the disk is full.
            StorageFailed: the store fails.
        """

    def discard(self) -> None:
        """Leave nothing behind; harmless when called again, or after the commit."""


@dataclass(slots=True, eq=False)
class NewItem:
    """An item to be stored.

    Arguments:
        item: as it will be in the queue.
        tasks: all of its tasks, each with its lane.
        next_at: unix seconds of their first attempt.
        data: the body where it is small, else None.
        body: the body where it is large, else None.
    """

    item: Item
    tasks: Sequence[tuple[str, Task]]
    next_at: float
    data: bytes | None
    body: BodyWriter | None


@dataclass(frozen=True, slots=True)
class TaskMark:
    """What an attempt made of one task.

    Arguments:
        n: the task's number.
        state: the new state; None leaves it, be it queued or, meanwhile, held.
        next_at: unix seconds of the next attempt.
        lane: where it went.
        attempts: how many there were, this one counted.
        warned: the report about the delay was sent.
        at: unix seconds of this attempt.
        outcome: its outcome, as a word.
        reply: the reply as text.
        remote: the server that answered.
    """

    n: int
    state: int | None
    next_at: float
    lane: str
    attempts: int
    warned: bool
    at: float
    outcome: str
    reply: str
    remote: str


@dataclass(slots=True, eq=False)
class Mark:
    """The outcome of a delivery, with the reports that follow from it: one transaction.

    A mark for an item that was dropped meanwhile changes nothing but quotas, and inserts its
    reports.

    Arguments:
        number: of the item.
        in_file: its body was written by a `BodyWriter`.
        whole: all of its tasks have ended, so that nothing of it stays.
        marks: what became of the tasks; not looked at where nothing stays.
        reports: items to be inserted.
        account: whose quotas were used.
        used: what has changed in their usage.
    """

    number: int
    in_file: bool
    whole: bool
    marks: Sequence[TaskMark]
    reports: Sequence[NewItem]
    account: str = ""
    used: Sequence[Slice] = ()


class Move(NamedTuple):
    """A task that waits in another lane from now on.

    Arguments:
        lane: its name.
        number: of the item.
        n: of the task.
    """

    lane: str
    number: int
    n: int


@dataclass(frozen=True, slots=True)
class Survey:
    """What waits in a store that was opened.

    Arguments:
        lanes: that have queued tasks, each with the unix seconds of its first one.
        used: what still counts for quotas, by account.
    """

    lanes: Sequence[tuple[str, float]]
    used: Mapping[str, Sequence[Slice]]


@dataclass(frozen=True, slots=True)
class DuePage:
    """A part of what is due in a lane.

    Arguments:
        rows: the tasks by item, the longest due first.
        position: where the next page begins, or None where this was the last one.
        next_at: unix seconds of the first one that is not due yet; infinity for none, or where
            this was not the last page.
        damaged: the ids of items that cannot be read, and are held now.
    """

    rows: list[tuple[Item, list[Task]]]
    position: Position | None
    next_at: float
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change came to.

    Arguments:
        numbers: of the items that it changed.
        lanes: that have a task which is due now.
    """

    numbers: set[int]
    lanes: set[str]


@dataclass(frozen=True, slots=True)
class Found:
    """A page of items.

    Arguments:
        numbers: of the items, in order.
        after: where the next page begins, or None at the end.
    """

    numbers: list[int]
    after: int | None


class Attempt(NamedTuple):
    """An attempt as the store remembers it; the names are those of its JSON form.

    Arguments:
        number: from 1 up.
        at: unix seconds.
        outcome: as a word.
        reply: the reply as text.
        remote: the server that answered.
    """

    number: int
    at: float
    outcome: str
    reply: str
    remote: str


@dataclass(frozen=True, slots=True)
class TaskDescription:
    """A task as operators want to see it. A value may be damaged, and of another type."""

    address: str
    state: str
    attempts: int
    next_at: float
    last: str
    lane: str
    meta: str
    history: Sequence[Attempt] = ()


@dataclass(frozen=True, slots=True)
class Description:
    """An item with some of its tasks, as operators want to see it.

    A value may be damaged, and of another type.
    """

    number: int
    service: str
    kind: str
    created: float
    sender: str
    meta: str
    size: int
    task_count: int
    trace: str
    user: str
    client: str
    tasks: Sequence[TaskDescription]


class Depth(NamedTuple):
    """How many tasks are in a store.

    Arguments:
        queued: that are queued.
        held: that are held.
        unreported: of these, those that have failed, which is so only if no report could be made.
    """

    queued: int
    held: int
    unreported: int


class Damage(NamedTuple):
    """Something that is wrong with an item.

    Arguments:
        number: of the item.
        what: is wrong with it.
    """

    number: int
    what: str


_COUNTED: Final = ("messages", "queued", "held", "unknown", "quarantine")


@dataclass(slots=True)
class Report:
    """What a check has found.

    Arguments:
        findings: of the store as a whole, as sentences without full stops.
        damages: of items.
        notes: what should be known, and is no fault.
        counts: ``messages``; tasks by state; bodies without an item that the next start moves to
            the quarantine (``unknown``), and those that are there (``quarantine``).
    """

    findings: list[str] = field(default_factory=list)
    damages: list[Damage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings and not self.damages

    def as_json(self) -> dict[str, Any]:
        """In a form that becomes JSON."""
        return {
            "sound": self.sound,
            "findings": self.findings,
            "notes": self.notes,
            "damaged": [
                {"id": encode_id(damage.number), "what": damage.what} for damage in self.damages
            ],
            **{name: self.counts[name] for name in _COUNTED},
        }


def task_key(number: int, n: int) -> int:
    """One number for a task, so that a set of them is small.

    Arguments:
        number: of the item.
        n: of the task.
    """
    return number << 20 | n
