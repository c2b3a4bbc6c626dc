"""The marker: what the folder of a queue knows of itself, beside the database.

It tells a new folder from one whose database is lost, an older database from the last one, and a
copy of a queue from the queue itself, which would send everything twice.

The file ``marker`` is text. Its counts are written over in place and not synced: the first after
each transaction, the second, of the transactions that are in the database file itself, after a
checkpoint. What a crash leaves there is at most what the database had, so a database with a lower
count has lost transactions whose mail was accepted. Everything else in the marker is written when
the queue is made or has passed an examination, in one step, and synced.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from zlib import crc32

from netserve.durable import replace_file
from netserve.errors import StartError

MARKER: Final = "marker"
"""The file in the folder of the queue."""
_ANYWHERE: Final = "anywhere"
"""Stands for the inode numbers where these change though the folder does not."""
_FIRST_LINE: Final = b"netserve queue 1\n"
_COUNT_AT: Final = len(_FIRST_LINE)
_FORM: Final = re.compile(
    rb"netserve queue 1\n(commits (\d{20}) (\d{20}) [0-9a-f]{8}\n)"
    rb"(spool ([0-9a-f]{32})\nmachine (-|[0-9a-f]{32})\ninodes ([^\n]+)\n)check ([0-9a-f]{8})\n"
)
_MACHINE_IDS: Final = ("/etc/machine-id", "/var/lib/dbus/machine-id")
_LARGEST: Final = 4096


@dataclass(frozen=True, slots=True)
class Place:
    """Where a queue is.

    Arguments:
        machine: a hash of the machine's id; empty where it has none.
        inodes: by name, the inode numbers of the folder (``.``) and of what stays in it for good.
    """

    machine: str
    inodes: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, folder: Path) -> Self:
        """The place of a folder as it is now."""
        inodes = []
        for name in (".", "bodies", "lock", "queue.db"):
            with contextlib.suppress(OSError):
                inodes.append((name, (folder / name).stat().st_ino))
        return cls(machine_id(), tuple(inodes))

    def copied_from(self, before: Place) -> str | None:
        """Why this seems to be a copy of a queue that was at another place, or None.

        A folder that was renamed, or one file in it that was replaced, is no copy.
        """
        if self.machine and before.machine and self.machine != before.machine:
            return "it was made on another machine"
        if not before.inodes or not self.inodes:
            return None
        then = dict(before.inodes)
        other = {name for name, inode in self.inodes if then.get(name, inode) != inode}
        if "." in other or len(other) > 1:
            return "its files are not those that it was made with"
        return None


@dataclass(frozen=True, slots=True)
class Marker:
    """The marker of a queue.

    Arguments:
        spool: the id that the queue was given when it was made.
        commits: a count of transactions that the database has reached.
        checkpointed: the count that the database file has reached without its write-ahead log.
        place: where it was when it was last opened.
    """

    spool: str
    commits: int
    checkpointed: int
    place: Place

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read it; None where there is none.

        Raises:
            ValueError: it is damaged.
            OSError: it cannot be read.
        """
        try:
            with path.open("rb") as file:
                data = file.read(_LARGEST)
        except FileNotFoundError:
            return None
        match = _FORM.fullmatch(data)
        if match is None:
            raise ValueError(f"the marker {path} is damaged")
        counts, commits, checkpointed, fixed, spool, machine, inodes, check = match.groups()
        if counts != _counts(int(commits), int(checkpointed)) or check != b"%08x" % crc32(fixed):
            raise ValueError(f"the marker {path} is damaged")
        where = "" if machine == b"-" else machine.decode()
        place = Place(where, _inodes(inodes.decode()))
        return cls(spool.decode(), int(commits), int(checkpointed), place)

    def write(self, path: Path) -> None:
        """Put it into its file, in one step, and sync it.

        Raises:
            OSError: it cannot be written; the one of before stays.
        """
        inodes = " ".join(f"{name}={inode}" for name, inode in self.place.inodes) or _ANYWHERE
        machine = self.place.machine or "-"
        fixed = f"spool {self.spool}\nmachine {machine}\ninodes {inodes}\n".encode()
        check = b"check %08x\n" % crc32(fixed)
        replace_file(path, _FIRST_LINE + _counts(self.commits, self.checkpointed) + fixed + check)


def _inodes(text: str) -> tuple[tuple[str, int], ...]:
    if text == _ANYWHERE:
        return ()
    pairs = (pair.split("=") for pair in text.split())
    return tuple((name, int(inode)) for name, inode in pairs)


def _counts(commits: int, checkpointed: int) -> bytes:
    """The line that is written over."""
    digits = b"%020d %020d" % (commits, checkpointed)
    return b"commits %s %08x\n" % (digits, crc32(digits))


class CommitCount:
    """Writes the counts into the marker, while the queue is open. For the writer's thread.

    Arguments:
        path: of the marker.
        marker: what is there.

    Raises:
        StartError: the marker cannot be opened for writing.
    """

    def __init__(self, path: Path, marker: Marker) -> None:
        self.value = marker.commits
        """Transactions so far."""
        self._checkpointed = marker.checkpointed
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise StartError(f"cannot write to {path}: {error.strerror}") from error

    def advance(self) -> None:
        """One more transaction is durable."""
        self.value += 1
        self._write()

    def checkpoint(self) -> None:
        """All transactions so far are in the database file, durably."""
        self._checkpointed = self.value
        self._write()

    def _write(self) -> None:
        # Where it cannot be written the old counts stay, which are lower, and still true.
        with contextlib.suppress(OSError):
            os.pwrite(self._file, _counts(self.value, self._checkpointed), _COUNT_AT)

    def close(self) -> None:
        """Let the file go."""
        os.close(self._file)


def machine_id() -> str:
    """A hash of this machine's id (machine-id(5) asks not to show the id itself), or empty."""
    for path in _MACHINE_IDS:
        with contextlib.suppress(OSError):
            if text := Path(path).read_text().strip():
                return hashlib.sha256(f"netserve queue {text}".encode()).hexdigest()[:32]
    return ""


NOWHERE: Final = Place("", ())
"""Stands for the place of a queue where that is not to be compared."""
