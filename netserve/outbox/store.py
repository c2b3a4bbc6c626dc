"""The durable store. What is written here is what a restart finds.

The states of a recipient:

==========  ==========  ==================================================================
from        to          by
==========  ==========  ==================================================================
(nothing)   queued      the commit of an incoming message, or of a bounce
queued      queued      a deferral: a later `next_at`, one attempt more
queued      done        the courier's outcome `delivered`
queued      failed      the outcome `failed`, or the end of its life; the bounce is inserted by
                        the same transaction
queued      held        the verb hold; a body that is missing (quarantine); a bounce that cannot
                        be made, by an error of ours
held        queued      the verb release
held        done,       a delivery that was under way when it was held
            failed
==========  ==========  ==================================================================

A message is there as long as one of its recipients is queued or held; the transaction that ends
the last of them deletes it. Deliveries that are under way are no state of the store: after a
crash they are queued still, and made again. That is the promise, at least once.

Queued recipients keep their `next_at` over a restart; those whose time has passed meanwhile are
due at once.

Guarantees: a message whose commit was reported is found by every later start. A message whose
commit was refused is not found, unless the commit itself was in doubt (see commit.py). A start
removes nothing that was accepted: it refuses a folder that has lost mail (see examine.py), moves a
body without a row to the quarantine, and holds a row without its body; each is logged.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from twisted.logger import Logger

from netserve.durable import make_folders
from netserve.errors import StartError
from netserve.outbox.bodies import BodyFolder
from netserve.outbox.changes import Call, Changes, Mark, NewMessage, Used
from netserve.outbox.commit import GroupCommit
from netserve.outbox.database import COUNT, NEVER, open_reader, open_writer
from netserve.outbox.errors import OutboxError
from netserve.outbox.examine import Examination, examine
from netserve.outbox.lock import LOCK, SpoolLock
from netserve.outbox.marker import MARKER, NOWHERE, CommitCount, Marker, Place
from netserve.outbox.recovery import Recovery, forget_finished, recover

T = TypeVar("T")


class Store:
    """The folder of the queue: its lock, its marker, its database, its bodies.

    `open` and `close` block, and are called away from the reactor's thread. Everything else is
    called in it.

    Arguments:
        folder: made where it is missing.
        post: calls a function in the reactor's thread (`callFromThread`).
        broke: is called there once, with the reason, when the store takes no more mail.
        log: for errors of those who take results.
    """

    def __init__(
        self,
        folder: Path,
        *,
        post: Callable[..., object],
        broke: Callable[[OutboxError], None],
        log: Logger,
    ) -> None:
        self.folder = folder
        self.database = folder / "queue.db"
        self.bodies: BodyFolder
        self.reader: sqlite3.Connection
        """For reading beside the writer; one thread at a time."""
        self._lock = SpoolLock(folder / LOCK)
        self._post = post
        self._broke = broke
        self._log = log
        self._commit: GroupCommit
        self._writer: sqlite3.Connection
        self._count: CommitCount
        self._wrote = False  # whether the last batch has changed anything

    @property
    def broken(self) -> OutboxError | None:
        """Why it takes no more mail, or None."""
        return self._commit.broken

    @property
    def commits(self) -> int:
        """Transactions since it was opened."""
        return self._commit.commits

    def open(self) -> Recovery:
        """Lock, examine, open, repair; says what was found.

        Raises:
            StartError: locked by another process, unwritable, damaged, or mail is missing.
        """
        try:
            make_folders(self.folder)
        except OSError as error:
            raise StartError(f"cannot make the queue {self.folder}: {error.strerror}") from error
        with ExitStack() as undo:
            self._lock.acquire()
            undo.callback(self._lock.release)
            examined = examine(self.folder)
            examined.raise_if_unsound()
            self.bodies = open_bodies(self.folder)
            undo.callback(self.bodies.close)
            self._writer = open_writer(self.database)
            undo.callback(self._writer.close)
            recovery = self._recover()
            self._count = mark_as_sound(self.folder, self._writer, examined)
            undo.callback(self._count.close)
            self.reader = open_reader(self.database)
            undo.pop_all()
        self._commit = GroupCommit(
            self._writer,
            self.bodies,
            apply=self._apply,
            committed=self._committed,
            checkpointed=self._count.checkpoint,
            post=self._post,
            broke=self._broke,
            log=self._log,
        )
        self._commit.start()
        return replace(recovery, complete=examined.complete)

    def _recover(self) -> Recovery:
        try:
            return recover(self._writer, self.bodies)
        except (sqlite3.Error, OSError) as error:
            raise StartError(f"the queue's database {self.database}: {error}") from error

    def close(self) -> None:
        """Finish what waits to be written, and let everything go."""
        self._commit.stop()
        # The last connection that is closed checkpoints: the reader cannot, and where a sync
        # has failed nobody may.
        if self._commit.broken is not None:
            self._writer.close()
            self.reader.close()
        else:
            self.reader.close()
            self._writer.close()
        self._count.close()
        self.bodies.close()
        self._lock.release()

    def add(self, message: NewMessage) -> None:
        """Make a message durable."""
        self._commit.submit(message)

    def mark(self, mark: Mark | Used) -> None:
        """Make an outcome, or what it takes of quotas, durable."""
        self._commit.submit(mark)

    def call(
        self,
        function: Callable[[sqlite3.Connection, list[int]], T],
        done: Callable[[T], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """Do something else in the writer's next transaction; see `Call`."""
        self._commit.submit(Call(function, done, failed))

    def _committed(self) -> None:
        if self._wrote:
            self._count.advance()

    def _apply(
        self,
        connection: sqlite3.Connection,
        jobs: Sequence[NewMessage | Mark | Used | Call],
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
