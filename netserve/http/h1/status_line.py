"""The status line (RFC 9112, 4)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple, NoReturn

from netserve.http.h1.violations import Kind, violated

# The space before an empty reason is left out by servers in wide use.
_STATUS_LINE: Final = re.compile(
    rb"HTTP/1\.([0-9]) ([1-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?"
).fullmatch
_OTHER_VERSION: Final = re.compile(rb"HTTP/[0-9]\.[0-9] ").match
is_reason: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*").fullmatch
"""A match if the bytes are valid as a reason phrase, else None."""

_START: Final = b"HTTP/"


class StatusLine(NamedTuple):
    """A status line: the minor version, the status, and the reason as it came."""

    minor: int
    status: int
    reason: bytes


def read_status_line(line: bytes) -> StatusLine:
    """Read a status line.

    Arguments:
        line: without its CRLF.

    Raises:
        Violated: it is none, or of another version.
    """
    match = _STATUS_LINE(line)
    if match is None:
        _explain(line)
    minor, status, reason = match.groups()
    return StatusLine(int(minor), int(status), reason or b"")


def _explain(line: bytes) -> NoReturn:
    """Raise what is wrong with a line that is not a status line."""
    if not line.startswith(_START):
        violated("not an HTTP response", line)
    if _OTHER_VERSION(line) and not line.startswith(b"HTTP/1."):
        violated("unsupported HTTP version", line, status=505, kind=Kind.UNSUPPORTED)
    violated("malformed status line", line)


def check_start(data: bytes) -> None:
    """Refuse what cannot become a status line, before it is complete.

    Raises:
        Violated: it begins like none.
    """
    if not data.startswith(_START[: len(data)]):
        violated("not an HTTP response", data)
