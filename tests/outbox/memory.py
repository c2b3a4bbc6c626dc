"""A store that keeps everything in memory: the least that `Storage` asks for."""

from __future__ import annotations

import copy
import io
from collections import Counter
from collections.abc import Callable, Collection, Container, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from typing import Any
from zlib import crc32

from twisted.internet.defer import Deferred, fail, succeed

from netserve.outbox import BodyMissing, Filter, NoSuchMessage, OutboxError, OutOfSpace, State
from netserve.outbox.ids import encode_id
from netserve.outbox.model import BodyReader, Item, Task
from netserve.outbox.query import number_of
from netserve.outbox.quota import KEPT, Slice
from netserve.outbox.records import (
    KEPT_ATTEMPTS,
    PAGE,
    Attempt,
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
    TaskDescription,
    Verb,
    task_key,
)


@dataclass
class Row:
    """A task."""

    task: Task
    lane: str
    next_at: float
    state: State = State.QUEUED
    history: list[Attempt] = field(default_factory=list)


@dataclass
class Kept:
    """An item with its tasks."""

    item: Item
    rows: dict[int, Row]

    @property
    def has_ended(self) -> bool:
        return all(row.state in {State.DONE, State.FAILED} for row in self.rows.values())


@dataclass
class Memory:
    """What is kept: it outlives the stores."""

    kept: dict[int, Kept] = field(default_factory=dict)
    bodies: dict[int, bytes] = field(default_factory=dict)
    used: dict[tuple[str, float, float], int] = field(default_factory=dict)
    full: bool = False


class MemoryPlace:
    """A place for `netserve.testing.storage`."""

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory or Memory()

    def store(self, reactor: Any, moment: Callable[[], None]) -> MemoryStorage:
        return MemoryStorage(self.memory, reactor, moment)

    def copy(self) -> MemoryPlace:
        return MemoryPlace(
            Memory(
                {n: Kept(kept.item, copy.deepcopy(kept.rows)) for n, kept in self._kept()},
                dict(self.memory.bodies),
                dict(self.memory.used),
            )
        )

    def _kept(self) -> list[tuple[int, Kept]]:
        return list(self.memory.kept.items())

    def fill(self) -> None:
        self.memory.full = True

    def free(self) -> None:
        self.memory.full = False


class MemoryWriter:
    """A large body."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.parts: list[bytes] = []

    def write(self, data: bytes, /) -> None:
        if self._memory.full:
            raise OutOfSpace("no space")
        self.parts.append(data)

    def discard(self) -> None:
        self.parts.clear()


class MemoryStorage:
    """Implements `Storage`.

    Arguments:
        memory: what is kept.
        reactor: calls `add`'s and `mark`'s functions later.
        moment: see `netserve.testing.storage.Place.store`.
    """

    broken: OutboxError | None = None

    def __init__(
        self, memory: Memory, reactor: Any, moment: Callable[[], None] = lambda: None
    ) -> None:
        self.commits = 0
        self._memory = memory
        self._reactor = reactor
        self._moment = moment

    def refuse_if_in_use(self) -> None:
        pass

    def open(self, broke: Callable[[OutboxError], None]) -> Deferred[int]:
        return succeed(max(self._memory.kept, default=0))

    def close(self) -> Deferred[None]:
        return succeed(None)

    def free_space(self) -> int:
        return 1 << 40

    def body(self, number: int) -> MemoryWriter:
        return MemoryWriter(self._memory)

    def open_body(self, number: int, size: int, body_sum: int | None = None) -> BodyReader:
        data = self._memory.bodies.get(number)
        if data is None or len(data) != size or body_sum not in (None, crc32(data)):
            raise BodyMissing("the body is missing or damaged")
        return io.BytesIO(data)

    # Changes: each is one step of Python, between two moments.

    def add(self, new: NewItem, done: Done) -> None:
        if self._memory.full:
            self._reactor.callFromThread(done, OutOfSpace("no space"))
            return
        self._commit(lambda: self._insert(new), done)

    def mark(self, mark: Mark, done: Done) -> None:
        self._commit(lambda: self._conclude(mark), done)

    def use(self, account: str, used: Sequence[Slice]) -> None:
        self._commit(lambda: self._use(account, used), lambda _: None)

    def _commit(self, change: Callable[[], object], done: Done) -> None:
        self._moment()
        change()
        self.commits += 1
        self._moment()
        self._reactor.callFromThread(done, None)

    def _insert(self, new: NewItem) -> None:
        item = new.item
        if new.body is None:
            self._memory.bodies[item.number] = new.data or b""
        else:
            assert isinstance(new.body, MemoryWriter)
            self._memory.bodies[item.number] = b"".join(new.body.parts)
        rows = {task.id: Row(task, lane, new.next_at) for lane, task in new.tasks}
        self._memory.kept[item.number] = Kept(item, rows)

    def _conclude(self, mark: Mark) -> None:
        for report in mark.reports:
            self._insert(report)
        self._use(mark.account, mark.used)
        kept = self._memory.kept.get(mark.number)
        if kept is None:
            return
        if mark.whole:
            self._delete(mark.number)
            return
        for one in mark.marks:
            row = kept.rows[one.n]
            row.state = row.state if one.state is None else State(one.state)
            row.lane, row.next_at = one.lane, one.next_at
            row.task = replace(row.task, attempts=one.attempts, warned=one.warned, last=one.reply)
            row.history.append(Attempt(one.attempts, one.at, one.outcome, one.reply, one.remote))
            del row.history[:-KEPT_ATTEMPTS]
        if kept.has_ended:
            self._delete(mark.number)

    def _delete(self, number: int) -> None:
        del self._memory.kept[number]
        del self._memory.bodies[number]

    def _use(self, account: str, used: Sequence[Slice]) -> None:
        for seconds, start, count in used:
            self._memory.used[account, seconds, start] = count

    def move(self, moved: Sequence[Move]) -> Deferred[None]:
        def change() -> None:
            for lane, number, n in moved:
                if number in self._memory.kept:
                    self._memory.kept[number].rows[n].lane = lane

        return self._changing(change)

    def change(
        self, verb: Verb, numbers: Collection[int], *, now: float = 0.0, reason: str = ""
    ) -> Deferred[Changed]:
        changed = Changed(set(), set())

        def change() -> Changed:
            for number in set(numbers) & self._memory.kept.keys():
                if verb == "drop":
                    self._delete(number)
                    changed.numbers.add(number)
                    continue
                for row in self._memory.kept[number].rows.values():
                    if self._change_row(row, verb, now, reason):
                        changed.numbers.add(number)
                        if verb != "hold":
                            changed.lanes.add(row.lane)
            return changed

        return self._changing(change)

    def _change_row(self, row: Row, verb: Verb, now: float, reason: str) -> bool:
        if row.state is not (State.HELD if verb == "release" else State.QUEUED):
            return False
        if verb == "hold":
            row.state, row.task = State.HELD, replace(row.task, last=reason)
        else:
            row.state, row.next_at = State.QUEUED, now
        return True

    def forget_usage(self, now: float) -> Deferred[None]:
        return self._changing(lambda: self._forget(now))

    def _forget(self, now: float) -> None:
        for key in list(self._memory.used):
            _, seconds, start = key
            if start + seconds * KEPT <= now or start > now:
                del self._memory.used[key]

    def _changing(self, change: Callable[[], Any]) -> Deferred[Any]:
        results: list[Any] = []
        deferred: Deferred[Any] = Deferred()
        self._commit(lambda: results.append(change()), lambda _: deferred.callback(results[0]))
        return deferred

    # Reading.

    def survey(self, services: Container[str], *, now: float, longest: float) -> Deferred[Survey]:
        self._forget(now)
        lanes: dict[str, float] = {}
        for kept in self._memory.kept.values():
            for row in kept.rows.values():
                if row.state is State.QUEUED:
                    if row.next_at > now + longest:
                        row.next_at = now
                    lanes[row.lane] = min(lanes.get(row.lane, inf), row.next_at)
        used: dict[str, list[Slice]] = {}
        for (account, seconds, start), count in self._memory.used.items():
            if count:
                used.setdefault(account, []).append(Slice(seconds, start, count))
        return succeed(Survey(list(lanes.items()), used))

    def claim(
        self, lane: str, now: float, *, after: Position, skip: Container[int], room: int
    ) -> Deferred[DuePage]:
        return self._changing(lambda: self._claim(lane, now, after, skip, room))

    def _claim(
        self, lane: str, now: float, after: Position, skip: Container[int], room: int
    ) -> DuePage:
        waiting = sorted(
            (row.next_at, number, n)
            for number, kept in self._memory.kept.items()
            for n, row in kept.rows.items()
            if row.state is State.QUEUED and row.lane == lane and (row.next_at, number, n) > after
        )
        later = min((at for at, _, _ in waiting if at > now), default=inf)
        page: dict[int, list[Task]] = {}
        count, last = 0, after
        for at, number, n in waiting:
            if at > now:
                break
            kept = self._memory.kept[number]
            new = number not in page
            if new and page and (count >= PAGE or room < kept.item.size):
                return DuePage(self._loaded(page), last, inf)
            last = (at, number, n)
            if task_key(number, n) in skip:
                continue
            room -= kept.item.size if new else 0
            count += 1
            page.setdefault(number, []).append(kept.rows[n].task)
        return DuePage(self._loaded(page), None, later)

    def _loaded(self, page: dict[int, list[Task]]) -> list[tuple[Item, list[Task]]]:
        return [(self._item(self._memory.kept[number]), tasks) for number, tasks in page.items()]

    def _item(self, kept: Kept) -> Item:
        item = kept.item
        opens = partial(self.open_body, item.number, item.size, item.body_sum)
        return replace(item, open_body=opens)

    def find(self, wanted: Filter, *, after: int, limit: int, now: float) -> Deferred[Found]:
        try:
            ids = {number_of(text) for text in wanted.ids}
        except NoSuchMessage:
            return fail()
        found = [
            number
            for number, kept in sorted(self._memory.kept.items())
            if number > after and (not ids or number in ids) and _fits(kept, wanted, now)
        ]
        return succeed(Found(found[:limit], found[limit - 1] if len(found) > limit else None))

    def describe(
        self, numbers: Sequence[int], *, tasks: int, history: bool = False
    ) -> Deferred[list[Description]]:
        there = [self._memory.kept[n] for n in sorted(numbers) if n in self._memory.kept]
        return succeed([_described(kept, tasks, history=history) for kept in there])

    def load(self, number: int) -> Deferred[Item]:
        kept = self._memory.kept.get(number)
        if kept is None:
            return fail(NoSuchMessage(f"no message {encode_id(number)} is in the queue"))
        return succeed(self._item(kept))

    def depth(self) -> Deferred[Depth]:
        states = Counter(
            row.state for kept in self._memory.kept.values() for row in kept.rows.values()
        )
        return succeed(Depth(states[State.QUEUED], states[State.HELD], 0))

    def check(self) -> Deferred[Report]:
        return succeed(Report(counts=Counter(messages=len(self._memory.kept))))


def _fits(kept: Kept, wanted: Filter, now: float) -> bool:
    item = kept.item
    return (
        (wanted.sender is None or item.sender.lower() == wanted.sender.lower())
        and wanted.service in (None, item.service)
        and (wanted.older is None or item.created <= now - wanted.older)
        and (wanted.younger is None or item.created >= now - wanted.younger)
        and any(_row_fits(row, wanted) for row in kept.rows.values())
    )


def _row_fits(row: Row, wanted: Filter) -> bool:
    address = row.task.address
    return (
        (wanted.recipient is None or address.lower() == wanted.recipient.lower())
        and (wanted.domain is None or address.rpartition("@")[2].lower() == wanted.domain.lower())
        and wanted.state in (None, row.state)
        and (wanted.reply is None or wanted.reply.lower() in row.task.last.lower())
    )


def _described(kept: Kept, limit: int, *, history: bool) -> Description:
    item = kept.item
    rows = sorted(kept.rows.items())[:limit]
    return Description(
        item.number,
        item.service,
        item.kind,
        item.created,
        item.sender,
        item.meta,
        item.size,
        item.tasks,
        item.trace,
        item.user,
        item.client,
        [
            TaskDescription(
                row.task.address,
                row.state.word,
                row.task.attempts,
                row.next_at,
                row.task.last,
                row.lane,
                row.task.meta,
                tuple(row.history) if history else (),
            )
            for _, row in rows
        ],
    )
