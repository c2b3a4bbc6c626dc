"""Between the rows of the database and what is in model.py.

A row that is read is compared with its checksum (see checksums.py). Rows of a queue that was made
before there were checksums have none; only the types of their values are looked at.
"""

from __future__ import annotations

import io
import sqlite3
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final
from zlib import crc32

from netserve.outbox.errors import BodyMissing
from netserve.outbox.ids import encode_id
from netserve.outbox.model import BodyReader, Item, State, Task
from netserve.outbox.sqlite.bodies import BodyFolder
from netserve.outbox.sqlite.checksums import message_sum, recipient_sum

MESSAGE_COLUMNS: Final = (
    "id, service, kind, created, took, sender, meta, user, client, trace, size, recipients,"
    " in_file, body_sum, sum"
)
MESSAGE_WIDTH: Final = 15
RECIPIENT_COLUMNS: Final = (
    "message, n, state, lane, next_at, attempts, warned, address, domain, meta, last, sum"
)
RECIPIENT_WIDTH: Final = 12
LOADED_COLUMNS: Final = "n, address, meta, attempts, warned, last, sum"
"""What `recipient_of` and `is_sound_recipient` want to see of a recipient."""

_MESSAGE_TYPES: Final = (
    int, str, str, float, float, str, str, str, str, str, int, int, int,
)  # fmt: skip
_RECIPIENT_TYPES: Final = (int, str, str, int, int, str)
SENDER: Final = 5
SIZE: Final = 10
RECIPIENTS: Final = 11
IN_FILE: Final = 12
BODY_SUM: Final = 13
"""Places in MESSAGE_COLUMNS."""
_LOAD: Final = f"SELECT {MESSAGE_COLUMNS} FROM message WHERE id = ?"  # noqa: S608 - of constants
_UNREADABLE: Final = "\ufffd"
"""Stands in a text where its bytes are not UTF-8; see database.py."""


def message_row(message: Item) -> tuple[Any, ...]:
    """A message as a row, in the order of MESSAGE_COLUMNS."""
    row = (
        message.number,
        message.service,
        message.kind,
        message.created,
        message.took,
        message.sender,
        message.meta,
        message.user,
        message.client,
        message.trace,
        message.size,
        message.tasks,
        message.in_file,
        message.body_sum,
    )
    return (*row, message_sum(row))


def recipient_row(number: int, recipient: Task, lane: str, next_at: float) -> tuple[Any, ...]:
    """A new recipient as a row, in the order of RECIPIENT_COLUMNS."""
    address, meta = recipient.address, recipient.meta
    return (
        number,
        recipient.id,
        State.QUEUED.value,
        lane,
        next_at,
        recipient.attempts,
        recipient.warned,
        address,
        address[address.rfind("@") + 1 :].lower() if "@" in address else "",
        meta,
        recipient.last,
        recipient_sum(number, recipient.id, address, meta),
    )


def is_sound_message(row: Sequence[Any]) -> bool:
    """Whether a row in the order of MESSAGE_COLUMNS is as it was written: disks forget bits."""
    *values, body_sum, own_sum = row
    if tuple(map(type, values)) != _MESSAGE_TYPES or _UNREADABLE in row[SENDER]:
        return False
    if own_sum is None and body_sum is None:
        return True
    try:
        return bool(message_sum(row) == own_sum)
    except (struct.error, TypeError, UnicodeError):
        return False


def is_sound_recipient(number: int, row: Sequence[Any]) -> bool:
    """Whether a row of LOADED_COLUMNS is as it was written.

    Arguments:
        number: of the message.
        row: as it was read.
    """
    *values, own_sum = row
    if tuple(map(type, values)) != _RECIPIENT_TYPES or _UNREADABLE in row[1]:
        return False
    return own_sum is None or own_sum == recipient_sum(number, *row[:3])


def message_of(row: Sequence[Any], open_body: Callable[[], BodyReader]) -> Item:
    """The message of a row in the order of MESSAGE_COLUMNS."""
    return Item(
        id=encode_id(row[0]),
        number=row[0],
        service=row[1],
        kind=row[2],
        created=row[3],
        took=row[4],
        sender=row[5],
        meta=row[6],
        user=row[7],
        client=row[8],
        trace=row[9],
        size=row[SIZE],
        tasks=row[RECIPIENTS],
        in_file=bool(row[IN_FILE]),
        body_sum=row[BODY_SUM],
        open_body=open_body,
    )


def recipient_of(row: Sequence[Any]) -> Task:
    """The recipient of a row of LOADED_COLUMNS."""
    n, address, meta, attempts, warned, last, _ = row
    return Task(n, address, meta, attempts, bool(warned), last)


def body_source(
    row: Sequence[Any], small: Mapping[int, bytes], folder: BodyFolder
) -> Callable[[], BodyReader]:
    """What opens the body of a message row, given the bodies from the database.

    Whoever opens or reads it gets BodyMissing where it is not as it was written.
    """
    number, size, in_file, body_sum = row[0], row[SIZE], row[IN_FILE], row[BODY_SUM]
    if in_file:
        return partial(folder.open, number, size, body_sum)
    data = small.get(number)
    if data is None or len(data) != size:
        return partial(_no_body, f"the body of {encode_id(number)} is missing or has not its size")
    if body_sum is not None and crc32(data) != body_sum:
        return partial(_no_body, f"the body of {encode_id(number)} is damaged")
    return partial(io.BytesIO, data)


def size_in_database(row: Sequence[Any]) -> int:
    """Bytes of the body of a message row, where it is not a file."""
    size: int = row[SIZE]
    return 0 if row[IN_FILE] else size


def _no_body(why: str) -> BodyReader:
    raise BodyMissing(why)


def small_bodies(connection: sqlite3.Connection, numbers: Iterable[int]) -> dict[int, bytes]:
    """The bodies that are in the database, of some messages."""
    from_json = json_list(numbers)
    return dict(
        connection.execute(
            "SELECT id, data FROM body WHERE id IN (SELECT value FROM json_each(?))", (from_json,)
        )
    )


def load(connection: sqlite3.Connection, folder: BodyFolder, number: int) -> Item | None:
    """A message by its number, or None."""
    row = connection.execute(_LOAD, (number,)).fetchone()
    if row is None:
        return None
    return message_of(row, body_source(row, small_bodies(connection, [number]), folder))


def json_list(numbers: Iterable[int]) -> str:
    """Whole numbers as a JSON array, for json_each: one statement whatever their count."""
    return f"[{','.join(map(str, numbers))}]"
