"""Examines the folder of a queue before anything in it is changed.

A queue that has lost mail, or would send mail twice, is not opened: an empty database in the place
of a full one looks like a new queue, and an older one like the last. What is found is told with its
kind, by which `repair.py` knows what to do about it.

========  =====================================================================================
kind      what is wrong
========  =====================================================================================
access    the system does not let us read or write what is there
marker    the marker is damaged, or missing beside a database that has held mail
lost      the database is missing or empty, and there was one
foreign   the file is another program's database
damaged   the file is no database, or its pages are damaged
newer     a newer netserve has made the tables
other     the database belongs to another queue than the marker
older     the database has fewer commits than the marker: it is an older copy, or its write-ahead
          log is lost
bodies    the folder of bodies is missing, or another one, and messages have their body there
copied    the folder is a copy of a queue
========  =====================================================================================
"""

from __future__ import annotations

import os
import pwd
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

from netserve.errors import StartError
from netserve.outbox.ids import decode_id
from netserve.outbox.sqlite.database import (
    NEVER,
    VERSION,
    DatabaseFile,
    checkpointed_commits,
    missing_from,
    open_unchanged,
    read_header,
)
from netserve.outbox.sqlite.errors import why_not_opened
from netserve.outbox.sqlite.marker import MARKER, Marker, Place

TIME: Final = 0.5
"""Seconds that the pages of the database are looked at when a queue is opened."""

_MOST_ERRORS: Final = 100

Kind = Literal[
    "access", "marker", "lost", "foreign", "damaged", "newer", "other", "older", "bodies", "copied"
]


class Finding(NamedTuple):
    """Something that is wrong with the folder of a queue.

    Arguments:
        kind: see the module.
        what: a sentence without its full stop.
    """

    kind: Kind
    what: str


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found.

    Arguments:
        folder: of the queue.
        file: the database file, from outside.
        marker: of the folder, or None.
        spool: the queue's id in the database, or an empty string.
        commits: of the database.
        checkpointed: of the database file without its write-ahead log.
        findings: everything that is wrong.
        complete: all pages of the database were looked at within the time.
    """

    folder: Path
    file: DatabaseFile
    marker: Marker | None
    spool: str
    commits: int
    checkpointed: int
    findings: tuple[Finding, ...]
    complete: bool

    def raise_if_unsound(self) -> None:
        """Refuse to open the queue where something is wrong.

        Raises:
            StartError: with all that was found.
        """
        if self.findings:
            found = "; ".join(finding.what for finding in self.findings)
            raise StartError(
                f"the queue {self.folder} is not opened, and nothing in it was changed: {found}."
                " See `netserve queue check`; `netserve queue repair` does what can be done"
            )


def examine(folder: Path, *, seconds: float | None = TIME) -> Examination:
    """Examine a folder; it must exist, and its lock must be ours.

    Nothing in it is changed, but that SQLite may make the index of a write-ahead log anew.

    Arguments:
        folder: of the queue.
        seconds: for the pages of the database; None to look at the indexes too, for as long as
            that takes.
    """
    examiner = _Examiner(folder)
    examiner.look(seconds)
    return Examination(
        folder,
        examiner.file,
        examiner.marker,
        examiner.spool,
        examiner.commits,
        examiner.checkpointed,
        tuple(examiner.findings),
        examiner.complete,
    )


class _Examiner:
    """Collects what is found."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "queue.db"
        self.file = DatabaseFile("missing", 0)
        self.marker: Marker | None = None
        self.spool = ""
        self.commits = NEVER
        self.checkpointed = NEVER
        self.findings: list[Finding] = []
        self.complete = True

    def look(self, seconds: float | None) -> None:
        self.findings += _inaccessible(self.folder)
        if self.findings:
            return
        try:
            self.marker = Marker.read(self.folder / MARKER)
        except (ValueError, OSError) as error:
            self._found("marker", str(error))
        try:
            self.file = read_header(self.database)
        except OSError as error:
            self._found("access", f"cannot read {self.database}: {error.strerror}")
            return
        look = {
            "missing": self._absent,
            "empty": self._absent,
            "foreign": self._foreign,
            "damaged": self._no_database,
            "ours": lambda: self._ours(seconds),
        }
        look[self.file.kind]()
        if self.marker is not None and (
            why := Place.of(self.folder).copied_from(self.marker.place)
        ):
            self._found(
                "copied",
                f"this seems to be a copy of a queue, since {why}; were both to run, they would"
                " send each message twice",
            )

    def _found(self, kind: Kind, what: str) -> None:
        self.findings.append(Finding(kind, what))

    def _absent(self) -> None:
        word = "missing" if self.file.kind == "missing" else "empty"
        bodies = _count_bodies(self.folder / "bodies")
        if bodies:
            self._found(
                "lost",
                f"the database {self.database} is {word}, but bodies of messages are in"
                f" {self.folder / 'bodies'}",
            )
        elif self.marker is not None:
            self._found(
                "lost",
                f"the database {self.database} is {word}, but the marker says that there was one",
            )
        elif _size(self.folder / "queue.db-wal"):
            self._found(
                "lost", f"the database {self.database} is {word}, but its write-ahead log is there"
            )

    def _foreign(self) -> None:
        self._found("foreign", f"{self.database} is not the database of a netserve queue")

    def _no_database(self) -> None:
        self._found("damaged", f"{self.database} is damaged: the file is not a database")

    def _ours(self, seconds: float | None) -> None:
        if self.file.version > VERSION:
            self._newer(self.file.version)
            return
        if _size(self.folder / "queue.db-journal"):
            if self.marker is not None:
                self._found(
                    "damaged",
                    f"a rollback journal of another database is beside {self.database}, and would"
                    " be written into it",
                )
            return  # the tables were being made; SQLite undoes that
        try:
            with closing(open_unchanged(self.database)) as connection:
                self._read(connection)
                if not any(finding.kind == "newer" for finding in self.findings):
                    self.complete = self._check_pages(connection, seconds)
        except sqlite3.OperationalError as error:  # the system is to blame, or another program
            why = why_not_opened(error, self.folder)
            self._found("access", f"cannot open {self.database}: {why}")
        except sqlite3.Error as error:
            self._found("damaged", f"{self.database} is damaged: {error}")

    def _read(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            self._newer(version)
            return
        if missing := missing_from(connection):
            self._found("damaged", f"{self.database} lacks {', '.join(missing)}")
            return
        if version >= 3:
            row = connection.execute("SELECT id, commits FROM spool").fetchone()
            self.spool, self.commits = row or ("", NEVER)
            checkpointed = checkpointed_commits(self.database)
            if checkpointed is None:
                checkpointed = NEVER if self.marker is None else self.marker.checkpointed
            self.checkpointed = checkpointed
        self._compare_with_marker(version)
        self._look_at_bodies(connection)

    def _newer(self, version: int) -> None:
        self._found(
            "newer",
            f"{self.database} has version {version} of the tables, this netserve needs {VERSION}:"
            " a newer one has made it",
        )

    def _compare_with_marker(self, version: int) -> None:
        marker = self.marker
        if marker is None:
            damaged = any(finding.kind == "marker" for finding in self.findings)
            if self.commits > NEVER and not damaged:
                self._found(
                    "marker",
                    f"the marker {self.folder / MARKER} is missing; the folder may be a part of a"
                    " queue only",
                )
        elif version < 3:
            self._found(
                "older", f"the database {self.database} is of a time before this queue had a marker"
            )
        elif self.spool != marker.spool:
            self._found(
                "other", f"the database {self.database} belongs to another queue than the marker"
            )
        elif self.checkpointed < marker.checkpointed:
            self._found(
                "older",
                f"the database {self.database} is older than its write-ahead log: an older copy was"
                " put in its place",
            )
        elif self.commits < marker.commits:
            self._found(
                "older",
                f"the database {self.database} has lost transactions: it has {self.commits}, and"
                f" had {marker.commits}; either an older copy was put in its place, or its"
                f" write-ahead log was lost or damaged",
            )

    def _look_at_bodies(self, connection: sqlite3.Connection) -> None:
        bodies = self.folder / "bodies"
        before = dict(self.marker.place.inodes).get("bodies") if self.marker is not None else None
        missing = not bodies.is_dir()
        if not missing and before in (None, bodies.stat().st_ino):
            return
        wanted = {number for (number,) in connection.execute(_IN_FILES)}
        lost = len(wanted - set() if missing else wanted - _numbers(bodies))
        if lost:
            word = "is missing" if missing else "is another one than before"
            self._found(
                "bodies", f"the folder {bodies} {word}, and lacks the bodies of {lost} messages"
            )

    def _check_pages(self, connection: sqlite3.Connection, seconds: float | None) -> bool:
        """Look at the pages; whether it came to its end in time."""
        timer = None
        if seconds is not None:
            timer = threading.Timer(seconds, connection.interrupt)
            timer.daemon = True
            timer.start()
        check = "integrity_check" if seconds is None else "quick_check"
        try:
            rows = connection.execute(f"PRAGMA {check}({_MOST_ERRORS})").fetchall()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                return False
            raise
        finally:
            if timer is not None:
                timer.cancel()
                timer.join()
        errors = [" ".join(str(text).split()) for (text,) in rows if text != "ok"]
        # A damaged row is held when it is read, and stops no other.
        errors = [error for error in errors if not error.startswith("NULL value in ")]
        if errors:
            self._found("damaged", f"{self.database} is damaged: {errors[0]}")
        return True


_IN_FILES: Final = "SELECT id FROM message INDEXED BY message_in_file WHERE in_file = 1"


def _inaccessible(folder: Path) -> Iterator[Finding]:
    """What we may not read or write, with its owner."""
    names = (
        "", "bodies", "quarantine", "lock", MARKER, "queue.db", "queue.db-wal", "queue.db-shm",
        "queue.db-journal",
    )  # fmt: skip
    for name in names:
        path = folder / name if name else folder
        with suppress(FileNotFoundError, PermissionError):
            status = path.lstat()
            mode = os.R_OK | os.W_OK | (os.X_OK if path.is_dir() else 0)
            if not os.access(path, mode, effective_ids=True):
                yield Finding("access", f"cannot write to {path}{_because(path, status)}")


def _because(path: Path, status: os.stat_result) -> str:
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return ", whose file system is read-only"
    me = os.geteuid()
    if status.st_uid == me:
        return ""
    return f", which belongs to {_user(status.st_uid)}; netserve runs as {_user(me)}"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"the user {uid}"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _numbers(bodies: Path) -> set[int]:
    found: set[int] = set()
    with suppress(FileNotFoundError), os.scandir(bodies) as entries:
        for entry in entries:
            with suppress(ValueError):
                found.add(decode_id(entry.name))
    return found


def _count_bodies(bodies: Path) -> int:
    return len(_numbers(bodies))
