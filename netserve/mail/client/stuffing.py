r"""The body of a message as it goes out behind DATA (RFC 5321, 4.5.2), streaming.

Every line that begins with a dot gets another one; the end is CRLF, dot, CRLF. It does not matter
where the chunks are cut. The queue holds lines that end with CRLF, and no other CR or LF. A dot
behind a bare LF is doubled all the same: a server that took ``\n.\n`` for the end would read the
rest of the message as commands.
"""

from __future__ import annotations


class Stuffer:
    """Encodes one message; its memory is two bytes, whatever the chunks are."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b"\r\n"  # the last two bytes before the next chunk

    def encode(self, data: bytes) -> bytes:
        """What to send for the next chunk."""
        before = self._tail[-1:]  # one byte only: what it began is not stuffed twice
        self._tail = (self._tail + data[-2:])[-2:]
        return (before + data).replace(b"\n.", b"\n..")[len(before) :]

    def finish(self) -> bytes:
        """What to send behind the last chunk; nothing may follow it."""
        return b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n"


def stuffed(body: bytes) -> bytes:
    """A whole message with its end, in one go."""
    end = b".\r\n" if body.endswith(b"\r\n") or not body else b"\r\n.\r\n"
    if b"\n." in body:
        body = body.replace(b"\n.", b"\n..")
    return (b"." if body.startswith(b".") else b"") + body + end
