"""The length of lines: a message that is sent on has at most 998 octets in each (RFC 5322, 2.1.1;
RFC 5321, 4.5.3.1.6). No I/O.
"""

from __future__ import annotations

from typing import Final

LONGEST: Final = 998
"""Octets of a line that is sent on, without its CRLF."""
LONGEST_WITH_END: Final = LONGEST + 2


def measure(block: bytes, column: int, limit: int) -> int:
    """The octets of the line that a block ends in, or -1 if one of its lines is over the limit.

    A block that is clearly short costs one search. In a long one there must be an LF in each
    stretch of `limit` octets, so the search leaps from stretch to stretch.

    Arguments:
        block: the next bytes of a text whose lines end with CRLF, cut anywhere but inside a CRLF.
        column: octets of its first line that came in earlier blocks.
        limit: octets of a line, its CRLF included.
    """
    length = len(block)
    if column + length <= limit:
        end = block.rfind(b"\n") + 1
        return length - end if end else column + length
    end = block.rfind(b"\n", 0, max(limit - column, 0))
    while 0 <= end < length - 1 - limit:
        end = block.rfind(b"\n", end + 1, end + 1 + limit)
    return -1 if end < 0 else length - 1 - block.rfind(b"\n", end)


def has_long_line(text: bytes) -> bool:
    """Whether a whole text has a line that must not be sent on."""
    return measure(text, 0, LONGEST_WITH_END) < 0
