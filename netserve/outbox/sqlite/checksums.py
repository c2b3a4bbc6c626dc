"""Checksums of what is stored, so that a damaged row or body is found before it is sent.

A row's checksum is over what never changes in it: all of a message, and of a recipient its address
and its meta text. State, times and the last reply change with every attempt, and are
looked at by their types. CRC-32 finds damage; it is no defence against a forger.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final
from zlib import crc32

_NUMBERS: Final = struct.Struct("<qddqqbq").pack


def message_sum(row: Sequence[Any]) -> int:
    """The checksum of a message.

    Arguments:
        row: in the order of `rows.MESSAGE_COLUMNS`, up to and with `body_sum`.

    Raises:
        struct.error, TypeError, UnicodeError: a value is not of its type.
    """
    # fmt: off
    (
        number, service, kind, created, took, sender, meta, user, client, trace, size, recipients,
        in_file, body_sum, *_,
    ) = row
    # fmt: on
    texts = f"{service}\0{kind}\0{sender}\0{meta}\0{user}\0{client}\0{trace}"
    numbers = _NUMBERS(number, created, took, size, recipients, in_file, body_sum)
    return crc32(texts.encode(), crc32(numbers))


def recipient_sum(number: int, n: int, address: str, meta: str) -> int:
    """The checksum of a recipient.

    Arguments:
        number: of the message.
        n: of the recipient within it.
        address: as stored.
        meta: as stored.

    Raises:
        UnicodeError: a text is not Unicode.
    """
    return crc32(f"{number}\0{n}\0{address}\0{meta}".encode())


_NUMBERS_3: Final = struct.Struct("<qddbqqbq").pack


def add_functions(connection: sqlite3.Connection) -> None:
    """Give a connection the functions that an upgrade to version 4 uses, in its statements.

    They take texts as blobs, and give NULL where a value is not of its type.
    """
    for function, width in (
        (_message_sum_3, 16),
        (_message_sum_4, 13),
        (_recipient_sum, 5),
        (_recipient_sum, 4),
    ):
        connection.create_function(
            function.__name__[1:], width, partial(_or_null, function), deterministic=True
        )


def _or_null(function: Callable[..., int], *values: Any) -> int | None:
    try:
        return function(*values)
    except (struct.error, TypeError):
        return None


def _message_sum_3(*row: Any) -> int:
    (
        number, service, created, took, sender, body_type, smtputf8, ret, envid, user, client,
        trace, size, recipients, in_file, body_sum,
    ) = row  # fmt: skip
    texts = b"\0".join((service, sender, body_type, ret, envid, user, client, trace))
    numbers = _NUMBERS_3(number, created, took, smtputf8, size, recipients, in_file, body_sum)
    return crc32(texts, crc32(numbers))


def _message_sum_4(*row: Any) -> int:
    (
        number, service, created, took, sender, meta, user, client, trace, size, recipients,
        in_file, body_sum,
    ) = row  # fmt: skip
    texts = b"\0".join((service, b"mail", sender, meta, user, client, trace))
    return crc32(texts, crc32(_NUMBERS(number, created, took, size, recipients, in_file, body_sum)))


def _recipient_sum(number: Any, n: Any, *texts: Any) -> int:
    return crc32(b"%d\0%d\0" % (number, n) + b"\0".join(texts))
