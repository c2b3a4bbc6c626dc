"""The rows of a batch, put together.

Every statement here is for a whole batch. Each call into SQLite lets another thread have the
interpreter, and may wait for it to come back, so a statement a row would cost far more than the
rows themselves.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

from netserve.outbox.quota import Slice
from netserve.outbox.records import KEPT_ATTEMPTS, Mark, NewItem, TaskMark
from netserve.outbox.sqlite.rows import (
    MESSAGE_COLUMNS,
    MESSAGE_WIDTH,
    RECIPIENT_COLUMNS,
    RECIPIENT_WIDTH,
    json_list,
    message_row,
    recipient_row,
)


@dataclass(slots=True)
class Changes:
    """The rows of a whole batch, by table."""

    messages: list[tuple[Any, ...]] = field(default_factory=list)
    bodies: list[tuple[int, bytes]] = field(default_factory=list)
    recipients: list[tuple[Any, ...]] = field(default_factory=list)
    marks: list[tuple[int, TaskMark]] = field(default_factory=list)
    touched: set[int] = field(default_factory=set)
    finished: list[int] = field(default_factory=list)
    removed_files: list[int] = field(default_factory=list)
    used: dict[tuple[str, float, float], Slice] = field(default_factory=dict)

    def add(self, new: NewItem) -> None:
        """Put the rows of an item to those of the batch."""
        number, next_at = new.item.number, new.next_at
        self.messages.append(message_row(new.item))
        self.recipients.extend(
            [recipient_row(number, task, lane, next_at) for lane, task in new.tasks]
        )
        if new.data is not None:
            self.bodies.append((number, new.data))

    def mark(self, mark: Mark) -> None:
        """Put the rows of an outcome to those of the batch."""
        for report in mark.reports:
            self.add(report)
        if mark.used:
            self.use(mark.account, mark.used)
        if mark.whole:
            self.finished.append(mark.number)
            if mark.in_file:
                self.removed_files.append(mark.number)
            return
        self.touched.add(mark.number)
        self.marks.extend((mark.number, one) for one in mark.marks)

    def use(self, account: str, used: Sequence[Slice]) -> None:
        """Put what was used of quotas to the rows of the batch."""
        self.used.update(((account, one.seconds, one.start), one) for one in used)

    def write(self, connection: sqlite3.Connection) -> None:
        """Write them, into the open transaction."""
        _insert(connection, f"INSERT INTO message({MESSAGE_COLUMNS})", MESSAGE_WIDTH, self.messages)
        _insert(connection, "INSERT INTO body(id, data)", 2, self.bodies)
        _insert(
            connection,
            f"INSERT INTO recipient({RECIPIENT_COLUMNS})",
            RECIPIENT_WIDTH,
            self.recipients,
        )
        if self.marks:
            self._write_marks(connection)
        if self.touched:
            self._find_finished(connection)
        if self.finished:
            delete_messages(connection, self.finished)
        if self.used:
            self._write_used(connection)

    def _write_marks(self, connection: sqlite3.Connection) -> None:
        rows = json.dumps(
            [
                (number, m.n, m.state, m.next_at, m.lane, m.attempts, m.warned, m.reply)
                for number, m in self.marks
            ]
        )
        connection.execute(_MARK, (rows,))
        rows = json.dumps(
            [
                (number, m.n, m.attempts, m.at, m.outcome, m.reply, m.remote)
                for number, m in self.marks
            ]
        )
        connection.execute(_ADD_ATTEMPTS, (rows,))
        connection.execute(_DROP_ATTEMPTS, (KEPT_ATTEMPTS, rows))

    def _write_used(self, connection: sqlite3.Connection) -> None:
        connection.executemany(
            _DELETE_USED, [key for key, one in self.used.items() if not one.used]
        )
        kept = [(account, *one) for (account, _, _), one in self.used.items() if one.used]
        connection.executemany("INSERT OR REPLACE INTO quota VALUES (?, ?, ?, ?)", kept)

    def _find_finished(self, connection: sqlite3.Connection) -> None:
        for number, in_file in connection.execute(_FINISHED, (json_list(self.touched),)):
            self.finished.append(number)
            if in_file:
                self.removed_files.append(number)


_MARK: Final = """
WITH mark AS (
    SELECT json_extract(value, '$[0]') AS message, json_extract(value, '$[1]') AS n,
        json_extract(value, '$[2]') AS state, json_extract(value, '$[3]') AS next_at,
        json_extract(value, '$[4]') AS lane, json_extract(value, '$[5]') AS attempts,
        json_extract(value, '$[6]') AS warned, json_extract(value, '$[7]') AS reply
    FROM json_each(?)
)
UPDATE recipient SET state = coalesce(mark.state, recipient.state), next_at = mark.next_at,
    lane = mark.lane, attempts = mark.attempts, warned = mark.warned, last = mark.reply
FROM mark WHERE recipient.message = mark.message AND recipient.n = mark.n
"""
_ADD_ATTEMPTS: Final = """
INSERT OR REPLACE INTO attempt(message, n, number, at, outcome, reply, remote)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
    json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'),
    json_extract(value, '$[6]')
FROM json_each(?) WHERE EXISTS (SELECT 1 FROM message WHERE id = json_extract(value, '$[0]'))
"""
_DROP_ATTEMPTS: Final = """
DELETE FROM attempt WHERE (message, n, number) IN (
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'),
        json_extract(value, '$[2]') - ?
    FROM json_each(?))
"""
_DELETE_USED: Final = "DELETE FROM quota WHERE account = ? AND seconds = ? AND start = ?"
_FINISHED: Final = """
SELECT id, in_file FROM message WHERE id IN (SELECT value FROM json_each(?))
    AND NOT EXISTS (SELECT 1 FROM recipient WHERE message = message.id AND +state < 2)
"""


def delete_messages(connection: sqlite3.Connection, numbers: Iterable[int]) -> None:
    """Delete messages with all that belongs to them but the files; see database.py."""
    connection.execute(_DELETE, (json_list(numbers),))


_DELETE: Final = "DELETE FROM message WHERE id IN (SELECT value FROM json_each(?))"
_ROWS_OF_A_STATEMENT: Final = 32


def _insert(
    connection: sqlite3.Connection, into: str, width: int, rows: Sequence[Sequence[Any]]
) -> None:
    """Insert rows by as few statements as can be; they stay prepared, one for each count."""
    row = f"({','.join('?' * width)})"
    for start in range(0, len(rows), _ROWS_OF_A_STATEMENT):
        part = rows[start : start + _ROWS_OF_A_STATEMENT]
        values = ",".join([row] * len(part))
        connection.execute(f"{into} VALUES {values}", tuple(chain.from_iterable(part)))
