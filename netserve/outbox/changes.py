"""What is written: the jobs of the writer thread, and their rows put together.

Every statement here is for a whole batch. Each call into SQLite lets another thread have the
interpreter, and may wait for it to come back, so a statement a row would cost far more than the
rows themselves.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

from netserve.outbox.bodies import BodyFile
from netserve.outbox.errors import OutboxError
from netserve.outbox.model import QueuedMessage
from netserve.outbox.quota import Slice
from netserve.outbox.rows import (
    MESSAGE_COLUMNS,
    MESSAGE_WIDTH,
    RECIPIENT_COLUMNS,
    RECIPIENT_WIDTH,
    json_list,
    message_row,
)

KEPT_ATTEMPTS: Final = 20
"""So many attempts of a recipient are remembered: the last ones."""

Done = Callable[[OutboxError | None], None]


@dataclass(slots=True, eq=False)
class NewMessage:
    """A message that comes in.

    Arguments:
        message: its own row.
        rows: those of its recipients.
        data: the body where it is small, else None.
        file: the body where it is large, else None.
        done: is called after the commit, or with the error.
    """

    message: QueuedMessage
    rows: Sequence[tuple[Any, ...]]
    data: bytes | None
    file: BodyFile | None
    done: Done

    is_new_mail = True
    reads = False

    @property
    def weight(self) -> int:
        """About how many bytes go to the database."""
        return 2048 + (len(self.data) if self.data is not None else 0)

    def collect(self, changes: Changes) -> None:
        """Put the rows to those of the batch."""
        changes.messages.append(message_row(self.message))
        changes.recipients.extend(self.rows)
        if self.data is not None:
            changes.bodies.append((self.message.number, self.data))

    def settle(self, error: OutboxError | None) -> None:
        """Pass the result on."""
        self.done(error)


@dataclass(frozen=True, slots=True)
class RecipientMark:
    """What an attempt made of one recipient.

    Arguments:
        n: the recipient's number.
        state: the new state; None leaves it, be it queued or, meanwhile, held.
        next_at: unix seconds of the next attempt.
        lane: where it went.
        attempts: how many there were, this one counted.
        warned: the delay notice was sent.
        at: unix seconds of this attempt.
        outcome: its outcome, as a word.
        reply: the reply as text.
        remote: who answered.
    """

    n: int
    state: int | None
    next_at: float
    lane: str
    attempts: int
    warned: bool
    at: float
    outcome: str
    reply: str
    remote: str


@dataclass(slots=True, eq=False)
class Mark:
    """The outcome of a delivery, with the bounces that follow from it.

    Arguments:
        number: the message.
        in_file: its body is a file.
        whole: all of its recipients are done with, so nothing of it stays.
        marks: what became of the recipients; not looked at where nothing stays.
        notices: bounces and other reports, inserted by the same transaction.
        done: is called after the commit, or with the error.
        account: whose quotas were used.
        used: what has changed in their usage.
    """

    number: int
    in_file: bool
    whole: bool
    marks: Sequence[RecipientMark]
    notices: Sequence[NewMessage]
    done: Done
    account: str = ""
    used: Sequence[Slice] = ()

    is_new_mail = False
    reads = False
    file: None = None

    @property
    def weight(self) -> int:
        """About how many bytes go to the database."""
        return 2048 + sum(notice.weight for notice in self.notices)

    def collect(self, changes: Changes) -> None:
        """Put the rows to those of the batch."""
        for notice in self.notices:
            notice.collect(changes)
        if self.used:
            changes.used.update(((self.account, one.seconds, one.start), one) for one in self.used)
        if self.whole:
            changes.finished.append(self.number)
            if self.in_file:
                changes.removed_files.append(self.number)
            return
        changes.touched.add(self.number)
        changes.marks.extend((self.number, mark) for mark in self.marks)

    def settle(self, error: OutboxError | None) -> None:
        """Pass the result on."""
        self.done(error)


@dataclass(slots=True, eq=False)
class Used:
    """What was used of quotas by deliveries that begin now: a crash does not give it back.

    Arguments:
        account: whose.
        used: what has changed in their usage.
    """

    account: str
    used: Sequence[Slice]

    is_new_mail = False
    reads = False
    file: None = None
    weight: int = 512

    def collect(self, changes: Changes) -> None:
        """Put the rows to those of the batch."""
        changes.used.update(((self.account, one.seconds, one.start), one) for one in self.used)

    def settle(self, error: OutboxError | None) -> None:
        """Nobody waits for it: where the disk is full, the next change has all of its slice."""


@dataclass(slots=True, eq=False)
class Call:
    """Anything else that is done within the batch's transaction.

    Arguments:
        function: is given the connection, in the writer thread; it may add to the numbers of
            messages whose body files go. Its errors other than SQLite's are its own result.
        done: is called with the result after the commit.
        failed: is called with the error.
    """

    function: Callable[[sqlite3.Connection, list[int]], Any]
    done: Callable[[Any], None]
    failed: Callable[[BaseException], None]
    result: Any = None
    error: Exception | None = None

    is_new_mail = False
    reads = True
    file: None = None
    weight: int = 4096

    def run(self, connection: sqlite3.Connection, removed_files: list[int]) -> None:
        """Do it."""
        try:
            self.result = self.function(connection, removed_files)
        except sqlite3.Error:
            raise
        except Exception as error:
            self.error = error

    def settle(self, error: OutboxError | None) -> None:
        """Pass the result on."""
        if (problem := error or self.error) is not None:
            self.failed(problem)
        else:
            self.done(self.result)


@dataclass(slots=True)
class Changes:
    """The rows of a whole batch, by table."""

    messages: list[tuple[Any, ...]] = field(default_factory=list)
    bodies: list[tuple[int, bytes]] = field(default_factory=list)
    recipients: list[tuple[Any, ...]] = field(default_factory=list)
    marks: list[tuple[int, RecipientMark]] = field(default_factory=list)
    touched: set[int] = field(default_factory=set)
    finished: list[int] = field(default_factory=list)
    removed_files: list[int] = field(default_factory=list)
    used: dict[tuple[str, float, float], Slice] = field(default_factory=dict)

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
