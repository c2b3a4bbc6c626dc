"""Repairs the folder of a queue whose process does not run.

Nothing is removed. A database that is replaced, with its write-ahead log, goes to a folder
``aside-DATE`` of its own; bodies of which nothing is known go to the quarantine; messages that are
damaged are held. What has happened to the folder decides what is done:

=============  ================================================================================
finding        what is done
=============  ================================================================================
lost, foreign  a new database is made; where there is a write-ahead log its pages are used
damaged        what can be read is copied into a new database
older, other   the database is taken as it is; where more can be read of its log, that is copied
               into a new one
marker         it is written anew
bodies         messages whose body is lacking are held
copied         with `adopt` it is taken for the queue itself
access, newer  nothing
=============  ================================================================================
"""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from netserve.durable import make_folders, sync_folder
from netserve.errors import StartError
from netserve.outbox.errors import StorageFailed
from netserve.outbox.records import Report
from netserve.outbox.sqlite.bodies import BodyFolder, StoredBodies, free_name
from netserve.outbox.sqlite.checking import check_pages, check_rows, count_quarantine
from netserve.outbox.sqlite.database import COUNT, NEVER, VERSION, open_unchanged, open_writer
from netserve.outbox.sqlite.examine import examine
from netserve.outbox.sqlite.hints import unroute
from netserve.outbox.sqlite.lock import LOCK, SpoolLock
from netserve.outbox.sqlite.marker import MARKER, NOWHERE, Marker, Place
from netserve.outbox.sqlite.recovery import hold, recover
from netserve.outbox.sqlite.salvage import (
    insert_messages,
    insert_unknown_recipients,
    known_senders,
    salvage,
    with_log,
)

HELD: Final = "held by a repair of the queue; it may have been sent before"
_FILES: Final = ("queue.db-wal", "queue.db-shm", "queue.db-journal")
_MADE_HERE: Final = ("begin.db", "with-log.db")
_NOTHING_HELPS: Final = frozenset({"access", "newer"})
_REPLACED: Final = frozenset({"lost", "foreign", "damaged"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the operator decides.

    Arguments:
        adopt: the folder is a copy, and the original will not run again.
        anywhere: from now on machine and inode numbers are not compared.
        hold: all queued messages are held, since some may have been sent already.
    """

    adopt: bool = False
    anywhere: bool = False
    hold: bool = False


@contextmanager
def locked(folder: Path, *, to_look: bool = False) -> Iterator[None]:
    """Have the lock of a queue.

    Raises:
        StartError: a process has it, or there is no queue.
    """
    if not folder.is_dir():
        raise StartError(f"there is no queue {folder}")
    lock = SpoolLock(folder / LOCK)
    if to_look:
        lock.acquire_shared()
    else:
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def check(folder: Path) -> Report:
    """Check the queue of a process that does not run; its lock must be ours."""
    examined = examine(folder, seconds=0.0)  # the pages come later
    report = Report([finding.what for finding in examined.findings])
    if examined.file.kind != "ours" or any(f.kind == "newer" for f in examined.findings):
        return report
    bodies = StoredBodies(folder / "bodies")
    count_quarantine(report, bodies)
    try:
        with closing(open_unchanged(folder / "queue.db")) as connection:
            if not any(finding.kind == "damaged" for finding in examined.findings):
                report.findings += check_pages(connection)
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version < VERSION:
                report.notes.append(
                    f"the tables are of version {version}: the next start upgrades them, and their"
                    " rows can be checked then"
                )
                return report
            report.damages += check_rows(
                lambda function: function(connection), bodies, counts=report.counts
            )
            report.counts["unknown"] = _unknown(connection, bodies)
    except sqlite3.DatabaseError as error:
        report.findings.append(f"the rows cannot all be read: {error}")
    return report


def _unknown(connection: sqlite3.Connection, bodies: StoredBodies) -> int:
    """How many bodies there are of which the database knows nothing."""
    known = connection.execute("SELECT id FROM message WHERE in_file = 1")
    numbers = {number for (number,) in known}
    numbers.update(number for (number,) in connection.execute("SELECT id FROM finished"))
    return len(set(bodies.numbers()) - numbers) if bodies.path.is_dir() else 0


class Repair:
    """One repair; the queue's lock must be ours.

    Arguments:
        folder: of the queue.
        wishes: of the operator.
        stamp: names the folder for what is put aside, such as ``20260102-030405``; a number
            follows it where that folder exists.
    """

    def __init__(self, folder: Path, wishes: Wishes, *, stamp: str) -> None:
        self._folder = folder
        self._database = folder / "queue.db"
        self._aside = free_name(folder, f"aside-{stamp}")
        self._wishes = wishes
        self._examined = examine(folder, seconds=None)
        self._kinds = {finding.kind for finding in self._examined.findings}
        self.done: list[str] = []
        """What was done, in sentences without full stops."""

    @property
    def findings(self) -> list[str]:
        """What is wrong with the folder, in sentences without full stops."""
        return [finding.what for finding in self._examined.findings]

    def obstacle(self) -> str | None:
        """Why nothing can be done, or None."""
        if self._kinds & _NOTHING_HELPS:
            return "that cannot be repaired here"
        if "copied" in self._kinds and not self._wishes.adopt:
            return (
                "if the original is gone for good, and this copy is to go on in its place, say so"
                " with --adopt"
            )
        return None

    def plan(self) -> list[str]:
        """What `run` is going to do, in sentences without full stops."""
        steps = []
        if self._kinds & _REPLACED:
            steps.append(f"put the database aside in {self._aside}, and make a new one")
        if "damaged" in self._kinds:
            steps.append("copy into it what can be read of the old one")
        if _size(self._log) and self._kinds & {"lost", "older"}:
            steps.append("take what can be read of the write-ahead log")
        if self._kinds & {"older", "other"}:
            steps.append(
                "go on with the database as it is: mail that was sent since may be sent again,"
                " unless --hold is given"
            )
        if "copied" in self._kinds:
            steps.append("take this folder for the queue itself")
        if self._kinds:
            steps.append("write the marker anew")
        steps.append("hold messages that are damaged or lack their body")
        if self._wishes.hold:
            steps.append("hold all messages")
        return steps

    def run(self) -> Report:
        """Do it; gives what a check finds afterwards.

        Raises:
            StartError, OSError, StorageFailed: it did not end; nothing is removed.
        """
        try:
            return self._run()
        except sqlite3.Error as error:
            raise StorageFailed(f"{self._database}: {error}") from error

    def _run(self) -> Report:
        self._put_journal_aside()
        senders = known_senders(self._database) if self._examined.file.kind == "ours" else {}
        self._replace_database()
        make_folders(self._folder / "bodies")
        with (
            closing(open_writer(self._database)) as connection,
            closing(BodyFolder(self._folder / "bodies")) as bodies,
        ):
            self._mend_rows(connection, bodies, senders)
            self._mark(connection)
        return check(self._folder)

    @property
    def _log(self) -> Path:
        return self._folder / "queue.db-wal"

    def _put_journal_aside(self) -> None:
        journal = self._folder / "queue.db-journal"
        if self._examined.marker is not None and _size(journal):
            self._make_aside()
            journal.rename(self._aside / journal.name)
            self._tell(f"put {journal} aside")
            self._examined = examine(self._folder, seconds=None)
            self._kinds = {finding.kind for finding in self._examined.findings}

    def _make_aside(self) -> None:
        make_folders(self._aside)

    def _tell(self, what: str) -> None:
        self.done.append(what)

    # The database.

    def _replace_database(self) -> None:
        new = self._folder / "queue.db.new"
        source = self._source()
        if source is None and not self._kinds & _REPLACED:
            return
        for path in self._folder.glob("queue.db.new*"):  # of a repair that was ended
            path.unlink()
        if source is None:
            open_writer(new).close()
            self._tell("made a new, empty database")
        else:
            copied = salvage(source, new)
            self._tell(f"copied {_in_words(copied)} into a new database")
        self._put_database_aside()
        new.rename(self._database)
        sync_folder(self._folder)
        for name in _MADE_HERE:
            (self._aside / name).unlink(missing_ok=True)

    def _source(self) -> Path | None:
        """What the rows of a new database are copied from, or None."""
        if "damaged" in self._kinds:
            return self._database if self._examined.file.kind == "ours" else None
        if not _size(self._log) or not self._kinds & {"lost", "older"}:
            return None
        self._make_aside()
        begin, whole = self._database, self._aside / "with-log.db"
        if "lost" in self._kinds:
            # The pages that are in no log are those of any new database.
            begin = self._aside / "begin.db"
            open_writer(begin).close()
        commits = with_log(begin, self._log, whole)
        if commits > max(self._examined.commits, NEVER):
            return whole
        whole.unlink()
        # SQLite is going to take what it can of the log, and to write over the rest.
        shutil.copy2(self._log, self._aside / self._log.name)
        return None

    def _put_database_aside(self) -> None:
        """Let a database that SQLite could open never be there with another one's log."""
        self._make_aside()
        for name in _FILES:
            with suppress(FileNotFoundError):
                (self._folder / name).rename(self._aside / name)
        with suppress(FileNotFoundError):
            self._database.rename(self._aside / "queue.db")
        sync_folder(self._aside)
        sync_folder(self._folder)
        self._tell(f"put the old one aside in {self._aside}")

    # The rows.

    def _mend_rows(
        self, connection: sqlite3.Connection, bodies: BodyFolder, senders: dict[int, str]
    ) -> None:
        connection.execute("BEGIN IMMEDIATE")
        made = insert_messages(connection, bodies, senders)
        made += insert_unknown_recipients(connection)
        connection.execute("COMMIT")
        if made:
            self._tell(f"made lost rows of {made} messages anew, and held these")
        recovery = recover(connection, bodies)
        if recovery.quarantined:
            self._tell(f"moved {recovery.quarantined} bodies without a message to the quarantine")
        damages = list(check_rows(lambda read: read(connection), bodies, counts=Counter()))
        for damage in damages:
            hold(connection, [damage.number], damage.what)
        unroute(connection)
        if damages:
            self._tell(f"held {len(damages)} messages that are damaged or lack their body")
        if self._wishes.hold:
            changed = connection.execute(
                "UPDATE recipient SET state = 1, last = ? WHERE +state = 0", (HELD,)
            ).rowcount
            self._tell(f"held {changed} recipients")

    def _mark(self, connection: sqlite3.Connection) -> None:
        marker = self._examined.marker
        known = marker.commits if marker is not None else NEVER
        spool, commits = connection.execute("SELECT id, commits FROM spool").fetchone() or ("", 0)
        if not spool:
            connection.execute("DELETE FROM spool")
            connection.execute("INSERT INTO spool VALUES (lower(hex(randomblob(16))), 0)")
            (spool,) = connection.execute("SELECT id FROM spool").fetchone()
        # More than there ever were, so that an older copy is told from this one too.
        commits = max(commits, known) + 1
        connection.execute(COUNT, (commits,))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        place = Place.of(self._folder)
        if self._wishes.anywhere or (marker is not None and marker.place == NOWHERE):
            place = NOWHERE
        Marker(spool, commits, commits, place).write(self._folder / MARKER)
        if self._kinds:
            self._tell("wrote the marker anew")


def _in_words(copied: Counter[str]) -> str:
    return (
        f"{copied['message']} messages, {copied['recipient']} recipients, {copied['body']} bodies"
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
