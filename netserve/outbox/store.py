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
commit was refused is not found, unless the commit itself was in doubt (see commit.py). A file
without a row is removed at the next start; a row without its file is held, and said in the log.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from twisted.logger import Logger

from netserve.durable import make_folders
from netserve.errors import StartError
from netserve.outbox.bodies import BodyFolder
from netserve.outbox.changes import Call, Changes, Mark, NewMessage
from netserve.outbox.commit import GroupCommit
from netserve.outbox.database import open_reader, open_writer
from netserve.outbox.errors import OutboxError
from netserve.outbox.lock import LOCK, SpoolLock
from netserve.outbox.recovery import Recovery, recover

T = TypeVar("T")


class Store:
    """The folder of the queue: its lock, its database, its bodies.

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

    @property
    def broken(self) -> OutboxError | None:
        """Why it takes no more mail, or None."""
        return self._commit.broken

    @property
    def commits(self) -> int:
        """Transactions since it was opened."""
        return self._commit.commits

    def open(self) -> Recovery:
        """Lock, open, repair; says what was found.

        Raises:
            StartError: locked by another process, unwritable, damaged.
        """
        try:
            bodies = self.folder / "bodies"
            make_folders(bodies)
        except OSError as error:
            raise StartError(f"cannot make the queue {self.folder}: {error.strerror}") from error
        self._lock.acquire()
        self.bodies = BodyFolder(bodies)
        try:
            self._refuse_lost_database()
            self._writer = open_writer(self.database)
            recovery = self._recover()
            self.reader = open_reader(self.database)
        except BaseException:
            self.bodies.close()
            self._lock.release()
            raise
        self._commit = GroupCommit(
            self._writer,
            self.bodies,
            apply=_apply,
            post=self._post,
            broke=self._broke,
            log=self._log,
        )
        self._commit.start()
        return recovery

    def _refuse_lost_database(self) -> None:
        if not self.database.exists() and len(self.bodies.numbers()):
            raise StartError(
                f"the queue's database {self.database} is gone, but bodies of its messages are in"
                f" {self.bodies.path}; restore it, or move these away"
            )

    def _recover(self) -> Recovery:
        try:
            return recover(self._writer, self.bodies)
        except (sqlite3.Error, OSError) as error:
            self._writer.close()
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
        self.bodies.close()
        self._lock.release()

    def add(self, message: NewMessage) -> None:
        """Make a message durable."""
        self._commit.submit(message)

    def mark(self, mark: Mark) -> None:
        """Make an outcome durable."""
        self._commit.submit(mark)

    def call(
        self,
        function: Callable[[sqlite3.Connection, list[int]], T],
        done: Callable[[T], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """Do something else in the writer's next transaction; see `Call`."""
        self._commit.submit(Call(function, done, failed))


def _apply(
    connection: sqlite3.Connection, jobs: Sequence[NewMessage | Mark | Call]
) -> Iterable[int]:
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
    return changes.removed_files
