r"""The body of a message as it goes out behind DATA (RFC 5321, 4.5.2), streaming.

Every line that begins with a dot gets another one; the end is CRLF, dot, CRLF. It does not matter
where the chunks are cut. What the queue holds has CRLF line endings only; should a bare CR or LF
come here all the same, it becomes CRLF, since none may be sent (2.3.8), and since a server that
took ``\n.\n`` for the end would read the rest of the message as commands.
"""

from __future__ import annotations

import re
from typing import Final

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")


class Stuffer:
    """Encodes one message; its memory is two bytes, whatever the chunks are."""

    __slots__ = ("_held", "_tail")

    def __init__(self) -> None:
        self._tail = b"\r\n"  # the last two bytes before the next chunk, not yet stuffed
        self._held = b""  # a CR at the end of a chunk: the next byte tells what it is

    def encode(self, data: bytes) -> bytes:
        """What to send for the next chunk."""
        data = self._held + data
        self._held = b""
        if data.endswith(b"\r"):
            self._held = b"\r"
            data = data[:-1]
        return self._stuffed(data) if data else b""

    def finish(self) -> bytes:
        """What to send behind the last chunk; nothing may follow it."""
        rest = self._stuffed(self._held) if self._held else b""
        self._held = b""
        return rest + (b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n")

    def _stuffed(self, data: bytes) -> bytes:
        line_ends = data.count(b"\r\n")
        if data.count(b"\n") != line_ends or data.count(b"\r") != line_ends:
            data = _LINE_END.sub(b"\r\n", data)
        tail = self._tail
        joined = tail + data
        self._tail = joined[-2:]
        return joined.replace(b"\r\n.", b"\r\n..")[len(tail) :]


def stuffed(body: bytes) -> bytes:
    """A whole message with its end, in one go."""
    stuffer = Stuffer()
    return stuffer.encode(body) + stuffer.finish()
