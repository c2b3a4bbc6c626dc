"""The conformance suite of stores: what `netserve.outbox.storage.Storage` promises, as tests.

A store passes when `check_storage` raises nothing::

    @pytest.mark.parametrize("check", CHECKS)
    def test_my_store(check):
        check(lambda: MyPlace())

The suite needs hypothesis, from the extra ``test``. It keeps a plain model of what is stored beside
the store, and compares both after every history. It runs without a reactor: the store is given a
`Pump`, which stands for one.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from math import inf
from queue import SimpleQueue
from typing import Any, Final, Protocol, TypeVar
from zlib import crc32

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from netserve.outbox.errors import NoSuchMessage, OutboxError, OutOfSpace
from netserve.outbox.ids import encode_id
from netserve.outbox.model import State
from netserve.outbox.query import Filter
from netserve.outbox.records import (
    PAGE,
    START,
    Changed,
    Description,
    Mark,
    NewItem,
    Position,
    TaskMark,
    Verb,
)
from netserve.outbox.storage import Storage
from netserve.testing.stored import FIRST, LANES, NOW, Step, Stored, new_item, steps

T = TypeVar("T")

_PATIENCE: Final = 60.0
_LONGEST: Final = 10.0 * 365 * 86400
_LARGE: Final = b"Subject: large\r\n\r\n" + b"0123456789abcdef" * 8000
_ROOM: Final = 1 << 30


class Place(Protocol):
    """Where a store keeps its items: a folder, a database."""

    def store(self, reactor: Any, moment: Callable[[], None]) -> Storage:
        """A store that is not open yet; the one before it was closed, or has crashed.

        Arguments:
            reactor: has `callFromThread`, `getThreadPool`, and `seconds`.
            moment: to be called, in any thread, whenever a crash would leave something else than
                at the last call: at least before and after each commit.
        """

    def copy(self) -> Place:
        """What a crash would leave at this moment, as a place of its own."""

    def fill(self) -> None:
        """Let the disk of the open store be full."""

    def free(self) -> None:
        """Let it have space again."""


Make = Callable[[], Place]
"""Gives an empty place."""
Check = Callable[[Make], None]


class Pump:
    """Stands for the reactor: functions of other threads run in this one, while it waits."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._pool: ThreadPool | None = None
        self.seconds = time.monotonic

    def callFromThread(self, function: Callable[..., object], *args: Any, **kw: Any) -> None:
        """As `IReactorFromThreads` has it."""
        self._calls.put(partial(function, *args, **kw))

    def getThreadPool(self) -> ThreadPool:
        """As `IReactorThreads` has it."""
        if self._pool is None:
            self._pool = ThreadPool(0, 2, "storage-check")
            self._pool.start()
        return self._pool

    def wait(self, deferred: Deferred[T]) -> T:
        """The result of a Deferred.

        Raises:
            Exception: the Deferred failed, or does not fire.
        """
        results: list[Any] = []
        deferred.addBoth(results.append)
        self.until(lambda: results)
        (result,) = results
        if isinstance(result, Failure):
            result.raiseException()
        found: T = result
        return found

    def until(self, condition: Callable[[], object]) -> None:
        """Run what other threads ask for until something holds."""
        while not condition():
            self._calls.get(timeout=_PATIENCE)()

    def stop(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.stop()


class Opened:
    """An open store, with the model of what is to be in it.

    Arguments:
        storage: the store.
        pump: its reactor.
        expected: what is in it.
    """

    def __init__(self, storage: Storage, pump: Pump, expected: Stored) -> None:
        self.storage = storage
        self.pump = pump
        self.wait = pump.wait
        self.expected = expected
        self.versions = [copy.deepcopy(expected)]
        """What was expected before each change, and after the last one."""
        self.answered = 0
        """Changes of which the caller knows that they are durable."""

    def change(self, step: Step) -> None:
        """Make a change, compare its result, and wait for it."""
        if step.kind in {"add", "mark"}:
            self.submit([step])
            return
        storage, expected = self.storage, self.expected
        if step.kind == "move":
            moved = expected.moves(step)
            self._expect(lambda: expected.move(moved))
            self.wait(storage.move(moved))
        elif step.kind == "forget":
            self._expect(lambda: expected.forget(NOW))
            self.wait(storage.forget_usage(NOW))
        elif step.kind == "use":
            account, used = expected.usage(step)
            self._expect(lambda: expected.use(account, used))
            storage.use(account, used)
            self.wait(storage.move([]))  # nobody is told of its end
        else:
            numbers = [step.number, step.number + 2]
            wanted = self._expect(
                lambda: expected.change(step.verb, numbers, now=step.at, reason=step.text)
            )
            found = self.wait(storage.change(step.verb, numbers, now=step.at, reason=step.text))
            assert found == wanted, (step, found, wanted)
        self.answered = len(self.versions) - 1

    def submit(self, some: Sequence[Step]) -> None:
        """Ask for several changes at once, then wait for all."""
        errors: list[OutboxError | None] = []

        def done(error: OutboxError | None) -> None:
            errors.append(error)
            if error is None:
                self.answered += 1

        for step in some:
            if step.kind == "mark":
                mark = self.expected.mark_for(step)
                self._expect(partial(self.expected.mark, mark))
                self.storage.mark(mark, done)
            else:
                new = new_item(self.storage, step)
                self._expect(partial(self.expected.add, new, step.body))
                self.storage.add(new, done)
        self.pump.until(lambda: len(errors) == len(some))
        assert errors == [None] * len(some), errors

    def _expect(self, change: Callable[[], T]) -> T:
        result = change()
        self.versions.append(copy.deepcopy(self.expected))
        return result

    def compare(self, expected: Stored | None = None) -> None:
        """Compare everything that the store tells with what is expected."""
        expected = expected or self.expected
        found = self.read()
        wanted = expected.described()
        assert found == wanted, _difference(found, wanted)
        depth = self.wait(self.storage.depth())
        assert depth[:2] == (expected.count(State.QUEUED), expected.count(State.HELD))
        survey = self.wait(self.storage.survey({"mail", "other"}, now=NOW, longest=_LONGEST))
        assert dict(survey.lanes) == expected.lanes()
        kept = {account: sorted(used) for account, used in survey.used.items() if used}
        assert kept == expected.used_at(NOW)
        for lane in LANES:
            due = [(item.number, task.id) for item, tasks in self.pages(lane) for task in tasks]
            assert sorted(due) == expected.due(lane, NOW)

    def read(self) -> dict[int, Any]:
        """Every item with its tasks, their attempts, and its body."""
        numbers = self.find(Filter())
        described = self.wait(self.storage.describe(numbers, tasks=1000, history=True))
        assert [one.number for one in described] == numbers
        return {one.number: (_plain(one), self.body(one.number)) for one in described}

    def body(self, number: int) -> bytes:
        """The body of an item."""
        with closing(self.wait(self.storage.load(number)).body()) as reader:
            return reader.read()

    def find(self, wanted: Filter, limit: int = 7) -> list[int]:
        """The numbers of all items that are meant, read in pages."""
        found: list[int] = []
        after: int | None = 0
        while after is not None:
            page = self.wait(self.storage.find(wanted, after=after, limit=limit, now=NOW))
            assert len(page.numbers) <= limit
            found += page.numbers
            after = page.after
        assert found == sorted(set(found))
        return found

    def pages(self, lane: str, *, room: int = _ROOM, now: float = NOW) -> Iterator[Any]:
        """All that is due in a lane, page by page; nothing comes twice."""
        after: Position | None = START
        seen: set[tuple[int, int]] = set()
        while after is not None:
            page = self.wait(
                self.storage.claim(lane, now, after=after, skip=frozenset(), room=room)
            )
            assert not page.damaged
            assert page.rows or page.position is None
            assert sum(len(tasks) for _, tasks in page.rows[:-1]) <= PAGE
            keys = {(item.number, task.id) for item, tasks in page.rows for task in tasks}
            assert not keys & seen
            seen |= keys
            yield from page.rows
            after = page.position


def _plain(one: Description) -> Description:
    """With tuples for all sequences, so that equal ones are equal."""
    tasks = tuple(replace(task, history=tuple(task.history)) for task in one.tasks)
    return replace(one, tasks=tasks)


@contextmanager
def opened(
    place: Place, expected: Stored | None = None, moment: Callable[[], None] = lambda: None
) -> Iterator[Opened]:
    """Open a store, and close it in the end.

    Arguments:
        place: where it keeps its items.
        expected: what is there.
        moment: see `Place.store`.
    """
    pump = Pump()
    broke: list[OutboxError] = []
    storage = place.store(pump, moment)
    try:
        last = pump.wait(storage.open(broke.append))
        try:
            assert storage.broken is None
            assert last >= max(expected.items, default=0) if expected else True
            yield Opened(storage, pump, expected or Stored())
            assert not broke, broke
        finally:
            pump.wait(storage.close())
    finally:
        pump.stop()


def check_histories(make: Make, *, examples: int = 40) -> None:
    """Whatever is done, the store has what it should have, also after it was opened again."""

    def check(history: Sequence[Sequence[Step]]) -> None:
        place = make()
        with opened(place) as store:
            _play(store, history)
            store.compare()
            report = store.wait(store.storage.check())
            assert report.sound, report
            assert report.counts["messages"] == len(store.expected.items)
        with opened(place, store.expected) as again:
            again.compare()

    _explore(check, examples)


def check_crashes(make: Make, *, examples: int = 6) -> None:
    """At each moment of each commit, a crash keeps all that was answered, and breaks nothing."""

    def check(history: Sequence[Sequence[Step]]) -> None:
        place = make()
        crashed: list[tuple[int, Place]] = []
        watched: list[Opened] = []

        def moment() -> None:
            for store in watched:
                answered = store.answered  # before the copy: later answers need not be in it
                crashed.append((answered, place.copy()))

        with opened(place, None, moment) as store:
            watched.append(store)
            _play(store, history)
            watched.clear()
        assert crashed
        for answered, left in crashed:
            _is_one_of(left, store.versions[answered:])

    _explore(check, examples)


def _is_one_of(place: Place, versions: Sequence[Stored]) -> None:
    """Compare what a crash left with what may be there: nothing may be torn."""
    with opened(place) as store:
        found = store.read()
        fitting = [one for one in versions if found == one.described()]
        assert fitting, "\n".join(_difference(found, one.described()) for one in versions)
        store.compare(_same_usage(store, fitting))
        assert store.wait(store.storage.check()).sound


def _same_usage(store: Opened, fitting: Sequence[Stored]) -> Stored:
    """Of several that differ in quotas alone, the one whose quotas are there."""
    survey = store.wait(store.storage.survey({"mail", "other"}, now=NOW, longest=_LONGEST))
    kept = {account: sorted(used) for account, used in survey.used.items() if used}
    return next(one for one in fitting if one.used_at(NOW) == kept)


def check_full_disk(make: Make) -> None:
    """A full disk refuses what is new, breaks nothing, and is over when there is space again."""
    place = make()
    with opened(place) as store:
        store.submit([Step("add", FIRST + n) for n in range(20)])
        place.fill()
        refused = _fill(store)
        for number in list(store.expected.items)[:5]:
            _mark_on_full_disk(store, number)
        try:
            writer = store.storage.body(refused + 1)
            writer.write(_LARGE)
        except OutOfSpace:
            pass
        else:
            raise AssertionError("a large body found space on a full disk")
        assert store.storage.broken is None
        place.free()
        store.submit([Step("add", FIRST + 4000), Step("add", FIRST + 4001, body=_LARGE)])
        store.compare()
    with opened(place, store.expected) as again:
        again.compare()


def _fill(store: Opened) -> int:
    """Add until the store refuses; gives the number that it refused."""
    for number in range(FIRST + 1000, FIRST + 3000):
        step = Step("add", number, body=b"x" * 3000)
        new = new_item(store.storage, step)
        if (error := _added(store, new)) is None:
            store.expected.add(new, step.body)
            continue
        assert isinstance(error, OutOfSpace), error
        return number
    raise AssertionError("nothing was refused on a full disk")


def _added(store: Opened, new: NewItem) -> OutboxError | None:
    errors: list[OutboxError | None] = []
    store.storage.add(new, errors.append)
    store.pump.until(lambda: errors)
    return errors[0]


def _mark_on_full_disk(store: Opened, number: int) -> None:
    """An outcome is stored, or refused as a whole."""
    mark = store.expected.mark_for(Step("mark", number, text="250 2.0.0 ok"))
    errors: list[OutboxError | None] = []
    store.storage.mark(mark, errors.append)
    store.pump.until(lambda: errors)
    if errors == [None]:
        store.expected.mark(mark)
    else:
        assert isinstance(errors[0], OutOfSpace)


def check_claims(make: Make) -> None:
    """Pages have all that is due, the longest due first, and part no item."""
    with opened(make()) as store:
        some = [Step("add", FIRST + n, tasks=1 + n % 4, at=NOW - n % 37) for n in range(300)]
        some += [Step("add", FIRST + n, at=NOW + n) for n in range(300, 310)]
        store.submit(some)
        lane = LANES[0]
        for room in (_ROOM, 100, 0):
            rows = list(store.pages(lane, room=room))
            times = [store.expected.items[item.number].tasks[0].next_at for item, _ in rows]
            assert times == sorted(times)
            assert all(len(tasks) == item.tasks for item, tasks in rows)
            assert len(rows) == 300
        page = store.wait(
            store.storage.claim(lane, NOW, after=START, skip=_Everything(), room=_ROOM)
        )
        assert (page.rows, page.position) == ([], None)
        assert page.next_at == min(step.at for step in some if step.at > NOW)
        empty = store.wait(
            store.storage.claim("mail nowhere", NOW, after=START, skip=frozenset(), room=_ROOM)
        )
        assert (empty.rows, empty.position, empty.next_at) == ([], None, inf)


class _Everything:
    def __contains__(self, _: object) -> bool:
        return True


def check_order(make: Make) -> None:
    """A `claim` or a `change` sees all that was asked for before it, without a wait."""
    with opened(make()) as store:
        storage, count = store.storage, 300
        answers: list[OutboxError | None] = []
        for number in range(FIRST, FIRST + count):
            storage.add(new_item(storage, Step("add", number)), answers.append)
        claimed = storage.claim(LANES[0], NOW, after=START, skip=frozenset(), room=_ROOM)
        held = storage.change("hold", range(FIRST, FIRST + count), reason="why")
        page = store.wait(claimed)
        assert len(answers) == count
        assert len(page.rows) >= PAGE
        assert len(store.wait(held).numbers) == count
        assert not list(store.pages(LANES[0]))
        assert store.wait(storage.depth())[:2] == (0, count)


def check_bodies(make: Make) -> None:
    """A large body is there as soon as it was added; one that is given up leaves nothing."""
    place = make()
    with opened(place) as store:
        store.submit([Step("add", FIRST, body=_LARGE)])
        with closing(store.storage.open_body(FIRST, len(_LARGE), crc32(_LARGE))) as reader:
            pieces = list(iter(lambda: reader.read(5000), b""))
        assert b"".join(pieces) == _LARGE
        for _ in range(2):  # its number is free again
            writer = store.storage.body(FIRST + 9)
            writer.write(_LARGE)
            writer.discard()
            writer.discard()
        store.compare()
        assert store.storage.free_space() > 0
        reader = store.wait(store.storage.load(FIRST)).body()
        store.change(Step("drop", FIRST))
        reader.close()
        store.compare()
    with opened(place, store.expected) as again:
        again.compare()


def check_filters(make: Make) -> None:
    """`find` gives what is meant, `describe` and `load` what is there."""
    with opened(make()) as store:
        store.submit([Step("add", FIRST + n, tasks=1 + n % 3, lane=n % 3) for n in range(60)])
        store.change(Step("hold", FIRST + 3, text="because of"))
        for n in (4, 5, 6):
            store.submit([Step("mark", FIRST + n, text="450 4.2.0 Later, please")])
        for wanted in _FILTERS:
            assert store.find(wanted) == store.expected.find(wanted, NOW), wanted
        some = store.wait(store.storage.describe([FIRST + 2, 999, FIRST + 1], tasks=1))
        assert [(one.number, len(one.tasks), one.tasks[0].history) for one in some] == [
            (FIRST + 1, 1, ()),
            (FIRST + 2, 1, ()),
        ]
        _raises(NoSuchMessage, lambda: store.wait(store.storage.load(999)))
        bad = Filter(ids=("not an id",))
        _raises(
            NoSuchMessage, lambda: store.wait(store.storage.find(bad, after=0, limit=1, now=NOW))
        )
        verbs: tuple[Verb, ...] = ("retry", "hold", "release", "drop")
        for verb in verbs:
            nothing = store.wait(store.storage.change(verb, [999], now=NOW))
            assert nothing == Changed(set(), set())
        _ignores_what_is_gone(store)


def _ignores_what_is_gone(store: Opened) -> None:
    """A mark for an item that was dropped inserts its reports, and nothing else."""
    report = new_item(store.storage, Step("add", FIRST + 5000))
    task = TaskMark(0, 2, NOW, LANES[0], 1, False, NOW, "delivered", "250 ok", "mx")
    for whole in (False, True):
        mark = Mark(998, False, whole, [task], [report] if whole else [])
        answers: list[OutboxError | None] = []
        store.storage.mark(mark, answers.append)
        store.pump.until(partial(bool, answers))
        assert answers == [None]
    store.expected.add(report, report.data or b"")
    store.compare()


_FILTERS: Final = (
    Filter(),
    Filter(ids=(encode_id(FIRST + 3), encode_id(999), encode_id(FIRST + 1))),
    Filter(sender="s1@example.org"),
    Filter(sender="S1@EXAMPLE.ORG"),
    Filter(sender=""),
    Filter(recipient="r4.1@d1.example"),
    Filter(domain="d1.example"),
    Filter(domain="d1.example", sender="s2@example.org"),
    Filter(domain="nowhere.example"),
    Filter(reply="later"),
    Filter(reply="nothing of the kind"),
    Filter(state=State.HELD),
    Filter(state=State.QUEUED, service="other"),
    Filter(service="mail"),
    Filter(older=30.0),
    Filter(younger=30.0),
)


def _raises(kind: type[Exception], function: Callable[[], object]) -> None:
    try:
        function()
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was not raised")


def _play(store: Opened, history: Sequence[Sequence[Step]]) -> None:
    for some in history:
        if len(some) > 1:
            store.submit(some)
        else:
            store.change(some[0])


def _explore(check: Callable[[Any], None], examples: int) -> None:
    from hypothesis import HealthCheck, given, settings  # noqa: PLC0415 - in the extra `test`

    settings(
        max_examples=examples,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )(given(steps())(check))()


def _difference(found: dict[int, Any], wanted: dict[int, Any]) -> str:
    lines = [
        f"{number}:\n  is        {found.get(number)}\n  should be {wanted.get(number)}"
        for number in sorted(found.keys() | wanted.keys())
        if found.get(number) != wanted.get(number)
    ]
    return "\n".join(["the store has not what it should have:", *lines])


CHECKS: Final[tuple[Check, ...]] = (
    check_histories,
    check_crashes,
    check_full_disk,
    check_claims,
    check_order,
    check_bodies,
    check_filters,
)


def check_storage(make: Make) -> None:
    """Check a store by all of `CHECKS`.

    Arguments:
        make: gives an empty place at each call.

    Raises:
        AssertionError: the store does not do what it promises.
    """
    for check in CHECKS:
        check(make)
