"""Between the rows of the database and what is in model.py."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from netserve.outbox.bodies import BodyFolder
from netserve.outbox.errors import BodyMissing
from netserve.outbox.ids import encode_id
from netserve.outbox.model import BodyReader, QueuedMessage, QueuedRecipient, State

MESSAGE_COLUMNS: Final = (
    "id, service, created, took, sender, body_type, smtputf8, ret, envid, user, client, trace,"
    " size, recipients, in_file"
)
MESSAGE_WIDTH: Final = 15
RECIPIENT_COLUMNS: Final = (
    "message, n, state, lane, next_at, attempts, warned, address, domain, notify, original, last"
)
RECIPIENT_WIDTH: Final = 12


_MESSAGE_TYPES: Final = (
    int, str, float, float, str, str, int, str, str, str, str, str, int, int, int,
)  # fmt: skip
_RECIPIENT_TYPES: Final = (int, str, str, str, int, int, str)
_UNREADABLE: Final = "\ufffd"
"""Stands in a text where its bytes are not UTF-8; see database.py."""


def message_row(message: QueuedMessage) -> tuple[Any, ...]:
    """A message as a row, in the order of MESSAGE_COLUMNS."""
    return (
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
    )


def recipient_row(
    number: int, recipient: QueuedRecipient, lane: str, next_at: float
) -> tuple[Any, ...]:
    """A new recipient as a row, in the order of RECIPIENT_COLUMNS."""
    address = recipient.address
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
        ",".join(sorted(recipient.notify)) if recipient.notify else "",
        recipient.original,
        recipient.last,
    )


def is_sound_message(row: Sequence[Any]) -> bool:
    """Whether a row in the order of MESSAGE_COLUMNS has what it should have: disks forget bits."""
    return tuple(map(type, row)) == _MESSAGE_TYPES and _UNREADABLE not in row[4]


def is_sound_recipient(row: Sequence[Any]) -> bool:
    """Whether a row as for `recipient_of` has what it should have."""
    return tuple(map(type, row)) == _RECIPIENT_TYPES and _UNREADABLE not in row[1]


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
        open_body=open_body,
    )


def recipient_of(row: Sequence[Any]) -> QueuedRecipient:
    """The recipient of a row ``n, address, notify, original, attempts, warned, last``."""
    n, address, notify, original, attempts, warned, last = row
    words = frozenset(notify.split(",")) if notify else frozenset()
    return QueuedRecipient(n, address, words, original, attempts, bool(warned), last)


def body_source(
    row: Sequence[Any], small: Mapping[int, bytes], folder: BodyFolder
) -> Callable[[], BodyReader]:
    """What opens the body of a message row, given the bodies from the database."""
    number, size, in_file = row[0], row[12], row[14]
    if in_file:
        return partial(folder.open, number, size)
    data = small.get(number)
    if data is None or len(data) != size:
        return partial(_no_body, number)
    return partial(io.BytesIO, data)


def size_in_database(row: Sequence[Any]) -> int:
    """Bytes of the body of a message row, where it is not a file."""
    size: int = row[12]
    return 0 if row[14] else size


def _no_body(number: int) -> BodyReader:
    raise BodyMissing(f"the body of {encode_id(number)} is missing or has not its size")


def small_bodies(connection: sqlite3.Connection, numbers: Iterable[int]) -> dict[int, bytes]:
    """The bodies that are in the database, of some messages."""
    from_json = json_list(numbers)
    return dict(
        connection.execute(
            "SELECT id, data FROM body WHERE id IN (SELECT value FROM json_each(?))", (from_json,)
        )
    )


def json_list(numbers: Iterable[int]) -> str:
    """Whole numbers as a JSON array, for json_each: one statement whatever their count."""
    return f"[{','.join(map(str, numbers))}]"
