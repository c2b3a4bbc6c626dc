"""What a start does about the traces of a crash: bodies and rows that do not belong together.

Nothing is removed here but what the database says is finished with, and what was never accepted:
bodies that a crash left half written. A body of which no row is known goes to the quarantine.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from twisted.logger import Logger

from netserve.outbox.ids import encode_id
from netserve.outbox.records import DAMAGED
from netserve.outbox.sqlite.bodies import BodyFolder
from netserve.outbox.sqlite.errors import is_full
from netserve.outbox.sqlite.rows import json_list

_TOLD: Final = 100
"""Messages of one kind that a start logs one by one."""
MISSING: Final = "the body is missing"

_STATELESS: Final = " UNION ".join(
    f"SELECT message FROM recipient INDEXED BY recipient_due WHERE {condition}"  # noqa: S608 - of constants
    for condition in (
        "state < 0",
        "state > 0 AND state < 1",
        "state > 1 AND state < 2",
        "state > 2 AND state < 3",
        "state > 3",
    )
)
"""The gaps between the states, each a range of the index: no queued row is looked at."""
_FIRST_STATE: Final = "SELECT state FROM recipient INDEXED BY recipient_due ORDER BY state LIMIT 1"
_NO_STATE: Final = "SELECT message FROM recipient WHERE typeof(state) = 'null'"
"""SQLite takes IS NULL for false here, since the column is declared NOT NULL."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a start found.

    Arguments:
        last: the largest number in use, 0 for none.
        temporary: half written files that were removed.
        quarantined: bodies without a row that were moved to the quarantine.
        stuck: why bodies without a row stay where they are, or an empty string.
        bodiless: ids of messages without their body, which are held now.
        damaged: ids of messages with damaged recipients, which are held now.
    """

    last: int
    temporary: int
    quarantined: int
    stuck: str
    bodiless: tuple[str, ...]
    damaged: tuple[str, ...]

    def tell(self, log: Logger, folder: Path, *, complete: bool) -> None:
        """Log it.

        Arguments:
            log: gets it.
            folder: of the queue.
            complete: all pages of the database were looked at.
        """
        _tell_held(log, self.bodiless, "its body is missing")
        _tell_held(log, self.damaged, DAMAGED)
        if self.quarantined:
            log.warn(
                "{count} bodies without a message were moved to {folder}; a crash leaves the bodies"
                " of mail that was not accepted yet",
                count=self.quarantined,
                folder=str(folder / "quarantine"),
            )
        if self.stuck:
            log.error(
                "bodies without a message stay in {folder}: {reason}",
                folder=str(folder / "bodies"),
                reason=self.stuck,
            )
        if self.temporary:
            log.info("removed {count} bodies that a crash left half written", count=self.temporary)
        if not complete:
            log.info(
                "the database is too large to look at all of its pages at the start;"
                " `netserve queue check` does"
            )


def _tell_held(log: Logger, messages: Sequence[str], why: str) -> None:
    for message in messages[:_TOLD]:
        log.critical("{id} is held: {why}", id=message, why=why)
    if (more := len(messages) - _TOLD) > 0:
        log.critical(
            "{count} more messages are held: {why}; see `netserve queue list --status held`",
            count=more,
            why=why,
        )


def recover(connection: sqlite3.Connection, bodies: BodyFolder) -> Recovery:
    """Make files and rows agree, before the first message is taken or delivered.

    Raises:
        sqlite3.Error, OSError: it cannot be done, for another reason than a full disk.
    """
    temporary = bodies.remove_temporary()
    _remove_finished(connection, bodies)
    rows = connection.execute("SELECT id FROM message WHERE in_file = 1 ORDER BY id")
    unknown, missing = _differences(bodies.numbers(), rows)
    quarantined, stuck = 0, ""
    try:
        quarantined = bodies.set_aside(unknown)
    except OSError as error:
        stuck = error.strerror or str(error)
    damaged: list[int] = []
    with passing_over_full_disk():  # else they are held when they are due
        hold(connection, missing, MISSING)
        damaged = _hold_stateless(connection)
    (last,) = connection.execute("SELECT max(id) FROM message").fetchone()
    return Recovery(
        last or 0,
        temporary,
        quarantined,
        stuck,
        tuple(map(encode_id, missing)),
        tuple(map(encode_id, damaged)),
    )


def _remove_finished(connection: sqlite3.Connection, bodies: BodyFolder) -> None:
    """Remove the bodies of finished messages that a crash has left there."""
    finished = [number for (number,) in connection.execute("SELECT id FROM finished")]
    if finished:
        for number in finished:
            bodies.remove(number)
        bodies.sync()
        with passing_over_full_disk():
            forget_finished(connection, finished)


def forget_finished(connection: sqlite3.Connection, numbers: Iterable[int]) -> None:
    """The body files of these finished messages are gone for good."""
    connection.execute(
        "DELETE FROM finished WHERE id IN (SELECT value FROM json_each(?))", (json_list(numbers),)
    )


@contextmanager
def passing_over_full_disk() -> Iterator[None]:
    """Do without a change that finds the disk full: it is made at the next start."""
    try:
        yield
    except sqlite3.Error as error:
        if not is_full(error):
            raise


def hold(connection: sqlite3.Connection, numbers: array[int] | list[int], why: str) -> int:
    """Hold the recipients of messages that are queued, or in no state; says of how many."""
    return connection.execute(
        "UPDATE recipient SET state = 1, last = ?"
        " WHERE (+state IS NULL OR +state NOT IN (1, 2, 3))"
        " AND message IN (SELECT value FROM json_each(?))",
        (why, json_list(numbers)),
    ).rowcount


def _hold_stateless(connection: sqlite3.Connection) -> list[int]:
    """Hold recipients whose state is damaged: no lane would find them. Gives their messages."""
    found = {number for (number,) in connection.execute(_STATELESS)}
    if connection.execute(_FIRST_STATE).fetchone() == (None,):
        found.update(number for (number,) in connection.execute(_NO_STATE))
    numbers = sorted(found)
    if numbers:
        hold(connection, numbers, DAMAGED)
    return numbers


def _differences(files: array[int], rows: sqlite3.Cursor) -> tuple[array[int], array[int]]:
    """Files without a row and rows without a file; both come in order, so one walk does it."""
    unknown, missing = array("q"), array("q")
    position, count = 0, len(files)
    for (number,) in rows:
        while position < count and files[position] < number:
            unknown.append(files[position])
            position += 1
        if position < count and files[position] == number:
            position += 1
        else:
            missing.append(number)
    unknown.extend(files[position:])
    return unknown, missing
