"""Group commit: one thread, one connection, one transaction for all that waits.

What a batch goes through, in this order, and what follows where a step fails:

=====  ===========================================  ======================================
step   what is done                                 when it fails
=====  ===========================================  ======================================
sync   each new body file is fdatasync'ed           full: the batch is refused;
link   each is given its name                       else the store is broken
dir    the folder is fsync'ed, once
begin  BEGIN IMMEDIATE
apply  the rows of all jobs                         full: new mail is refused, the rest is
                                                    tried by itself; a bug: job by job
mark   COMMIT: the WAL is written and synced        full: the same; else broken, in doubt
reply  all jobs are settled, by one call            -
count  the marker gets the count of commits         it keeps a lower one
clean  bodies of deleted messages are unlinked      they stay until the next start
check  a checkpoint, when the WAL has grown         broken
=====  ===========================================  ======================================

Broken is for good: after a failed sync nobody knows what is on the disk, and a second sync that
succeeds says nothing about the data of the first. Every further job fails with `StorageFailed`,
and the connection is closed without a checkpoint.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final, Protocol

from twisted.logger import Logger
from twisted.python.failure import Failure

from netserve.outbox.errors import OutboxError, StorageFailed
from netserve.outbox.ids import encode_id
from netserve.outbox.sqlite.bodies import BodyFile, BodyFolder
from netserve.outbox.sqlite.errors import is_full, storage_error

BATCH: Final = 256
"""So many jobs at most in one transaction, so that replies do not wait for a long one."""
CHECKPOINT: Final = 32 * 1024 * 1024
"""The WAL is written back when it has about so many bytes."""
_PAGE: Final = 4096
_PAGES_OF_A_BATCH: Final = 8
_BUGS: Final = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError)


class Job(Protocol):
    """Something that is to be in a transaction.

    `file` is a new body that goes with it, or None; `is_new_mail` says that nobody loses anything
    when it is refused; `weight` is about how many bytes it writes. `reads` says that it looks at
    what the others of its batch wrote: it is applied after them, and so must be settled after
    them. `settle` is called in the reactor's thread, after the commit with None, or with the error.
    """

    @property
    def file(self) -> BodyFile | None: ...
    @property
    def is_new_mail(self) -> bool: ...
    @property
    def weight(self) -> int: ...
    @property
    def reads(self) -> bool: ...

    def settle(self, error: OutboxError | None) -> None:
        """Take the result."""


class GroupCommit:
    """The writer thread.

    Arguments:
        connection: for this thread alone.
        bodies: where body files are.
        apply: puts the rows of jobs into the open transaction, and gives the numbers of the
            messages whose body files are to be removed after the commit; it is also given the
            numbers of those whose removal is durable by now.
        committed: is called in the writer's thread after each commit.
        checkpointed: is called there when the whole write-ahead log is in the database file.
        post: calls a function in the reactor's thread (`callFromThread`).
        broke: is called there once, with the reason, when the store breaks.
        log: for errors of those who take the results.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        bodies: BodyFolder,
        *,
        apply: Callable[[sqlite3.Connection, Sequence[Any], Sequence[int]], Iterable[int]],
        committed: Callable[[], None],
        checkpointed: Callable[[], None],
        post: Callable[..., object],
        broke: Callable[[OutboxError], None],
        log: Logger,
    ) -> None:
        self.commits = 0
        """Transactions so far, for tests and metrics."""
        self.broken: StorageFailed | None = None
        self._connection = connection
        self._bodies = bodies
        self._apply = apply
        self._committed = committed
        self._checkpointed = checkpointed
        self._post = post
        self._broke = broke
        self._log = log
        self._waiting: SimpleQueue[Job | None] = SimpleQueue()
        self._written = 0
        self._removed: list[int] = []  # since the folder of bodies was synced last
        self._gone: list[int] = []  # what a power loss cannot bring back
        self._thread = Thread(target=self._run, name="outbox-writer", daemon=True)

    def start(self) -> None:
        """Begin to take jobs."""
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Put a job into the next batch; it is settled later, never at once."""
        self._waiting.put(job)

    def stop(self) -> None:
        """Finish what waits, and end the thread; blocks until then."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        going = True
        while going:
            jobs = self._take()
            going = jobs[-1] is not None
            batch = [job for job in jobs if job is not None]
            batch.sort(key=_reads)
            try:
                if batch:
                    self._commit(batch)
            except Exception as error:  # ours: a thread that is gone would let all wait for ever
                self._post(self._log.failure, "in the queue's writer", Failure())
                self._break(batch, error, in_doubt=True)

    def _take(self) -> list[Job | None]:
        """All that waits, at least one; None stands at the end when that is the end."""
        jobs: list[Job | None] = [self._waiting.get()]
        try:
            while jobs[-1] is not None and len(jobs) < BATCH:
                jobs.append(self._waiting.get_nowait())
        except Empty:
            pass
        return jobs

    def _commit(self, batch: list[Job]) -> None:
        if self.broken is not None:
            self._refuse(batch, self.broken)
            return
        try:
            self._publish([job.file for job in batch if job.file is not None])
        except Exception as error:
            self._not_published(batch, error)
        else:
            self._transact(batch)

    def _publish(self, files: list[BodyFile]) -> None:
        for file in files:
            file.sync()
        for file in files:
            file.publish()
        if files:
            self._bodies.sync()
            self._gone += self._removed
            self._removed.clear()

    def _not_published(self, batch: list[Job], error: Exception) -> None:
        if not is_full(error):
            self._break(batch, error)
            return
        self._refuse([job for job in batch if job.file is not None], storage_error(error))
        rest = [job for job in batch if job.file is None]
        if rest:
            self._transact(rest)

    def _transact(self, batch: list[Job]) -> None:
        try:
            removed = self._in_transaction(batch)
        except Exception as error:
            self._not_committed(batch, error)
            return
        self.commits += 1
        self._gone.clear()
        for job in batch:
            if job.file is not None:
                job.file.close()
        self._post(self._settle, batch, None)
        self._committed()
        self._clean(removed)
        self._written += _PAGES_OF_A_BATCH * _PAGE + sum(job.weight for job in batch)
        if self._written > CHECKPOINT:
            self._checkpoint()

    def _clean(self, removed: Iterable[int]) -> None:
        for number in removed:
            try:
                self._bodies.remove(number)
            except OSError as error:
                text = "the body of {id} stays until the next start: {error}"
                self._post(self._log.error, text, id=encode_id(number), error=str(error))
            else:
                self._removed.append(number)

    def _in_transaction(self, batch: list[Job]) -> list[int]:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            removed = list(self._apply(connection, batch, self._gone))
        except BaseException:
            self._roll_back()
            raise
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            if is_full(error):
                raise
            raise _InDoubtError(str(storage_error(error))) from error
        return removed

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):  # the first error is the one to be told
                self._connection.execute("ROLLBACK")

    def _not_committed(self, batch: list[Job], error: Exception) -> None:
        """Nothing of the batch is in the database, unless the error is _InDoubtError."""
        if is_full(error):
            self._without_new_mail(batch, storage_error(error))
        elif isinstance(error, sqlite3.Error) and not isinstance(error, _BUGS):
            self._break(batch, error)
        elif isinstance(error, _InDoubtError):
            self._break(batch, error, in_doubt=True)
        elif len(batch) > 1:
            for job in batch:
                self._transact([job])
        else:
            self._refuse(batch, StorageFailed(f"{type(error).__name__}: {error}"))

    def _without_new_mail(self, batch: list[Job], error: OutboxError) -> None:
        self._refuse([job for job in batch if job.is_new_mail], error)
        rest = [job for job in batch if not job.is_new_mail]
        if rest and len(rest) < len(batch):
            self._transact(rest)
        else:
            self._refuse(rest, error)

    def _checkpoint(self) -> None:
        try:
            row = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            if is_full(error):
                self._written //= 2  # a while later there may be space
            else:
                self._break([], error)
            return
        _, pages, written_back = row
        if pages == written_back:
            self._checkpointed()
        self._written = max(pages - written_back, 0) * _PAGE

    def _break(self, batch: list[Job], error: Exception, *, in_doubt: bool = False) -> None:
        self.broken = StorageFailed(str(storage_error(error)))
        self._post(self._broke, self.broken)
        self._refuse(batch, self.broken, keep_files=in_doubt)

    def _refuse(self, batch: list[Job], error: OutboxError, *, keep_files: bool = False) -> None:
        for job in batch:
            if job.file is not None:
                # A file whose row may be there is looked at again at the next start.
                if keep_files:
                    job.file.close()
                else:
                    job.file.discard()
        self._post(self._settle, batch, error)

    def _settle(self, batch: list[Job], error: OutboxError | None) -> None:
        for job in batch:
            try:
                job.settle(error)
            except Exception:  # the others must have their results
                self._log.failure("a result of the queue's store was not taken")


class _InDoubtError(Exception):
    """The commit failed, and the next start may find it done all the same."""


def _reads(job: Job) -> bool:
    return job.reads
