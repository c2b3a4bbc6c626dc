"""A header section as its fields, byte for byte (RFC 5322, 2.2). No I/O.

Nothing is decoded, so that what is not meant to be changed goes on as it came. A line that is no
field ends the section.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_NAME: Final = re.compile(rb"[!-9;-~]+(?=[ \t]*:)")
MBOX_LINE: Final = re.compile(rb">*+From (?![ \t]*:)")
"""The begin of a line that a mailbox file has before a message (RFC 4155)."""
_LINES: Final = re.compile(rb"(?:(?:[!-9;-~]++[ \t]*+:|[ \t])[^\n]*+\n)*+")


@dataclass(frozen=True, slots=True)
class HeaderField:
    """One field.

    Arguments:
        name: in lower case; empty for a line that is no field, where one was given.
        raw: all of it, folded as it came, its CRLF included.
    """

    name: str
    raw: bytes

    @property
    def body(self) -> bytes:
        """What stands behind the colon, folded as it came, without white space around it."""
        return self.raw.partition(b":")[2].strip(b" \t\r\n")

    @property
    def value(self) -> bytes:
        """The body on one line."""
        return self.body.replace(b"\r\n", b"")


def fields_end(text: bytes | bytearray, at: int = 0) -> int:
    """Where fields end: at an empty line, at a line that is no field, or at one without its end.

    Arguments:
        text: lines end with CRLF.
        at: where a field begins; a line that begins with white space belongs to what is before it.
    """
    match = _LINES.match(text, at)
    return match.end() if match is not None else at


def head_size(message: bytes) -> int:
    """Bytes of the header section that a message begins with, its empty line included.

    Arguments:
        message: lines that end with CRLF, the header section among them. Lines of a mailbox file
            count as a part of it; so does a last field that lacks its CRLF.
    """
    at = 0
    while MBOX_LINE.match(message, at) and (line_end := message.find(b"\n", at)) >= 0:
        at = line_end + 1
    end = fields_end(message, at)
    if message.startswith(b"\r\n", end):
        return end + 2
    is_open = message.find(b"\n", end) < 0 and _NAME.match(message, end)
    return len(message) if is_open else end


def fields_of(head: bytes) -> list[HeaderField]:
    """The fields of a header section, in order.

    Arguments:
        head: with or without the empty line at its end.
    """
    fields: list[HeaderField] = []
    lines: list[bytes] = []
    for line in head.split(b"\r\n"):
        if line[:1] in (b" ", b"\t") and lines:
            lines.append(line)
            continue
        if lines:
            fields.append(_field(lines))
        lines = [line] if line else []
    if lines:
        fields.append(_field(lines))
    return fields


def _field(lines: list[bytes]) -> HeaderField:
    match = _NAME.match(lines[0])
    name = match[0].lower().decode("ascii") if match else ""
    return HeaderField(name, b"\r\n".join(lines) + b"\r\n")


def make_field(name: str, body: bytes) -> HeaderField:
    """A field of ours.

    Arguments:
        name: as it is to be written.
        body: in ASCII or UTF-8, folded where it is long, without the CRLF at its end.
    """
    return HeaderField(name.lower(), name.encode("ascii") + b": " + body + b"\r\n")


def join_fields(fields: Iterable[HeaderField]) -> bytes:
    """The header section that they make, without the empty line behind it."""
    return b"".join(field.raw for field in fields)
