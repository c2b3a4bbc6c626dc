"""Where one message of an answer ends, by the framing of a dialogue."""

from __future__ import annotations

import re
from typing import Final

from netserve.dialogue.document import Framing

__all__ = ["count_of", "http_end", "is_whole"]

_END_OF_HEAD: Final = re.compile(rb"\r?\n\r?\n")
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})")
_LENGTH: Final = re.compile(
    rb"^content-length:[ \t]*([0-9]{1,15})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE
)
_CHUNKED: Final = re.compile(
    rb"^transfer-encoding:[^\r\n]*chunked[ \t]*\r?$", re.IGNORECASE | re.MULTILINE
)
_MOST_CHUNKS: Final = 100_000


def count_of(data: bytes, framing: Framing, *, after_head: bool = False) -> int:
    """How many messages are complete in these bytes.

    Arguments:
        data: the answer; not for datagrams, each of which is one message.
        framing: the unit of messages.
        after_head: whether it answers HEAD, so that responses have no body.
    """
    if framing == "lines":
        return data.count(b"\n")
    if framing == "mllp":
        return data.count(b"\x1c\r")
    if framing == "http":
        count = start = 0
        while (end := http_end(data, start, without_body=after_head)) > 0:
            count, start = count + 1, end
        return count
    return len(data)


def is_whole(data: bytes, framing: Framing, *, after_head: bool = False) -> bool:
    """Whether these bytes are one or more messages, and not a part of another one."""
    if framing == "lines":
        return data.endswith(b"\n")
    if framing == "mllp":
        return data.endswith(b"\x1c\r")
    if framing == "http":
        start = 0
        while 0 < (end := http_end(data, start, without_body=after_head)) < len(data):
            start = end
        return end == len(data) > 0
    return bool(data)


def http_end(data: bytes, start: int, *, without_body: bool = False) -> int:
    """Where the HTTP message that begins at `start` ends; 0 while it is not complete.

    One without a length ends with the connection (RFC 9112, section 6.3), so that is 0 too.
    """
    found = _END_OF_HEAD.search(data, start)
    if found is None:
        return 0
    # With the end of its last line, so that each field has one.
    head, body = data[start : found.start()] + b"\r\n", found.end()
    status = _STATUS.match(head)
    if without_body or (status and (status[1].startswith(b"1") or status[1] in {b"204", b"304"})):
        return body
    if _CHUNKED.search(head):
        return _end_of_chunks(data, body)
    length = _LENGTH.search(head)
    if length is None:
        return 0 if status else body
    end = body + int(length[1])
    return end if end <= len(data) else 0


def _end_of_chunks(data: bytes, at: int) -> int:
    for _ in range(_MOST_CHUNKS):
        line = data.find(b"\n", at)
        if line < 0:
            return 0
        try:
            size = int(data[at:line].partition(b";")[0].strip() or b"x", 16)
        except ValueError:
            return 0
        if size <= 0:
            trailer = re.compile(rb"(?:[^\r\n]+\r?\n)*\r?\n").match(data, line + 1)
            return trailer.end() if trailer else 0
        at = line + 1 + size
        end = data.find(b"\n", at)
        if end < 0:
            return 0
        at = end + 1
    return 0
