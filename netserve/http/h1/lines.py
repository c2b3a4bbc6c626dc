"""What came and was not read yet, and how lines are read from it, whole or in pieces.

A verdict never depends on how the network cut the input: the first byte that breaks a rule or
passes a limit decides, whether its line is complete by then or not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from netserve.http.h1.fields import Field, Fields, known, read_field
from netserve.http.h1.violations import Violated, too_large, violated

T = TypeVar("T")

NO_FIELDS: Final = Fields()

INCOMPLETE: Final = -1
TOO_LONG: Final = -2
BARE_LF: Final = -3

_CR: Final = 13
_REMEMBERED: Final = 2048
"""Bytes of field lines up to which a section remembers the last ones."""
_REMEMBERED_LINE: Final = 256
"""The same for a first line."""


class Input:
    """Bytes that came, up to where they have been read."""

    __slots__ = ("at", "data")

    def __init__(self) -> None:
        self.data = b""
        self.at = 0

    def add(self, data: bytes) -> None:
        """More came."""
        if self.at < len(self.data):
            data = self.data[self.at :] + data
        self.data = data
        self.at = 0

    def __len__(self) -> int:
        return len(self.data) - self.at

    def take(self) -> bytes:
        """All that is left; a piece that was not touched is given as it is."""
        data = self.data[self.at :] if self.at else self.data
        self.data, self.at = b"", 0
        return data


def find_line(data: bytes, at: int, allowed: int) -> int:
    """Where the LF of the line is that begins at an offset.

    Arguments:
        data: what came.
        at: the beginning of the line.
        allowed: the most bytes that it may have, without its CRLF.

    Returns:
        The offset, or INCOMPLETE, TOO_LONG or BARE_LF.
    """
    end = data.find(b"\n", at, at + allowed + 2)
    if end < 0:
        length = len(data) - at
        if length > allowed and (length > allowed + 1 or data[-1] != _CR):
            return TOO_LONG
        return INCOMPLETE
    if end == at or data[end - 1] != _CR:
        return TOO_LONG if end - at > allowed else BARE_LF
    return end


class Section(Generic[T]):
    """Reads a head or a trailer section: field lines up to an empty line.

    Arguments:
        most: the most bytes of all lines with their CRLFs.
        most_fields: the most field lines.
        longest_field: the most bytes of one field line.
        longest_first: the most bytes of the first line.
        read_first: reads the first line; None: a trailer section, which has none.
        check_start: is given the beginning of a first line that is not complete, and may refuse it.
        first_too_long: the reason and the status for a first line that is too long.
        empty_lines: how many empty lines may come before the first line (RFC 9112, 2.2).
    """

    __slots__ = (
        "_check_start", "_empty_left", "_empty_lines", "_first_too_long", "_last", "_last_block",
        "_last_first", "_last_line", "_longest_field", "_longest_first", "_most", "_most_fields",
        "_read_first", "_size", "_small", "_taken", "fields", "first",
    )  # fmt: skip

    def __init__(
        self,
        *,
        most: int,
        most_fields: int,
        longest_field: int,
        longest_first: int = 0,
        read_first: Callable[[bytes], T] | None = None,
        check_start: Callable[[bytes], None] | None = None,
        first_too_long: tuple[str, int] = ("", 0),
        empty_lines: int = 0,
    ) -> None:
        self._most = most
        self._most_fields = most_fields
        self._longest_field = longest_field
        self._longest_first = longest_first
        self._read_first = read_first
        self._check_start = check_start
        self._first_too_long = first_too_long
        self._empty_lines = empty_lines
        # A head of this size can pass no limit on sizes.
        self._small = min(most - 4, longest_field, longest_first)
        # Those of the head before this one: most peers send the same with each message.
        self._last_block = b""
        self._last = Fields()
        self._last_line = b""
        self._last_first: T | None = None
        self.clear()

    def clear(self) -> None:
        """Begin again, for the next head."""
        self.first: T | None = None
        self.fields = NO_FIELDS
        self._taken: list[Field] = []
        self._size = 0
        self._empty_left = self._empty_lines

    @property
    def has_begun(self) -> bool:
        """Whether a line of it has been read."""
        return self._size > 0

    def read(self, source: Input) -> bool:
        """Read on.

        Returns:
            Whether it is complete: `first` and `fields` hold it then.

        Raises:
            Violated: it breaks a rule or a limit.
        """
        if self._size or self._read_first is None:
            return self._read_lines(source)
        # Nearly every head comes in one piece.
        data, at = source.data, source.at
        end = data.find(b"\r\n\r\n", at, at + self._small)
        if end <= at:
            return self._read_lines(source)
        begin = data.find(b"\r\n", at, end + 2)
        block = data[begin + 2 : end + 2]
        try:
            line = data[at:begin]
            if line == self._last_line and self._last_first is not None:
                self.first = self._last_first
            else:
                self.first = self._read_first(line)
                if len(line) <= _REMEMBERED_LINE:
                    self._last_line, self._last_first = line, self.first
            self.fields = self._last if block == self._last_block else self._read_block(block)
        except Violated:
            self.first = None
            return self._read_lines(source)  # which finds what comes first
        source.at = end + 4
        return True

    def _read_block(self, block: bytes) -> Fields:
        """The fields of a whole block of lines, each with its CRLF."""
        lines = block.split(b"\r\n")
        lines.pop()
        if len(lines) > self._most_fields:
            too_large("too many fields", 431)
        fields = Fields([known(line) or read_field(line) for line in lines], block)
        if len(block) <= _REMEMBERED:
            self._last_block, self._last = block, fields
        return fields

    def _read_lines(self, source: Input) -> bool:
        data = source.data
        while True:
            at = source.at
            first = self.first is None and self._read_first is not None
            longest = self._longest_first if first else self._longest_field
            room = max(self._most - self._size - 2, 0)
            end = find_line(data, at, min(longest, room))
            if end < 0:
                if first and self._check_start is not None and at < len(data):
                    self._check_start(data[at:])
                if end == TOO_LONG:
                    self._refuse_length(first=first, line=longest <= room)
                if end == BARE_LF:
                    violated("bare LF", data[at : data.index(b"\n", at) + 1])
                return False
            line = data[at : end - 1]
            if line or (first and not self._empty_left):
                self._take(line, first=first)
                self._size += len(line) + 2
                source.at = end + 1
            else:
                source.at = end + 1
                if not first:
                    self.fields = Fields(self._taken)
                    return True
                self._empty_left -= 1

    def _take(self, line: bytes, *, first: bool) -> None:
        if first:
            assert self._read_first is not None  # noqa: S101 - `first` says so
            self.first = self._read_first(line)
            return
        if len(self._taken) >= self._most_fields:
            too_large("too many fields", 431)
        self._taken.append(known(line) or read_field(line))

    def _refuse_length(self, *, first: bool, line: bool) -> None:
        if not line:
            too_large(
                "header section too large" if self._read_first else "trailer section too large", 431
            )
        if first:
            too_large(*self._first_too_long)
        too_large("field line too long", 431)
