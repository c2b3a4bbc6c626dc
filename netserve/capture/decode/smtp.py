"""SMTP seen passively (RFC 5321): commands, replies, messages by their size and subject.

Whether bytes of the client are commands or a message depends on the server's replies. A packet of
the server may have been captured after the client's reaction to it, so the bytes after DATA wait
for the reply to it, within bounds.
"""

from __future__ import annotations

import re
from collections import deque
from enum import Enum, auto
from typing import Final

from netserve.capture.decode.lines import LONGEST, gap_text
from netserve.capture.decode.model import CLIENT, SERVER, Details, Say
from netserve.capture.decode.printing import printable

__all__ = ["COMMAND", "SMTP"]

COMMAND: Final = re.compile(
    rb"(?i:EHLO|HELO|LHLO|MAIL|RCPT|DATA|BDAT|RSET|NOOP|QUIT|VRFY|EXPN|HELP|STARTTLS|AUTH|XCLIENT"
    rb"|ETRN|TURN|XFORWARD)(?=[ \r\n]|$)"
)

MAX_WAITING: Final = 64 << 10
"""Bytes of the client that wait for a reply to DATA; after that they are taken for a message."""
MAX_HEADER: Final = 16 << 10
"""Bytes of a message in which its subject is looked for."""
MAX_PENDING: Final = 1000
MAX_REPLY_LINES: Final = 128

_REPLY: Final = re.compile(rb"([2-5][0-9]{2})([ -]?)(.*)$", re.DOTALL)
_ENHANCED: Final = re.compile(r"([245]\.\d{1,3}\.\d{1,3}) ")
_HEADER: Final = re.compile(
    rb"^(subject|from|to|message-id|date):[ \t]*([^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)",
    re.IGNORECASE | re.MULTILINE,
)
_END: Final = b"\r\n.\r\n"


class _State(Enum):
    COMMANDS = auto()
    WAITING = auto()
    MESSAGE = auto()
    CHUNK = auto()
    LOST = auto()


class SMTP:
    """SMTP and LMTP.

    Arguments:
        say: takes items.
    """

    name = "smtp"

    def __init__(self, say: Say) -> None:
        self._say = say
        self.tls_began = False
        "Whether STARTTLS was accepted: from the next byte on it is not SMTP."
        self._state = _State.COMMANDS
        self._commands = b""
        "Of the client, not used yet."
        self._replies = b""
        self._reply_lines: list[str] = []
        self._pending: deque[bytes] = deque(maxlen=MAX_PENDING)
        self._message = bytearray()
        "The beginning of the message, for its header."
        self._size = 0
        self._tail = b""
        self._left = 0
        self._last_chunk = False
        self._challenged = False
        self._early_go_ahead = False
        "A 354 was captured before the DATA that it answers."

    def data(self, side: int, time: int, data: bytes) -> None:
        """Bytes of the stream in order."""
        if side == SERVER:
            self._server(time, data)
        elif self._state is _State.MESSAGE:
            self._in_message(time, data)
        else:
            self._client(time, data)

    def gap(self, side: int, time: int, size: int) -> None:
        """Bytes that the capture does not have."""
        self._say(time, side, "gap", gap_text(size), {"bytes": size})
        if side == SERVER:
            self._replies = b""
            self._reply_lines = []
            # It is not known which replies are missing, so that none is taken for one to DATA.
            self._pending.clear()
            if self._state is _State.WAITING:
                self._begin_message(time)
        elif self._state is _State.MESSAGE:
            self._size += size
            self._tail = b""
        elif self._state is _State.CHUNK and size <= self._left:
            self._left -= size
            self._size += size
            if not self._left:
                self._end_of_chunk(time)
        else:
            self._commands = b""
            self._state = _State.LOST

    def closed(self, side: int, time: int) -> None:
        """A side sends no more."""
        if side == CLIENT:
            if self._state in {_State.MESSAGE, _State.CHUNK}:
                self._tell_message(time, whole=False)
                self._state = _State.COMMANDS
            elif self._commands and self._state is _State.COMMANDS:
                self._command(time, self._commands)
            self._commands = b""
        elif self._replies:
            self._reply_line(time, self._replies)
            self._replies = b""

    def finish(self, time: int) -> None:
        """Nothing more comes."""
        self.closed(CLIENT, time)
        self.closed(SERVER, time)

    # the client

    def _client(self, time: int, data: bytes) -> None:
        data = self._commands + data
        self._commands = b""
        while data and not self.tls_began:
            if self._state is _State.CHUNK:
                data = self._in_chunk(time, data)
            elif self._state is _State.WAITING:
                self._commands = data
                if len(data) > MAX_WAITING:
                    self._begin_message(time)
                return
            elif self._state is _State.MESSAGE:
                self._in_message(time, data)
                return
            else:
                line, end, rest = data.partition(b"\n")
                if not end and len(data) < LONGEST:
                    self._commands = data
                    return
                data = rest
                self._command(time, line)

    def _command(self, time: int, line: bytes) -> None:
        line = line.rstrip(b"\r")
        if self._state is _State.LOST:
            if not COMMAND.match(line):
                return
            self._state = _State.COMMANDS
        if self._challenged or b"AUTH" in self._pending:
            # A client that does not wait to be asked has its secrets in these lines, too.
            if self._challenged:
                self._pending.append(b"AUTH")
            self._challenged = False
            self._say(time, CLIENT, "answer", "***", {"text": "***"})
            return
        verb, _, parameter = line.partition(b" ")
        verb = verb.upper()
        self._pending.append(verb)
        shown = _without_secret(verb, parameter)
        name = printable(verb, 40)
        details: Details = {"command": name, "parameter": shown}
        self._say(time, CLIENT, "command", f"{name} {shown}" if shown else name, details)
        if verb == b"DATA" and not parameter:
            self._state = _State.WAITING
            if self._early_go_ahead:
                self._pending.clear()
                self._begin_message(time)
        elif verb == b"BDAT":
            self._begin_chunk(time, parameter)

    def _begin_message(self, time: int) -> None:
        self._state = _State.MESSAGE
        self._early_go_ahead = False
        self._message.clear()
        self._size = 0
        # An empty message ends with the dot that follows DATA at once.
        self._tail = b"\r\n"
        waiting, self._commands = self._commands, b""
        if waiting:
            self._in_message(time, waiting)

    def _in_message(self, time: int, data: bytes) -> None:
        """Look for the end of the message, which may lie across pieces."""
        tail = self._tail
        joined = tail + data[:4]
        at = joined.find(_END)
        if 0 <= at < len(tail):
            end = at + 5 - len(tail)
        else:
            at = data.find(_END)
            end = at + 5 if at >= 0 else -1
        piece = data if end < 0 else data[:end]
        if len(self._message) < MAX_HEADER:
            self._message += piece[: MAX_HEADER - len(self._message)]
        self._size += len(piece)
        if end < 0:
            self._tail = (tail + data)[-4:]
            return
        self._size = max(0, self._size - 3)
        self._tell_message(time, whole=True)
        self._state = _State.COMMANDS
        self._pending.append(b".")
        if rest := data[end:]:
            self._client(time, rest)

    def _begin_chunk(self, time: int, parameter: bytes) -> None:
        """BDAT (RFC 3030) is followed by a counted number of bytes."""
        words = parameter.split()
        if not words or not words[0].isdigit() or len(words[0]) > 15:
            return
        if not self._size:
            self._message.clear()
        self._left = int(words[0])
        self._last_chunk = words[-1].upper() == b"LAST"
        self._state = _State.CHUNK
        if not self._left:
            self._end_of_chunk(time)

    def _in_chunk(self, time: int, data: bytes) -> bytes:
        piece, rest = data[: self._left], data[self._left :]
        if len(self._message) < MAX_HEADER:
            self._message += piece[: MAX_HEADER - len(self._message)]
        self._size += len(piece)
        self._left -= len(piece)
        if not self._left:
            self._end_of_chunk(time)
        return rest

    def _end_of_chunk(self, time: int) -> None:
        self._state = _State.COMMANDS
        if self._last_chunk:
            self._tell_message(time, whole=True)

    def _tell_message(self, time: int, *, whole: bool) -> None:
        found: dict[str, object] = {}
        for name, value in _HEADER.findall(bytes(self._message).partition(b"\r\n\r\n")[0]):
            key = name.lower().decode().replace("-", "_")
            found.setdefault(key, printable(b" ".join(value.split()), 200))
        text = f"(message, {self._size:,} bytes)" if whole else (
            f"(message, cut off after {self._size:,} bytes)"
        )  # fmt: skip
        if "subject" in found:
            text += f" Subject: {found['subject']}"
        details = {"size": self._size, "complete": whole, **found}
        self._say(time, CLIENT, "message", text, details)
        self._message.clear()
        self._size = 0

    # the server

    def _server(self, time: int, data: bytes) -> None:
        lines = (self._replies + data).split(b"\n")
        self._replies = lines.pop()
        for line in lines:
            self._reply_line(time, line)
        if len(self._replies) > LONGEST:
            self._reply_line(time, self._replies)
            self._replies = b""

    def _reply_line(self, time: int, line: bytes) -> None:
        line = line.rstrip(b"\r")
        found = _REPLY.match(line)
        if found is None:
            text = printable(line)
            self._say(time, SERVER, "line", text, {"text": text})
            return
        code, mark, text_ = found.groups()
        if len(self._reply_lines) < MAX_REPLY_LINES:
            self._reply_lines.append(printable(text_))
        if mark != b"-":
            self._reply(time, int(code))

    def _reply(self, time: int, code: int) -> None:
        lines, self._reply_lines = self._reply_lines, []
        enhanced = _ENHANCED.match(lines[0])
        details: dict[str, object] = {"code": code, "lines": lines}
        if enhanced:
            details["enhanced"] = enhanced[1]
        self._say(time, SERVER, "reply", f"{code} {' | '.join(lines)}".rstrip(), details)
        verb = self._pending.popleft() if self._pending else b""
        if code == 334:
            self._challenged = True
        elif verb == b"DATA" and self._state is _State.WAITING:
            self._answer_to_data(time, code)
        elif code == 354:
            self._early_go_ahead = True
        elif verb == b"STARTTLS" and code == 220:
            self.tls_began = True

    def _answer_to_data(self, time: int, code: int) -> None:
        if code == 354:
            self._begin_message(time)
            return
        self._state = _State.COMMANDS
        self._client(time, b"")


def _without_secret(verb: bytes, parameter: bytes) -> str:
    """The parameter; of AUTH its mechanism only."""
    if verb == b"AUTH" and b" " in parameter.strip():
        return printable(parameter.split()[0], 40) + " ***"
    return printable(parameter.rstrip())
