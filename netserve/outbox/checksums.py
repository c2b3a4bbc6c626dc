"""Checksums of what is stored, so that a damaged row or body is found before it is sent. Pure.

A row's checksum is over what never changes in it: all of a message, and of a recipient its address
and what the client asked for. State, times and the last reply change with every attempt, and are
looked at by their types. CRC-32 finds damage; it is no defence against a forger.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final
from zlib import crc32

_NUMBERS: Final = struct.Struct("<qddbqqbq").pack


def message_sum(row: Sequence[Any]) -> int:
    """The checksum of a message.

    Arguments:
        row: in the order of `rows.MESSAGE_COLUMNS`, up to and with `body_sum`.

    Raises:
        struct.error, TypeError, UnicodeError: a value is not of its type.
    """
    texts = "\0".join((row[1], *row[4:6], *row[7:12])).encode()
    numbers = _NUMBERS(row[0], row[2], row[3], row[6], row[12], row[13], row[14], row[15])
    return crc32(texts, crc32(numbers))


def recipient_sum(number: int, n: int, address: str, notify: str, original: str) -> int:
    """The checksum of a recipient.

    Arguments:
        number: of the message.
        n: of the recipient within it.
        address: as stored.
        notify: as stored.
        original: as stored.

    Raises:
        UnicodeError: a text is not Unicode.
    """
    return crc32(f"{number}\0{n}\0{address}\0{notify}\0{original}".encode())
