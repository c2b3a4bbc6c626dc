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
from netserve.outbox.model import BodyReader, QueuedMessage, QueuedRecipient, State
from netserve.outbox.sqlite.bodies import BodyFolder
from netserve.outbox.sqlite.checksums import message_sum, recipient_sum

MESSAGE_COLUMNS: Final = (
    "id, service, created, took, sender, body_type, smtputf8, ret, envid, user, client, trace,"
    " size, recipients, in_file, body_sum, sum"
)
MESSAGE_WIDTH: Final = 17
RECIPIENT_COLUMNS: Final = (
    "message, n, state, lane, next_at, attempts, warned, address, domain, notify, original, last,"
    " sum"
)
RECIPIENT_WIDTH: Final = 13
LOADED_COLUMNS: Final = "n, address, notify, original, attempts, warned, last, sum"
"""What `recipient_of` and `is_sound_recipient` want to see of a recipient."""

_MESSAGE_TYPES: Final = (
    int, str, float, float, str, str, int, str, str, str, str, str, int, int, int,
)  # fmt: skip
_RECIPIENT_TYPES: Final = (int, str, str, str, int, int, str)
_LOAD: Final = f"SELECT {MESSAGE_COLUMNS} FROM message WHERE id = ?"  # noqa: S608 - of constants
_UNREADABLE: Final = "\ufffd"
"""Stands in a text where its bytes are not UTF-8; see database.py."""


def message_row(message: QueuedMessage) -> tuple[Any, ...]:
    """A message as a row, in the order of MESSAGE_COLUMNS."""
    row = (
        message.number,
        message.service,
        message.created,
        message.took,
        message.sender,
        message.body_type,
        message.smtputf8,
        message.ret,
        message.envid,
        message.user,
        message.client,
        message.trace,
        message.size,
        message.recipients,
        message.in_file,
        message.body_sum,
    )
    return (*row, message_sum(row))


def recipient_row(
    number: int, recipient: QueuedRecipient, lane: str, next_at: float
) -> tuple[Any, ...]:
    """A new recipient as a row, in the order of RECIPIENT_COLUMNS."""
    address, original = recipient.address, recipient.original
    notify = ",".join(sorted(recipient.notify)) if recipient.notify else ""
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
        notify,
        original,
        recipient.last,
        recipient_sum(number, recipient.id, address, notify, original),
    )


def is_sound_message(row: Sequence[Any]) -> bool:
    """Whether a row in the order of MESSAGE_COLUMNS is as it was written: disks forget bits."""
    *values, body_sum, own_sum = row
    if tuple(map(type, values)) != _MESSAGE_TYPES or _UNREADABLE in row[4]:
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
    return own_sum is None or own_sum == recipient_sum(number, *row[:4])


def message_of(row: Sequence[Any], open_body: Callable[[], BodyReader]) -> QueuedMessage:
    """The message of a row in the order of MESSAGE_COLUMNS."""
    return QueuedMessage(
        id=encode_id(row[0]),
        number=row[0],
        service=row[1],
        created=row[2],
        took=row[3],
        sender=row[4],
        body_type=row[5],
        smtputf8=bool(row[6]),
        ret=row[7],
        envid=row[8],
        user=row[9],
        client=row[10],
        trace=row[11],
        size=row[12],
        recipients=row[13],
        in_file=bool(row[14]),
        body_sum=row[15],
        open_body=open_body,
    )


def recipient_of(row: Sequence[Any]) -> QueuedRecipient:
    """The recipient of a row of LOADED_COLUMNS."""
    n, address, notify, original, attempts, warned, last, _ = row
    words = frozenset(notify.split(",")) if notify else frozenset()
    return QueuedRecipient(n, address, words, original, attempts, bool(warned), last)


def body_source(
    row: Sequence[Any], small: Mapping[int, bytes], folder: BodyFolder
) -> Callable[[], BodyReader]:
    """What opens the body of a message row, given the bodies from the database.

    Whoever opens or reads it gets BodyMissing where it is not as it was written.
    """
    number, size, in_file, body_sum = row[0], row[12], row[14], row[15]
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
    size: int = row[12]
    return 0 if row[14] else size


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


def load(connection: sqlite3.Connection, folder: BodyFolder, number: int) -> QueuedMessage | None:
    """A message by its number, or None."""
    row = connection.execute(_LOAD, (number,)).fetchone()
    if row is None:
        return None
    return message_of(row, body_source(row, small_bodies(connection, [number]), folder))


def json_list(numbers: Iterable[int]) -> str:
    """Whole numbers as a JSON array, for json_each: one statement whatever their count."""
    return f"[{','.join(map(str, numbers))}]"
