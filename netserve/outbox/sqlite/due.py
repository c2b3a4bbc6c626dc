"""What is read of the database to deliver: the lanes, and pages of what is due in one of them.

It is read by the writer's connection, between its transactions. A row that a page shows has
therefore no outcome on its way to the disk, unless the agent still knows it as its own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Iterator, Mapping, Sequence
from math import inf
from typing import Any, Final

from netserve.outbox.ids import encode_id
from netserve.outbox.model import Item, Task
from netserve.outbox.quota import KEPT, Slice
from netserve.outbox.records import DAMAGED, PAGE, DuePage, Position, task_key
from netserve.outbox.sqlite.bodies import BodyFolder
from netserve.outbox.sqlite.hints import EACH_LANE
from netserve.outbox.sqlite.recovery import hold
from netserve.outbox.sqlite.rows import (
    LOADED_COLUMNS,
    MESSAGE_COLUMNS,
    body_source,
    is_sound_message,
    is_sound_recipient,
    json_list,
    message_of,
    recipient_of,
    size_in_database,
    small_bodies,
)

_KEYS: Final = 1000

_FORGET_USED: Final = "DELETE FROM quota WHERE start + seconds * ? <= ? OR start > ?"
_USED: Final = """
SELECT account, seconds, start, used FROM quota
WHERE typeof(account) = 'text' AND typeof(seconds) = 'real' AND typeof(start) = 'real'
    AND typeof(used) = 'integer'
"""
_LANES: Final = f"""{EACH_LANE}
SELECT lane, (SELECT min(next_at) FROM recipient INDEXED BY recipient_due
              WHERE state = 0 AND lane = lanes.lane)
FROM lanes WHERE lane IS NOT NULL
"""  # noqa: S608 - of constants
_SOONER: Final = f"""{EACH_LANE}
UPDATE recipient INDEXED BY recipient_due SET next_at = ?
WHERE state = 0 AND lane IN (SELECT lane FROM lanes WHERE lane IS NOT NULL) AND next_at > ?
"""  # noqa: S608 - of constants
_DUE: Final = """
SELECT next_at, message, n FROM recipient INDEXED BY recipient_due
WHERE state = 0 AND lane = ? AND next_at <= ? AND (next_at, message, n) > (?, ?, ?)
ORDER BY next_at, message, n LIMIT ?
"""
_NEXT: Final = """
SELECT min(next_at) FROM recipient INDEXED BY recipient_due
WHERE state = 0 AND lane = ? AND next_at > ?
"""
_MESSAGES: Final = (
    f"SELECT {MESSAGE_COLUMNS} FROM message"  # noqa: S608 - of constants
    " WHERE id IN (SELECT value FROM json_each(?))"
)
_RECIPIENT: Final = f"""
SELECT {LOADED_COLUMNS} FROM recipient WHERE message = ? AND n = ? AND state = 0
"""  # noqa: S608 - of constants


def bring_forward(connection: sqlite3.Connection, now: float, longest: float) -> None:
    """Let be due now what is due later than any wait could be: the clock was ahead before.

    Arguments:
        connection: the writer's.
        now: unix seconds.
        longest: seconds of the longest wait.
    """
    connection.execute(_SOONER, (now, now + longest))


def lanes(connection: sqlite3.Connection) -> Iterator[tuple[str, float]]:
    """Every lane that has queued recipients, with its first time in unix seconds.

    It goes from lane to lane in the index, so its cost does not grow with the recipients.
    """
    return connection.execute(_LANES)


def forget_used(connection: sqlite3.Connection, now: float) -> None:
    """Delete what no longer counts at a time in unix seconds."""
    connection.execute(_FORGET_USED, (KEPT, now, now))


def used(connection: sqlite3.Connection, now: float) -> dict[str, list[Slice]]:
    """What earlier processes have used of quotas, by account, and still counts."""
    forget_used(connection, now)
    found: dict[str, list[Slice]] = {}
    for account, *one in connection.execute(_USED):
        found.setdefault(account, []).append(Slice(*one))
    return found


def due_page(
    connection: sqlite3.Connection,
    bodies: BodyFolder,
    lane: str,
    now: float,
    position: Position,
    *,
    skip: Container[int],
    room: int,
) -> DuePage:
    """The next page of what is due in a lane.

    Arguments:
        connection: the writer's.
        bodies: where body files are.
        lane: its name.
        now: unix seconds.
        position: where the last page ended.
        skip: the keys of what the agent has in memory already; it is not read again.
        room: bytes of bodies from the database; the page has one message, whatever its size.
    """
    found, last = _due(connection, (lane, now, *position, _KEYS), skip)
    messages = _messages(connection, found)
    fitting = _fitting(found, messages, room)
    rows, damaged = _load(connection, bodies, fitting, messages)
    if len(fitting) < len(found):
        return DuePage(rows, fitting[-1], inf, damaged)
    if last is not None:
        return DuePage(rows, last, inf, damaged)
    (next_at,) = connection.execute(_NEXT, (lane, now)).fetchone()
    return DuePage(rows, None, inf if next_at is None else next_at, damaged)


def _due(
    connection: sqlite3.Connection, values: tuple[Any, ...], skip: Container[int]
) -> tuple[list[Position], Position | None]:
    """The recipients of a page, and where it ends; None where nothing more is due.

    A page ends between two messages, so that the recipients of one stay together.
    """
    found: list[Position] = []
    last: Position | None = None
    seen = 0
    for key in connection.execute(_DUE, values):
        if len(found) >= PAGE and key[:2] != found[-1][:2]:
            return found, last
        seen, last = seen + 1, key
        if task_key(*key[1:]) not in skip:
            found.append(key)
    return found, last if seen == _KEYS else None


def _messages(connection: sqlite3.Connection, found: list[Position]) -> dict[int, Any]:
    """The rows of messages by their numbers."""
    numbers = dict.fromkeys(message for _, message, _ in found)
    return {row[0]: row for row in connection.execute(_MESSAGES, (json_list(numbers),))}


def _fitting(
    found: list[Position], messages: Mapping[int, Sequence[Any]], room: int
) -> list[Position]:
    """The first of them, as many as there is room for the bodies of."""
    counted: set[int] = set()
    for at, (_, number, _) in enumerate(found):
        row = messages.get(number)
        if number not in counted and row is not None and is_sound_message(row):
            room -= size_in_database(row)
            if room < 0 and counted:
                return found[:at]
            counted.add(number)
    return found


def _load(
    connection: sqlite3.Connection,
    bodies: BodyFolder,
    found: list[Position],
    rows: Mapping[int, Sequence[Any]],
) -> tuple[list[tuple[Item, list[Task]]], tuple[str, ...]]:
    numbers = list(dict.fromkeys(message for _, message, _ in found))
    small = small_bodies(connection, numbers)
    messages: dict[int, Item] = {}
    damaged: dict[int, None] = {}
    for number in numbers:
        if (row := rows.get(number)) is None:
            continue
        if is_sound_message(row):
            messages[number] = message_of(row, body_source(row, small, bodies))
        else:
            damaged[number] = None
    recipients: dict[int, list[Task]] = {}
    for _, number, n in found:
        for row in connection.execute(_RECIPIENT, (number, n)):
            if is_sound_recipient(number, row):
                recipients.setdefault(number, []).append(recipient_of(row))
            else:
                damaged[number] = None
    if damaged:
        hold(connection, list(damaged), DAMAGED)
    loaded = [
        (messages[number], recipients[number])
        for number in numbers
        if number in messages and number in recipients and number not in damaged
    ]
    return loaded, tuple(map(encode_id, damaged))
