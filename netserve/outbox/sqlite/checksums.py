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
    # fmt: off
    (
        number, service, created, took, sender, body_type, smtputf8, ret, envid, user, client,
        trace, size, recipients, in_file, body_sum, *_,
    ) = row
    # fmt: on
    texts = f"{service}\0{sender}\0{body_type}\0{ret}\0{envid}\0{user}\0{client}\0{trace}"
    numbers = _NUMBERS(number, created, took, smtputf8, size, recipients, in_file, body_sum)
    return crc32(texts.encode(), crc32(numbers))


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
