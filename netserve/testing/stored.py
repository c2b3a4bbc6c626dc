"""A model of what a store keeps, and histories of changes; for `netserve.testing.storage`.

The model is a few dictionaries, and every change to it is written as plainly as it can be.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal
from zlib import crc32

from netserve.outbox.ids import decode_id, encode_id
from netserve.outbox.model import Item, State, Task
from netserve.outbox.query import Filter
from netserve.outbox.quota import KEPT, Slice
from netserve.outbox.records import (
    KEPT_ATTEMPTS,
    Attempt,
    Changed,
    Description,
    Mark,
    Move,
    NewItem,
    TaskDescription,
    TaskMark,
    Verb,
)
from netserve.outbox.storage import Storage

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

NOW: Final = 1_700_000_000.0
"""Unix seconds at which everything happens."""
FIRST: Final = int((NOW - 60) * 1e6)
"""Items are numbered from here up; numbers grow with time, see `netserve.outbox.ids`."""
LANES: Final = ("mail d0.example", "mail d1.example", "other d2.example")
SMALL: Final = b"Subject: small\r\n\r\nHello\r\n"
LARGE: Final = b"Subject: large\r\n\r\n" + b"fedcba9876543210" * 6000
IN_MEMORY: Final = 80 * 1024
"""A larger body is written by a `BodyWriter`."""

_LIVE: Final = frozenset({State.QUEUED, State.HELD})
_OUTCOMES: Final[dict[str, tuple[State | None, str]]] = {
    "2": (State.DONE, "delivered"),
    "4": (None, "deferred"),
    "5": (State.FAILED, "failed"),
}


@dataclass(frozen=True, slots=True)
class Step:
    """A change to a store.

    Arguments:
        kind: what is done.
        number: of the item; it need not exist but for `add`, which makes it.
        tasks: how many an added item has; of how many a mark tells.
        lane: the index of a lane.
        at: unix seconds, of the next attempt.
        body: of an added item.
        text: the reply to an attempt, or the reason for holding.
        report: the number of a report that a mark inserts, or 0.
        used: with quotas that were used.
    """

    kind: Literal["add", "mark", "move", "use", "forget", "retry", "hold", "release", "drop"]
    number: int
    tasks: int = 1
    lane: int = 0
    at: float = NOW
    body: bytes = field(default=SMALL, repr=False)
    text: str = ""
    report: int = 0
    used: bool = False

    @property
    def verb(self) -> Verb:
        """The verb that it is."""
        assert self.kind in {"retry", "hold", "release", "drop"}
        return self.kind


def new_item(storage: Storage | None, step: Step) -> NewItem:
    """What `add` is given.

    Arguments:
        storage: for a large body.
        step: the addition.
    """
    number, body = step.number, step.body
    n = number - FIRST
    data: bytes | None = body
    writer = None
    if len(body) > IN_MEMORY:
        assert storage is not None
        data, writer = None, storage.body(number)
        middle = len(body) // 2
        writer.write(body[:middle])
        writer.write(body[middle:])
    lane = LANES[step.lane % len(LANES)]
    service, _, domain = lane.partition(" ")
    message = Item(
        id=encode_id(number),
        number=number,
        service=service,
        kind="some",
        meta="A=1 B=größe" if n % 3 else "",
        created=NOW - n % 61,
        sender=f"s{n % 5}@example.org" if n % 7 else "",
        user=f"user{n}",
        client="192.0.2.1",
        trace=f"t{n}",
        size=len(body),
        tasks=step.tasks,
        in_file=data is None,
        body_sum=crc32(body),
        open_body=partial(io.BytesIO, body),
    )
    tasks = [(lane, Task(i, f"r{n}.{i}@{domain}", f"C={i}")) for i in range(step.tasks)]
    return NewItem(message, tasks, step.at, data, writer)


@dataclass(slots=True)
class StoredTask:
    """A task as it should be."""

    address: str
    meta: str
    lane: str
    next_at: float
    state: State = State.QUEUED
    attempts: int = 0
    last: str = ""
    history: tuple[Attempt, ...] = ()


@dataclass(slots=True)
class StoredItem:
    """An item as it should be."""

    new: Item
    body: bytes
    tasks: dict[int, StoredTask]

    def __deepcopy__(self, memo: Any) -> StoredItem:
        return StoredItem(self.new, self.body, {n: replace(t) for n, t in self.tasks.items()})


@dataclass(slots=True)
class Stored:
    """What should be in a store."""

    items: dict[int, StoredItem] = field(default_factory=dict)
    used: dict[tuple[str, float, float], int] = field(default_factory=dict)

    # Changes.

    def add(self, new: NewItem, body: bytes) -> None:
        """An item was added."""
        tasks = {
            task.id: StoredTask(task.address, task.meta, lane, new.next_at, last=task.last)
            for lane, task in new.tasks
        }
        self.items[new.item.number] = StoredItem(new.item, body, tasks)

    def mark(self, mark: Mark) -> None:
        """An outcome was written down."""
        for report in mark.reports:
            self.add(report, report.data or b"")
        self.use(mark.account, mark.used)
        if (item := self.items.get(mark.number)) is None:
            return
        for one in mark.marks:
            task = item.tasks[one.n]
            task.state = task.state if one.state is None else State(one.state)
            task.next_at, task.lane, task.last = one.next_at, one.lane, one.reply
            task.attempts = one.attempts
            attempt = Attempt(one.attempts, one.at, one.outcome, one.reply, one.remote)
            task.history = (*task.history, attempt)[-KEPT_ATTEMPTS:]
        if all(task.state not in _LIVE for task in item.tasks.values()):
            del self.items[mark.number]

    def move(self, moved: Iterable[Move]) -> None:
        """Tasks wait in other lanes."""
        for move in moved:
            self.items[move.number].tasks[move.n].lane = move.lane

    def use(self, account: str, used: Iterable[Slice]) -> None:
        """Quotas were used."""
        for one in used:
            key = (account, one.seconds, one.start)
            if one.used:
                self.used[key] = one.used
            else:
                self.used.pop(key, None)

    def forget(self, now: float) -> None:
        """What no longer counts is gone."""
        self.used = {key: used for key, used in self.used.items() if _counts(key, now)}

    def change(self, verb: Verb, numbers: Iterable[int], *, now: float, reason: str) -> Changed:
        """A verb has changed items; gives what `Storage.change` should."""
        there = {number for number in numbers if number in self.items}
        if verb == "drop":
            for number in there:
                del self.items[number]
            return Changed(there, set())
        changed = Changed(set(), set())
        before = State.HELD if verb == "release" else State.QUEUED
        for number in there:
            for task in self.items[number].tasks.values():
                if task.state is not before:
                    continue
                changed.numbers.add(number)
                if verb == "hold":
                    task.state, task.last = State.HELD, reason
                else:
                    task.state, task.next_at = State.QUEUED, now
                    changed.lanes.add(task.lane)
        return changed

    # From steps to what a store is given.

    def mark_for(self, step: Step) -> Mark:
        """The outcome of an attempt: the same for some of the tasks of an item."""
        item = self.items.get(step.number)
        reports = [new_item(None, Step("add", step.report))] if step.report else []
        account, used = self.usage(step) if step.used else ("", ())
        if item is None:
            return Mark(step.number, False, True, (), reports, account, used)
        live = [n for n, task in sorted(item.tasks.items()) if task.state in _LIVE]
        state, outcome = _OUTCOMES[(step.text or "2")[0]]
        marks = [
            TaskMark(
                n=n,
                state=state,
                next_at=step.at,
                lane=item.tasks[n].lane,
                attempts=item.tasks[n].attempts + 1,
                warned=False,
                at=NOW,
                outcome=outcome,
                reply=step.text,
                remote="mx.example[192.0.2.1]:25",
            )
            for n in live[: step.tasks]
        ]
        whole = len(marks) == len(item.tasks) and state is not None
        return Mark(step.number, item.new.in_file, whole, marks, reports, account, used)

    def moves(self, step: Step) -> list[Move]:
        """The tasks of an item to another lane of its service."""
        item = self.items.get(step.number)
        lane = LANES[step.lane % len(LANES)]
        if item is None or item.new.service != lane.partition(" ")[0]:
            return []
        return [Move(lane, step.number, n) for n in item.tasks]

    def usage(self, step: Step) -> tuple[str, list[Slice]]:
        """An account, and what has changed in the usage of its quotas."""
        start = NOW - 60.0 * ((step.number - FIRST) * 13 % 80)
        return f"account {step.lane}", [Slice(3600.0, start, step.tasks - 1)]

    # What a store should tell.

    def described(self) -> dict[int, tuple[Description, bytes]]:
        """All items as `describe` should give them, with their bodies."""
        return {number: (_described(item), item.body) for number, item in self.items.items()}

    def count(self, state: State) -> int:
        """Tasks in a state."""
        return sum(
            task.state is state for item in self.items.values() for task in item.tasks.values()
        )

    def lanes(self) -> dict[str, float]:
        """The lanes that have queued tasks, with the first time of one."""
        found: dict[str, float] = {}
        for item in self.items.values():
            for task in item.tasks.values():
                if task.state is State.QUEUED:
                    found[task.lane] = min(found.get(task.lane, task.next_at), task.next_at)
        return found

    def due(self, lane: str, now: float) -> list[tuple[int, int]]:
        """What is due in a lane: numbers of items and tasks."""
        return sorted(
            (number, n)
            for number, item in self.items.items()
            for n, task in item.tasks.items()
            if task.state is State.QUEUED and task.lane == lane and task.next_at <= now
        )

    def used_at(self, now: float) -> dict[str, list[Slice]]:
        """What still counts for quotas, by account."""
        found: dict[str, list[Slice]] = {}
        for key, used in sorted(self.used.items()):
            if _counts(key, now):
                account, seconds, start = key
                found.setdefault(account, []).append(Slice(seconds, start, used))
        return found

    def find(self, wanted: Filter, now: float) -> list[int]:
        """The numbers of the items that are meant."""
        return sorted(n for n, item in self.items.items() if _is_meant(item, wanted, now))


def _counts(key: tuple[str, float, float], now: float) -> bool:
    _, seconds, start = key
    return start <= now < start + seconds * KEPT


def _described(item: StoredItem) -> Description:
    new = item.new
    tasks = [
        TaskDescription(
            address=task.address,
            state=task.state.word,
            attempts=task.attempts,
            next_at=task.next_at,
            last=task.last,
            lane=task.lane,
            meta=task.meta,
            history=task.history,
        )
        for _, task in sorted(item.tasks.items())
    ]
    return Description(
        number=new.number,
        service=new.service,
        kind=new.kind,
        created=new.created,
        sender=new.sender,
        meta=new.meta,
        size=new.size,
        task_count=new.tasks,
        trace=new.trace,
        user=new.user,
        client=new.client,
        tasks=tuple(tasks),
    )


def _is_meant(item: StoredItem, wanted: Filter, now: float) -> bool:
    new = item.new
    if wanted.ids and new.number not in map(decode_id, wanted.ids):
        return False
    if wanted.sender is not None and wanted.sender.lower() != new.sender.lower():
        return False
    if wanted.service is not None and wanted.service != new.service:
        return False
    if wanted.older is not None and new.created > now - wanted.older:
        return False
    if wanted.younger is not None and new.created < now - wanted.younger:
        return False
    return any(_is_task_meant(task, wanted) for task in item.tasks.values())


def _is_task_meant(task: StoredTask, wanted: Filter) -> bool:
    return (
        wanted.recipient in (None, task.address)
        and wanted.domain in (None, task.address.partition("@")[2])
        and wanted.state in (None, task.state)
        and (wanted.reply is None or wanted.reply.lower() in task.last.lower())
    )


def steps(*, longest: int = 14) -> SearchStrategy[list[list[Step]]]:
    """A hypothesis strategy for histories: groups of steps, each asked for at once.

    Arguments:
        longest: the most groups.
    """
    from hypothesis import strategies as st  # noqa: PLC0415 - hypothesis is in the extra `test`

    numbers = st.integers(FIRST + 1, FIRST + 7)
    lanes = st.integers(0, len(LANES) - 1)
    times = st.sampled_from((NOW - 50.0, NOW, NOW + 0.5, NOW + 3600.0))
    tasks = st.integers(1, 4)
    add = st.builds(
        Step,
        st.just("add"),
        st.just(0),
        tasks=tasks,
        lane=lanes,
        at=times,
        body=st.sampled_from((SMALL, SMALL, b"", LARGE)),
    )
    mark = st.builds(
        Step,
        st.just("mark"),
        numbers,
        tasks=tasks,
        lane=lanes,
        at=times,
        text=st.sampled_from(("250 2.0.0 ok", "450 4.2.0 Größe", "550 5.1.1 nobody")),
        report=st.integers(0, 1),
        used=st.booleans(),
    )
    others = ("move", "use", "forget", "retry", "hold", "release", "drop")
    other = st.builds(
        Step,
        st.sampled_from(others),
        numbers,
        tasks=tasks,
        lane=lanes,
        at=times,
        text=st.sampled_from(("held by an operator", "why")),
    )
    together = st.lists(add | mark, min_size=1, max_size=4)
    begin = st.lists(add, min_size=2, max_size=4)
    rest = st.lists(together | other.map(lambda step: [step]), min_size=1, max_size=longest)
    return st.tuples(begin, rest).map(lambda parts: _numbered([parts[0], *parts[1]]))


def _numbered(history: Sequence[Sequence[Step]]) -> list[list[Step]]:
    """Give added items numbers in their order; of one item, a group has at most one outcome.

    Outcomes of items that are added later become those of items that there never are.
    """
    added, reported = FIRST, FIRST + 1000
    numbered: list[list[Step]] = []
    for group in history:
        marked: set[int] = set()
        some: list[Step] = []
        for step in group:
            if step.kind == "add":
                added += 1
                some.append(replace(step, number=added))
            elif step.kind != "mark":
                some.append(step)
            elif step.number not in marked:
                marked.add(step.number)
                reported += step.report
                number = step.number if step.number <= added else step.number + 500
                report = reported if step.report else 0
                some.append(replace(step, number=number, report=report))
        numbered.append(some)
    return numbered
