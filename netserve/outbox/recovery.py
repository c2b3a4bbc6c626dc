"""What a start does about the traces of a crash: bodies and rows that do not belong together."""

from __future__ import annotations

import sqlite3
from array import array
from dataclasses import dataclass
from typing import Final

from netserve.outbox.bodies import BodyFolder
from netserve.outbox.ids import encode_id
from netserve.outbox.rows import json_list

QUARANTINE: Final = "the body is missing"
DAMAGED: Final = "its row in the database is damaged"


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a start found.

    Arguments:
        last: the largest number in use, 0 for none.
        temporary: half written files that were removed.
        orphans: bodies without a row that were removed.
        quarantined: ids of messages without their body, which are held now.
    """

    last: int
    temporary: int
    orphans: int
    quarantined: tuple[str, ...]


def recover(connection: sqlite3.Connection, bodies: BodyFolder) -> Recovery:
    """Make files and rows agree, before the first message is taken or delivered."""
    temporary = bodies.remove_temporary()
    files = bodies.numbers()
    rows = connection.execute("SELECT id FROM message WHERE in_file = 1 ORDER BY id")
    orphans, missing = _differences(files, rows)
    for number in orphans:
        bodies.remove(number)
    quarantine(connection, missing, QUARANTINE)
    (last,) = connection.execute("SELECT max(id) FROM message").fetchone()
    return Recovery(last or 0, temporary, len(orphans), tuple(map(encode_id, missing)))


def _differences(files: array[int], rows: sqlite3.Cursor) -> tuple[array[int], array[int]]:
    """Files without a row and rows without a file; both come in order, so one walk does it."""
    orphans, missing = array("q"), array("q")
    position, count = 0, len(files)
    for (number,) in rows:
        while position < count and files[position] < number:
            orphans.append(files[position])
            position += 1
        if position < count and files[position] == number:
            position += 1
        else:
            missing.append(number)
    orphans.extend(files[position:])
    return orphans, missing


def quarantine(connection: sqlite3.Connection, numbers: array[int] | list[int], why: str) -> int:
    """Hold the queued recipients of messages; says of how many."""
    return connection.execute(
        "UPDATE recipient SET state = 1, last = ? WHERE +state = 0"
        " AND message IN (SELECT value FROM json_each(?))",
        (why, json_list(numbers)),
    ).rowcount
