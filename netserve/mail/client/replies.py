"""Reads the replies of an SMTP server (RFC 5321, 4.2): bytes in, replies out, bounded.

A reply is one or more lines of ``code-text`` with ``code text`` as the last. A server that sends
something else, too much of it, or lines with different codes is not understood: `BadReply`.
"""

from __future__ import annotations

import re
from typing import Final

from netserve.mail.envelope import Reply

MAX_LINE: Final = 2048
"""Bytes of one line, its end included; RFC 5321 allows 512."""
MAX_LINES: Final = 128
"""Lines of one reply."""
MAX_TEXT: Final = 2000
"""Characters of a reply's text that are kept."""

_CODES: Final = {b"%d" % code: code for code in range(200, 600)}
_STATUS: Final = re.compile(rb"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |$)")


class BadReply(Exception):
    """The server's bytes are no SMTP reply."""


class RawReply:
    """A reply as it came; most are only asked for their code.

    Arguments:
        code: 200 to 599.
        lines: the texts behind code and separator, at least one.
    """

    __slots__ = ("code", "lines")

    def __init__(self, code: int, lines: list[bytes]) -> None:
        self.code = code
        self.lines = lines

    def reply(self) -> Reply:
        """With its enhanced status code apart, and made fit for logs and bounces."""
        match = _STATUS.match(self.lines[0])
        if match is None or self.code // 100 != int(match[1][:1]):
            return Reply(self.code, "", _text(self.lines))
        status = match[1]
        # A server with enhanced codes puts them on each line (RFC 2034, 4).
        lines = [line.removeprefix(status).lstrip(b" ") for line in self.lines]
        return Reply(self.code, status.decode(), _text(lines))


class Unusable(Exception):
    """The server does not let us begin.

    Arguments:
        what: in our words.
        raw: in its own.
        login_refused: it is the login that it does not take.
    """

    def __init__(self, what: str, raw: RawReply, *, login_refused: bool = False) -> None:
        reply = raw.reply()
        text = f"{what}: {reply}"
        super().__init__(text)
        self.reply = Reply(451, "4.3.0" if reply.code // 100 == 5 else reply.status, text)
        self.login_refused = login_refused


def _text(lines: list[bytes]) -> str:
    text = b"\n".join(lines).decode("utf-8", "replace")[:MAX_TEXT]
    if not text.isprintable():
        text = "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
    return text


class ReplyReader:
    """Cuts the server's bytes into replies."""

    __slots__ = ("_at", "_buffer", "_lines")

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0  # where what was not given out begins
        self._lines: list[bytes] = []  # of a reply that goes on, with their codes

    def feed(self, data: bytes) -> None:
        """Take what came; ask `next` until it gives None."""
        rest = self._buffer[self._at :]
        self._buffer = rest + data if rest else data
        self._at = 0

    @property
    def pending(self) -> bool:
        """Whether bytes are left that `next` did not give out."""
        return self._at < len(self._buffer) or bool(self._lines)

    def next(self) -> RawReply | None:
        """The next whole reply, or None where more is needed.

        Raises:
            BadReply: what came is no reply, or too long.
        """
        while True:
            buffer, at = self._buffer, self._at
            end = buffer.find(b"\n", at, at + MAX_LINE)
            if end < 0:
                if len(buffer) - at >= MAX_LINE:
                    raise BadReply("a line of the reply is too long")
                return None
            self._at = end + 1
            reply = self._take(buffer[at:end].removesuffix(b"\r"))
            if reply is not None:
                return reply

    def _take(self, line: bytes) -> RawReply | None:
        code = _CODES.get(line[:3])
        separator = line[3:4]
        if code is None or separator not in (b" ", b"-", b""):
            raise BadReply("the reply is not in the form of SMTP")
        lines = self._lines
        if lines and lines[0][:3] != line[:3]:
            raise BadReply("the lines of the reply have different codes")
        if separator == b"-":
            if len(lines) >= MAX_LINES:
                raise BadReply("the reply has too many lines")
            lines.append(line)
            return None
        if not lines:
            return RawReply(code, [line[4:]])
        self._lines = []
        return RawReply(code, [each[4:] for each in lines] + [line[4:]])
