"""The store of one process: a folder with an SQLite database, and a file for each large body.

A start removes nothing that was accepted: it refuses a folder that has lost mail (see examine.py),
moves a body without a row to the quarantine, and holds a row without its body; each is logged.

There are three threads: one writes (see commit.py), one reads beside it, and a check has one of the
reactor's. Nothing here blocks the reactor's own.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Collection, Container, Iterable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from netserve.durable import make_folders
from netserve.errors import StartError
from netserve.outbox.errors import NoSuchMessage, OutboxError
from netserve.outbox.ids import encode_id
from netserve.outbox.model import BodyReader, Item
from netserve.outbox.query import Filter
from netserve.outbox.quota import Slice
from netserve.outbox.records import (
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
from netserve.outbox.sqlite.bodies import BodyFile, BodyFolder
from netserve.outbox.sqlite.change import change, move
from netserve.outbox.sqlite.changes import Changes
from netserve.outbox.sqlite.checking import check_queue
from netserve.outbox.sqlite.commit import GroupCommit
from netserve.outbox.sqlite.count import count
from netserve.outbox.sqlite.database import COUNT, NEVER, open_reader, open_writer
from netserve.outbox.sqlite.due import bring_forward, due_page, forget_used, lanes, used
from netserve.outbox.sqlite.examine import Examination, examine
from netserve.outbox.sqlite.find import describe, find
from netserve.outbox.sqlite.hints import mend_hints
from netserve.outbox.sqlite.jobs import Add, Call, Conclude, Use
from netserve.outbox.sqlite.lock import LOCK, SpoolLock
from netserve.outbox.sqlite.marker import MARKER, NOWHERE, CommitCount, Marker, Place
from netserve.outbox.sqlite.recovery import forget_finished, recover
from netserve.outbox.sqlite.rows import load

T = TypeVar("T")


class SqliteStorage:
    """Implements `netserve.outbox.storage.Storage`.

    Arguments:
        folder: its own; it is made where it is missing.
        reactor: for threads.
        log: gets what a start has found, and errors of those who take results.
    """

    def __init__(self, folder: Path, *, reactor: Any, log: Logger) -> None:
        self.folder = folder
        self._database = folder / "queue.db"
        self._reactor = reactor
        self._log = log
        self._lock = SpoolLock(folder / LOCK)
        self._bodies: BodyFolder
        self._readers: ThreadPool
        self._reader: sqlite3.Connection  # beside the writer; for the one thread of the pool
        self._writer: sqlite3.Connection
        self._commit: GroupCommit
        self._count: CommitCount
        self._wrote = False  # whether the last batch has changed anything
        self._checks: set[sqlite3.Connection] = set()
        self._closing = False

    def __str__(self) -> str:
        return str(self.folder)

    @property
    def broken(self) -> OutboxError | None:
        """See `Storage`."""
        return self._commit.broken

    @property
    def commits(self) -> int:
        """See `Storage`."""
        return self._commit.commits

    def refuse_if_in_use(self) -> None:
        """See `Storage`."""
        self._lock.refuse_if_taken()

    # Opening and closing.

    def open(self, broke: Callable[[OutboxError], None]) -> Deferred[int]:
        """See `Storage`: lock, examine, open, repair."""
        self._readers = ThreadPool(0, 1, "outbox-reader")
        self._readers.start()
        self._closing = False
        opening = deferToThreadPool(self._reactor, self._readers, self._open, broke)
        return opening.addErrback(self._not_opened)

    def _not_opened(self, failure: Failure) -> Failure:
        self._readers.stop()
        return failure

    def _open(self, broke: Callable[[OutboxError], None]) -> int:
        post = self._reactor.callFromThread
        try:
            make_folders(self.folder)
        except OSError as error:
            raise StartError(f"cannot make the queue {self.folder}: {error.strerror}") from error
        with ExitStack() as undo:
            self._lock.acquire()
            undo.callback(self._lock.release)
            examined = examine(self.folder)
            examined.raise_if_unsound()
            self._bodies = open_bodies(self.folder)
            undo.callback(self._bodies.close)
            self._writer = open_writer(self._database)
            undo.callback(self._writer.close)
            try:
                recovery = recover(self._writer, self._bodies)
            except (sqlite3.Error, OSError) as error:
                raise StartError(f"the queue's database {self._database}: {error}") from error
            self._count = mark_as_sound(self.folder, self._writer, examined)
            undo.callback(self._count.close)
            self._reader = open_reader(self._database)
            undo.pop_all()
        self._commit = GroupCommit(
            self._writer,
            self._bodies,
            apply=self._apply,
            committed=self._committed,
            checkpointed=self._count.checkpoint,
            post=post,
            broke=broke,
            log=self._log,
        )
        self._commit.start()
        post(recovery.tell, self._log, self.folder, complete=examined.complete)
        return recovery.last

    def close(self) -> Deferred[None]:
        """See `Storage`."""
        self._closing = True
        for connection in list(self._checks):
            with suppress(sqlite3.ProgrammingError):  # it has ended just now
                connection.interrupt()
        closing = deferToThreadPool(self._reactor, self._readers, self._close)

        def closed(result: Any) -> Any:
            self._readers.stop()
            return result

        return closing.addBoth(closed)

    def _close(self) -> None:
        self._commit.stop()
        # The last connection that is closed checkpoints: the reader cannot, and where a sync
        # has failed nobody may.
        if self._commit.broken is not None:
            self._writer.close()
            self._reader.close()
        else:
            self._reader.close()
            self._writer.close()
        self._count.close()
        self._bodies.close()
        self._lock.release()

    # Bodies.

    def free_space(self) -> int:
        """See `Storage`."""
        status = os.statvfs(self.folder)
        return status.f_bavail * status.f_frsize

    def body(self, number: int) -> BodyFile:
        """See `Storage`."""
        return self._bodies.create(number)

    def open_body(self, number: int, size: int, body_sum: int | None = None) -> BodyReader:
        """See `Storage`."""
        return self._bodies.open(number, size, body_sum)

    # Writing, and what is read by the writer's connection.

    def add(self, new: NewItem, done: Done) -> None:
        """See `Storage`."""
        self._commit.submit(Add(new, done))

    def mark(self, mark: Mark, done: Done) -> None:
        """See `Storage`."""
        self._commit.submit(Conclude(mark, done))

    def use(self, account: str, used: Sequence[Slice]) -> None:
        """See `Storage`."""
        self._commit.submit(Use(account, used))

    def survey(self, services: Container[str], *, now: float, longest: float) -> Deferred[Survey]:
        """See `Storage`."""

        def look(connection: sqlite3.Connection, _: list[int]) -> Survey:
            mend_hints(connection, services)
            bring_forward(connection, now, longest)
            return Survey(list(lanes(connection)), used(connection, now))

        return self._write(look)

    def claim(
        self, lane: str, now: float, *, after: Position, skip: Container[int], room: int
    ) -> Deferred[DuePage]:
        """See `Storage`."""
        return self._write(
            lambda connection, _: due_page(
                connection, self._bodies, lane, now, after, skip=skip, room=room
            )
        )

    def move(self, moved: Sequence[Move]) -> Deferred[None]:
        """See `Storage`."""
        return self._write(lambda connection, _: move(connection, moved))

    def change(
        self, verb: Verb, numbers: Collection[int], *, now: float = 0.0, reason: str = ""
    ) -> Deferred[Changed]:
        """See `Storage`."""
        return self._write(
            lambda connection, removed: change(
                connection, removed, verb, numbers, now=now, reason=reason
            )
        )

    def forget_usage(self, now: float) -> Deferred[None]:
        """See `Storage`."""
        return self._write(lambda connection, _: forget_used(connection, now))

    def _write(self, function: Callable[[sqlite3.Connection, list[int]], T]) -> Deferred[T]:
        """Do something in the writer's next transaction; see `Call`."""
        done: Deferred[T] = Deferred()
        self._commit.submit(Call(function, done.callback, done.errback))
        return done

    def _committed(self) -> None:
        if self._wrote:
            self._count.advance()

    def _apply(
        self,
        connection: sqlite3.Connection,
        jobs: Sequence[Add | Conclude | Use | Call],
        removed: Sequence[int],
    ) -> Iterable[int]:
        """Write what a batch comes to; gives the messages whose body files are to be removed."""
        before = connection.total_changes
        changes = Changes()
        calls: list[Call] = []  # they come last in a batch, and see what it wrote
        for job in jobs:
            if isinstance(job, Call):
                calls.append(job)
            else:
                job.collect(changes)
        changes.write(connection)
        for call in calls:
            call.run(connection, changes.removed_files)
        if removed:
            forget_finished(connection, removed)
        self._wrote = connection.total_changes != before
        if self._wrote:  # else the commit has nothing to sync
            connection.execute(COUNT, (self._count.value + 1,))
        return changes.removed_files

    # Reading beside the writer.

    def find(self, wanted: Filter, *, after: int, limit: int, now: float) -> Deferred[Found]:
        """See `Storage`."""
        return self._read(partial(find, wanted=wanted, after=after, limit=limit, now=now))

    def describe(
        self, numbers: Sequence[int], *, tasks: int, history: bool = False
    ) -> Deferred[list[Description]]:
        """See `Storage`."""
        return self._read(partial(describe, numbers=numbers, tasks=tasks, history=history))

    def load(self, number: int) -> Deferred[Item]:
        """See `Storage`."""

        def read(connection: sqlite3.Connection) -> Item:
            if (message := load(connection, self._bodies, number)) is None:
                raise NoSuchMessage(f"no message {encode_id(number)} is in the queue")
            return message

        return self._read(read)

    def depth(self) -> Deferred[Depth]:
        """See `Storage`."""
        return self._read(count)

    def _read(self, function: Callable[[sqlite3.Connection], T]) -> Deferred[T]:
        return deferToThreadPool(self._reactor, self._readers, _in_snapshot, self._reader, function)

    def check(self) -> Deferred[Report]:
        """See `Storage`: all pages, rows and bodies, by a connection of its own."""

        def check() -> Report:
            with closing(open_reader(self._database)) as connection:
                self._checks.add(connection)
                try:
                    return check_queue(connection, self._bodies, stopped=lambda: self._closing)
                finally:
                    self._checks.discard(connection)

        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), check)


def _in_snapshot(connection: sqlite3.Connection, function: Callable[[sqlite3.Connection], T]) -> T:
    """Read in one transaction, so that all of it is as of one moment."""
    connection.execute("BEGIN")
    try:
        return function(connection)
    finally:
        connection.execute("ROLLBACK")


def open_bodies(folder: Path) -> BodyFolder:
    """The bodies of a queue, whose folder is made where it is missing.

    Raises:
        StartError: it cannot be made.
    """
    path = folder / "bodies"
    try:
        make_folders(path)
        return BodyFolder(path)
    except OSError as error:
        raise StartError(f"cannot make the folder {path}: {error.strerror}") from error


def mark_as_sound(
    folder: Path, connection: sqlite3.Connection, examined: Examination
) -> CommitCount:
    """Bring the marker up to what the queue is now, before the first message is taken.

    Arguments:
        folder: of the queue.
        connection: to its database.
        examined: what was found in the folder.

    Raises:
        StartError: it cannot be written.
    """
    path, before = folder / MARKER, examined.marker
    spool, commits = connection.execute("SELECT id, commits FROM spool").fetchone()
    place = Place.of(folder)
    if before is not None and before.place == NOWHERE:
        place = NOWHERE
    now = Marker(spool, commits, min(examined.checkpointed, commits), place)
    if before is None or (before.spool, before.place) != (now.spool, now.place):
        try:
            now.write(path)
        except OSError as error:
            raise StartError(f"cannot write {path}: {error.strerror}") from error
    if commits == NEVER:
        # Only now may it hold mail: a database file that was never opened so far is a new one.
        connection.execute(COUNT, (NEVER + 1,))
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        now = replace(now, commits=NEVER + 1, checkpointed=NEVER + 1)
    return CommitCount(path, now)
