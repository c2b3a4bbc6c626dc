"""Stores against the conformance suite; what is SQLite's own is in other files."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from twisted.logger import Logger

from netserve.outbox.errors import BodyMissing, OutOfSpace, StorageFailed
from netserve.outbox.records import Done, DuePage, Mark, NewItem, Verb
from netserve.outbox.sqlite import SqliteStorage
from netserve.outbox.sqlite.marker import MARKER, NOWHERE, Marker
from netserve.testing.storage import (
    CHECKS,
    Check,
    Place,
    Pump,
    check_bodies,
    check_claims,
    check_crashes,
    check_full_disk,
    check_histories,
)
from tests.outbox.memory import MemoryPlace, MemoryStorage


class SteppedStorage(SqliteStorage):
    """Tells of each moment of a commit."""

    moment: Callable[[], None]

    def _apply(self, connection: Any, jobs: Sequence[Any], removed: Sequence[int]) -> Iterable[int]:
        self.moment()  # new bodies have their names
        files = super()._apply(connection, jobs, removed)
        self.moment()
        return files

    def _committed(self) -> None:
        self.moment()  # the marker has the count of before
        super()._committed()
        self.moment()  # bodies of what is finished are still there


class SqlitePlace:
    """A folder.

    Arguments:
        folder: in which each place has one.
        name: of the folder of this one.
        numbers: name the copies.
    """

    def __init__(self, folder: Path, name: str, numbers: Iterable[int]) -> None:
        self._folder = folder
        self._path = folder / name
        self._numbers = iter(numbers)
        self._storage: SteppedStorage | None = None

    def store(self, reactor: Any, moment: Callable[[], None]) -> SteppedStorage:
        self._storage = SteppedStorage(self._path, reactor=reactor, log=Logger())
        self._storage.moment = moment
        return self._storage

    def copy(self) -> Place:
        # A process of its own: to close a file here would let go of SQLite's locks on it.
        other = SqlitePlace(self._folder, f"copy-{next(self._numbers)}", self._numbers)
        subprocess.run(["cp", "-r", "--", self._path, other._path], check=True)
        return other

    def fill(self) -> None:
        assert self._storage is not None
        writer, bodies = self._storage._writer, self._storage._bodies
        (pages,) = writer.execute("PRAGMA page_count").fetchone()
        writer.execute(f"PRAGMA max_page_count = {pages}").fetchone()

        def refuse(number: int) -> Any:
            raise OutOfSpace("no space")

        bodies.create = refuse  # type: ignore[method-assign]

    def free(self) -> None:
        assert self._storage is not None
        self._storage._writer.execute("PRAGMA max_page_count = 1000000").fetchone()
        del self._storage._bodies.create


@pytest.fixture
def sqlite_place(tmp_path: Path) -> Callable[[], Place]:
    """Gives places whose copies are no copies: the marker does not compare where it is."""
    numbers = count()
    empty = tmp_path / "empty"
    pump = Pump()
    storage = SqliteStorage(empty, reactor=pump, log=Logger())
    pump.wait(storage.open(lambda _: None))
    pump.wait(storage.close())
    marker = Marker.read(empty / MARKER)
    assert marker is not None
    replace(marker, place=NOWHERE).write(empty / MARKER)

    def make() -> Place:
        name = f"place-{next(numbers)}"
        shutil.copytree(empty, tmp_path / name)
        return SqlitePlace(tmp_path, name, numbers)

    return make


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_sqlite(check: Check, sqlite_place: Callable[[], Place]) -> None:
    check(sqlite_place)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_memory(check: Check) -> None:
    check(MemoryPlace)


class AnswersTooSoon(MemoryStorage):
    def add(self, new: NewItem, done: Done) -> None:
        done(None)
        super().add(new, done)


class TearsOutcomes(MemoryStorage):
    def _conclude(self, mark: Mark) -> None:
        for report in mark.reports:
            self._insert(report)
        self._moment()
        super()._conclude(replace(mark, reports=()))


class ForgetsTheReason(MemoryStorage):
    def change(self, verb: Verb, numbers: Any, *, now: float = 0.0, reason: str = "") -> Any:
        return super().change(verb, numbers, now=now)


class PartsItems(MemoryStorage):
    def _claim(self, lane: str, *rest: Any) -> DuePage:
        page = super()._claim(lane, *rest)
        return replace(page, rows=[(item, tasks[:1]) for item, tasks in page.rows])


class LosesBodies(MemoryStorage):
    def _insert(self, new: NewItem) -> None:
        super()._insert(new)
        if new.body is not None:
            self._memory.bodies[new.item.number] = b""


class BreaksWhenFull(MemoryStorage):
    def add(self, new: NewItem, done: Done) -> None:
        if self._memory.full:
            self.broken = StorageFailed("no space")
        super().add(new, done)


@pytest.fixture
def without_shrinking() -> Iterator[None]:
    before = settings.get_current_profile_name()
    settings.register_profile("without shrinking", phases=[Phase.generate], derandomize=True)
    settings.load_profile("without shrinking")
    yield
    settings.load_profile(before)


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (AnswersTooSoon, partial(check_crashes, examples=200)),
        (TearsOutcomes, partial(check_crashes, examples=200)),
        (ForgetsTheReason, partial(check_histories, examples=200)),
        (PartsItems, check_claims),
        (LosesBodies, check_bodies),
        (BreaksWhenFull, check_full_disk),
    ],
)
def test_the_suite_finds_what_is_wrong(
    broken: type[MemoryStorage], check: Check, without_shrinking: None
) -> None:
    class BrokenPlace(MemoryPlace):
        def store(self, reactor: Any, moment: Callable[[], None]) -> MemoryStorage:
            return broken(self.memory, reactor, moment)

    with pytest.raises((AssertionError, BodyMissing)):
        check(BrokenPlace)
