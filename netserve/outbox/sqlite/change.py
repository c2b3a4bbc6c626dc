"""What verbs change, and what moves to other lanes; in the writer's transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import Any, Final

from netserve.outbox.records import Changed, Move, Verb
from netserve.outbox.sqlite.changes import delete_messages
from netserve.outbox.sqlite.rows import json_list

# The plus keeps SQLite from going through all that is queued for the sake of a few messages.
_RETRY: Final = """
UPDATE recipient SET next_at = ? WHERE +state = 0
    AND message IN (SELECT value FROM json_each(?)) RETURNING message, lane
"""
_HOLD: Final = """
UPDATE recipient SET state = 1, last = ? WHERE (+state IS NULL OR +state NOT IN (1, 2, 3))
    AND message IN (SELECT value FROM json_each(?)) RETURNING message, lane
"""
_RELEASE: Final = """
UPDATE recipient SET state = 0, next_at = ? WHERE +state = 1
    AND message IN (SELECT value FROM json_each(?)) RETURNING message, lane
"""
_THERE: Final = "SELECT id, in_file FROM message WHERE id IN (SELECT value FROM json_each(?))"
_MOVE: Final = "UPDATE recipient SET lane = ? WHERE message = ? AND n = ?"


def change(
    connection: sqlite3.Connection,
    removed_files: list[int],
    verb: Verb,
    numbers: Collection[int],
    *,
    now: float,
    reason: str,
) -> Changed:
    """Do what a verb asks for; see `netserve.outbox.storage.Storage.change`.

    Arguments:
        connection: the writer's.
        removed_files: gets the numbers of messages whose body files go.
        verb: what is asked for.
        numbers: of messages.
        now: unix seconds.
        reason: why they are held.
    """
    chosen = json_list(numbers)
    if verb == "drop":
        there = dict(connection.execute(_THERE, (chosen,)))
        removed_files += [number for number, in_file in there.items() if in_file]
        delete_messages(connection, there)
        return Changed(set(there), set())
    if verb == "hold":
        return Changed(_updated(connection, _HOLD, (reason, chosen)).numbers, set())
    statement = _RETRY if verb == "retry" else _RELEASE
    return _updated(connection, statement, (now, chosen))


def move(connection: sqlite3.Connection, moved: Sequence[Move]) -> None:
    """Put recipients into other lanes."""
    connection.executemany(_MOVE, moved)


def _updated(connection: sqlite3.Connection, statement: str, values: tuple[Any, ...]) -> Changed:
    rows = connection.execute(statement, values).fetchall()
    return Changed({message for message, _ in rows}, {lane for _, lane in rows})
