"""Looks through all rows and bodies of a queue for damage, in portions. Reading only.

It is used on the queue of a process that has ended, and beside a running one: there each portion
is one moment of the database, and what seems to be wrong in it is looked at once more, since mail
that is delivered meanwhile takes its body along.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import Any, Final, NamedTuple
from zlib import crc32

from netserve.outbox.errors import OutboxError
from netserve.outbox.ids import encode_id
from netserve.outbox.model import State
from netserve.outbox.records import DAMAGED, Damage, Report
from netserve.outbox.sqlite.bodies import StoredBodies
from netserve.outbox.sqlite.rows import (
    BODY_SUM,
    IN_FILE,
    LOADED_COLUMNS,
    MESSAGE_COLUMNS,
    RECIPIENTS,
    SIZE,
    is_sound_message,
    is_sound_recipient,
    json_list,
)

PORTION: Final = 500
"""Messages of one moment of the database."""
MOST_PAGES: Final = 20
"""Errors of pages that are told."""
_CHUNK: Final = 256 * 1024

NO_BODY: Final = "its body is missing"
BAD_BODY: Final = "its body is damaged"
NO_RECIPIENTS: Final = "recipients of it are missing"
NO_MESSAGE: Final = "its message is missing, but recipients or a body of it are there"
_STATES: Final = frozenset(State)

_MESSAGES: Final = f"SELECT {MESSAGE_COLUMNS} FROM message WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608 - of constants
_THESE: Final = f"""
SELECT {MESSAGE_COLUMNS} FROM message WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id
"""  # noqa: S608 - of constants
_RECIPIENTS: Final = f"""
SELECT message, state, lane, {LOADED_COLUMNS} FROM recipient
WHERE message IN (SELECT value FROM json_each(?)) ORDER BY message, n
"""  # noqa: S608 - of constants
_BODIES: Final = "SELECT id, data FROM body WHERE id IN (SELECT value FROM json_each(?))"
_STRAY: Final = """
SELECT DISTINCT message FROM recipient
WHERE NOT EXISTS (SELECT 1 FROM message WHERE id = recipient.message)
UNION SELECT id FROM body WHERE NOT EXISTS (SELECT 1 FROM message WHERE id = body.id)
"""


class Stopped(OutboxError):
    """A check was ended before it was through."""


def check_queue(
    connection: sqlite3.Connection,
    bodies: StoredBodies,
    *,
    stopped: Callable[[], bool] = lambda: False,
) -> Report:
    """Check all pages, rows and bodies.

    Arguments:
        connection: for reading, used by this thread alone; `interrupt` ends what it does.
        bodies: where body files are.
        stopped: is asked between portions whether to end.

    Raises:
        Stopped: it was ended.
    """
    report = Report(check_pages(connection))
    count_quarantine(report, bodies)

    def read(function: Callable[[sqlite3.Connection], Any]) -> Any:
        if stopped():
            raise Stopped("the check was ended")
        connection.execute("BEGIN")
        try:
            return function(connection)
        finally:
            connection.execute("ROLLBACK")

    try:
        report.damages += check_rows(read, bodies, counts=report.counts)
    except sqlite3.DatabaseError as error:
        report.findings.append(f"the rows cannot all be read: {error}")
    return report


Read = Callable[[Callable[[sqlite3.Connection], Any]], Any]
"""Runs a function with a connection, within one moment of the database."""


def count_quarantine(report: Report, bodies: StoredBodies) -> None:
    """Tell how many bodies without a message are in the quarantine."""
    with suppress(FileNotFoundError):
        report.counts["quarantine"] = sum(1 for _ in bodies.quarantine.iterdir())


def check_rows(read: Read, bodies: StoredBodies, *, counts: Counter[str]) -> Iterator[Damage]:
    """Everything that is damaged in rows and bodies.

    Arguments:
        read: reads the database.
        bodies: where body files are.
        counts: gets the number of messages that were looked at, and of recipients by state.
    """
    after = 0
    while True:
        rows: _Rows = read(partial(_portion, after=after))
        suspects = [damage.number for damage in _damages(rows, bodies, counts)]
        if suspects:
            again = read(partial(_these, numbers=suspects))
            yield from _damages(again, bodies, Counter())
        if len(rows.messages) < PORTION:
            break
        after = rows.messages[-1][0]
    for (number,) in read(lambda connection: connection.execute(_STRAY).fetchall()):
        yield Damage(number, NO_MESSAGE)


def check_pages(connection: sqlite3.Connection) -> list[str]:
    """What SQLite finds in all pages and indexes; it takes its time."""
    try:
        rows = connection.execute(f"PRAGMA integrity_check({MOST_PAGES})").fetchall()
    except sqlite3.DatabaseError as error:
        return [str(error)]
    return [" ".join(str(text).split()) for (text,) in rows if text != "ok"]


class _Rows(NamedTuple):
    """Messages with all that belongs to them."""

    messages: Sequence[Sequence[Any]]
    recipients: dict[int, list[Sequence[Any]]]
    bodies: dict[int, tuple[int, int]]  # size and checksum


def _portion(connection: sqlite3.Connection, after: int) -> _Rows:
    return _with_parts(connection, connection.execute(_MESSAGES, (after, PORTION)).fetchall())


def _these(connection: sqlite3.Connection, numbers: Iterable[int]) -> _Rows:
    return _with_parts(connection, connection.execute(_THESE, (json_list(numbers),)).fetchall())


def _with_parts(connection: sqlite3.Connection, messages: Sequence[Sequence[Any]]) -> _Rows:
    numbers = (json_list(row[0] for row in messages),)
    recipients: dict[int, list[Sequence[Any]]] = {}
    for number, *row in connection.execute(_RECIPIENTS, numbers):
        recipients.setdefault(number, []).append(row)
    bodies = {
        number: (len(data), crc32(data)) if isinstance(data, bytes) else (-1, 0)
        for number, data in connection.execute(_BODIES, numbers)
    }
    return _Rows(messages, recipients, bodies)


def _damages(rows: _Rows, bodies: StoredBodies, counts: Counter[str]) -> Iterator[Damage]:
    for row in rows.messages:
        number, recipients = row[0], rows.recipients.get(row[0], [])
        counts["messages"] += 1
        counts.update(State(state).word for state, *_ in recipients if state in _STATES)
        if not is_sound_message(row) or not all(_is_sound(row, one) for one in recipients):
            yield Damage(number, DAMAGED)
        elif len(recipients) != row[RECIPIENTS]:
            yield Damage(number, NO_RECIPIENTS)
        elif why := _body_damage(row, rows.bodies, bodies):
            yield Damage(number, why)


def _is_sound(message: Sequence[Any], row: Sequence[Any]) -> bool:
    state, lane, *loaded = row
    return (
        state in _STATES
        and isinstance(lane, str)
        and lane.partition(" ")[0] == message[1]
        and is_sound_recipient(message[0], loaded)
    )


def _body_damage(
    row: Sequence[Any], small: dict[int, tuple[int, int]], folder: StoredBodies
) -> str | None:
    number, size, in_file, body_sum = row[0], row[SIZE], row[IN_FILE], row[BODY_SUM]
    if in_file:
        return _file_damage(folder, number, size, body_sum)
    if number not in small:
        return NO_BODY
    length, own_sum = small[number]
    return BAD_BODY if length != size or body_sum not in (None, own_sum) else None


def _file_damage(folder: StoredBodies, number: int, size: int, body_sum: int | None) -> str | None:
    if not (folder.path / encode_id(number)).exists():
        return NO_BODY
    try:
        with closing(folder.open(number, size, body_sum)) as reader:
            while reader.read(_CHUNK):
                pass
    except OutboxError as error:
        return f"{BAD_BODY}: {error}"
    return None
