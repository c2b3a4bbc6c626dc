"""Cuts what is longer than a line that may be sent on (RFC 5322, 2.1.1): fields, and text. No I/O.

A field is folded where it has white space, so that it says the same (RFC 5322, 2.2.3); a word that
is itself too long is cut after a comma or semicolon, or else anywhere, and gets a space there. What
is cut from a line never begins with a character that could give the rest a meaning of its own: a
continuation begins with white space, and a line of an encoded part with no hyphen, so that it is no
delimiter of a multipart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from netserve.mail.fields import HeaderField
from netserve.mail.lines import LONGEST, LONGEST_WITH_END, has_long_line, measure

_RUN: Final = re.compile(rb"[ \t]{2,}")
_WIDTH: Final = 988
"""Octets of a line that was cut, at most: a multiple of four, as base64 has it, with some room."""

Kind: TypeAlias = Literal["text", "base64", "quoted-printable"]
"""What a long line is a part of; it says how a line may be cut."""


def fold_fields(fields: Sequence[HeaderField]) -> Sequence[HeaderField]:
    """The fields without a line over the limit; the same object if there is none."""
    if not any(has_long_line(field.raw) for field in fields):
        return fields
    return [HeaderField(field.name, fold_field(field.raw)) for field in fields]


def fold_field(raw: bytes) -> bytes:
    """A field without a line over the limit.

    Arguments:
        raw: all of it, its CRLF included.
    """
    if not has_long_line(raw):
        return raw
    lines = raw.removesuffix(b"\r\n").split(b"\r\n")
    return b"\r\n".join(b"\r\n".join(_folded(line)) for line in lines) + b"\r\n"


def _folded(line: bytes) -> list[bytes]:
    if len(line) <= LONGEST:
        return [line]
    # A continuation that has only white space ends the header for some readers.
    line = _RUN.sub(b" ", line).rstrip(b" \t")
    least = line.find(b":") + 2 if line[:1] not in (b" ", b"\t") else 1
    lines: list[bytes] = []
    at, space = 0, b""
    while len(space) + len(line) - at > LONGEST:
        most = at + LONGEST - len(space)
        end = max(line.rfind(b" ", least, most + 1), line.rfind(b"\t", least, most + 1))
        following = b""
        if end <= least:
            end = 1 + max(line.rfind(b",", least, most), line.rfind(b";", least, most))
            end = end if end > least else _character(line, most)
            following = b" "
        lines.append(space + line[at:end])
        at, space = end, following
        least = at + 1 - len(space)
    return [*lines, space + line[at:]]


def _character(text: bytes, at: int) -> int:
    """The place of a cut, or up to three octets before: a character of UTF-8 stays whole."""
    for back in range(min(3, at) + 1):
        if at - back >= len(text) or text[at - back] & 0xC0 != 0x80:
            return at - back
    return at


class Cutter:
    """Cuts the long lines of a part as it streams; other lines stay as they are.

    What it gives does not depend on how the part comes: of a line without its end it holds what
    came since its begin, or since the last cut.

    Arguments:
        kind: of base64 and quoted-printable the content stays the same; of text a line that was
            cut goes on with a space.
    """

    __slots__ = ("_column", "_held", "_kind")

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._column = 0  # octets of the line before those that are held: what a cut put there
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What the next bytes bring, which may be nothing yet."""
        data = self._held + data
        if measure(data, self._column, LONGEST_WITH_END) >= 0:
            out, last = [], data.rfind(b"\n") + 1
            if last:
                out.append(data[:last])
                self._column = 0
        else:
            out, last = self._cut(data)
        if self._column + len(data) - last > LONGEST:
            more, at = self._cut(data[last:])
            out += more
            last += at
        self._held = data[last:]
        return b"".join(out)

    def finish(self) -> bytes:
        """What was held back."""
        held, self._held = self._held, b""
        return held

    def _cut(self, data: bytes) -> tuple[list[bytes], int]:
        """The lines, cut, and where the one begins that is held."""
        out: list[bytes] = []
        at = 0
        while True:
            stop = data.find(b"\n", at) + 1
            end = stop - 2 if stop else len(data)
            while self._column + end - at > LONGEST:
                place = self._place(data, at, at + _WIDTH - self._column)
                joint, skipped = self._joint(data[place : place + 1])
                out += (data[at:place], joint)
                self._column = len(joint) - joint.index(b"\n") - 1
                at = place + skipped
            if not stop:
                return out, at
            out.append(data[at:stop])
            self._column = 0
            at = stop

    def _place(self, data: bytes, at: int, place: int) -> int:
        """Where a line is cut: outside of an escape, and of a character."""
        if self._kind == "quoted-printable":
            escape = data.rfind(b"=", place - 2, place)
            return place if escape < 0 else escape
        return _character(data, place) if self._kind == "text" else place

    def _joint(self, following: bytes) -> tuple[bytes, int]:
        """What stands at a cut, and how many of the octets after it that replaces."""
        if self._kind == "quoted-printable":
            return (b"=\r\n=2D", 1) if following == b"-" else (b"=\r\n", 0)
        return (b"\r\n ", 0) if self._kind == "text" or following == b"-" else (b"\r\n", 0)
