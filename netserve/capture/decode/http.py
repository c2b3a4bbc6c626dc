"""HTTP/1 seen passively (RFC 9112): heads of requests and responses, sizes of bodies.

A passive reader refuses nothing: it reports messages as the peers accepted them, and nonsense as a
problem.
"""

from __future__ import annotations

import re
from collections import deque
from enum import Enum, auto
from typing import Final

from netserve.capture.decode.lines import gap_text
from netserve.capture.decode.model import CLIENT, SERVER, Say
from netserve.capture.decode.printing import printable

__all__ = ["HTTP", "REQUEST_LINE", "STATUS_LINE"]

REQUEST_LINE: Final = re.compile(
    rb"([A-Za-z][A-Za-z0-9!#$%&'*+.^_`|~-]{0,31}) (\S+) (HTTP/1\.[01])\r?$"
)
STATUS_LINE: Final = re.compile(rb"(HTTP/1\.[01]) ([0-9]{3})(?: (.*?))?\r?$")

MAX_HEAD: Final = 256 << 10
"""Bytes of a head or of a line between chunks; beyond that the rest is not read as HTTP."""
MAX_PENDING: Final = 1000
"""Requests that may be without a response."""

_END_OF_HEAD: Final = re.compile(rb"\r?\n\r?\n")
_FIELD: Final = re.compile(rb"^([^\s:]+):[ \t]*([^\r\n]*)", re.MULTILINE)
_WANTED: Final = {
    b"host": "host", b"content-type": "content_type", b"content-length": "content_length",
    b"transfer-encoding": "transfer_encoding", b"location": "location",
    b"connection": "connection", b"upgrade": "upgrade", b"user-agent": "user_agent",
    b"server": "server", b"content-encoding": "content_encoding",
}  # fmt: skip


class _State(Enum):
    HEAD = auto()
    COUNTED = auto()
    CHUNK_SIZE = auto()
    CHUNK = auto()
    TRAILER = auto()
    UNTIL_CLOSE = auto()
    TUNNEL = auto()
    LOST = auto()


_COUNTED: Final = _State.COUNTED


class _Side:
    """How far one direction has got."""

    __slots__ = ("body", "buffer", "chunks", "left", "state")

    def __init__(self) -> None:
        self.state = _State.HEAD
        self.buffer = b""
        self.left = 0
        self.body = 0
        self.chunks = 0


class HTTP:
    """HTTP/1.0 and 1.1."""

    name = "http"

    def __init__(self, say: Say) -> None:
        self._say = say
        self._sides = (_Side(), _Side())
        self._methods: deque[bytes] = deque(maxlen=MAX_PENDING)

    def data(self, which: int, time: int, data: bytes) -> None:
        """Bytes of the stream in order."""
        side = self._sides[which]
        if side.state is _COUNTED and len(data) < side.left:  # nearly all pieces
            side.left -= len(data)
            side.body += len(data)
            return
        while data:
            state = side.state
            if state is _State.COUNTED or state is _State.CHUNK:
                used = min(side.left, len(data))
                side.left -= used
                side.body += used
                data = data[used:]
                if not side.left:
                    side.state = _State.HEAD if state is _State.COUNTED else _State.CHUNK_SIZE
            elif state is _State.UNTIL_CLOSE or state is _State.TUNNEL:
                side.body += len(data)
                return
            elif state is _State.LOST:
                data = self._find_again(which, side, data)
            else:
                data = self._buffered(which, side, time, side.buffer + data)

    def gap(self, which: int, time: int, size: int) -> None:
        """Bytes that the capture does not have: harmless within a body, else the thread is lost."""
        side = self._sides[which]
        self._say(time, which, "gap", gap_text(size), {"bytes": size})
        if side.state in {_State.COUNTED, _State.CHUNK} and size <= side.left:
            side.left -= size
            side.body += size
            if not side.left:
                side.state = _State.HEAD if side.state is _State.COUNTED else _State.CHUNK_SIZE
        elif side.state in {_State.UNTIL_CLOSE, _State.TUNNEL}:
            side.body += size
        else:
            side.state = _State.LOST
            side.buffer = b""

    def closed(self, which: int, time: int) -> None:
        """The side sends no more."""
        side = self._sides[which]
        if side.state is _State.UNTIL_CLOSE or side.state is _State.TUNNEL:
            self._end_of_body(which, side, time)
        elif side.state in {_State.COUNTED, _State.CHUNK}:
            text = f"ends {side.left:,} bytes before the end of the body"
            self._say(time, which, "problem", text, {"missing": side.left})
        elif side.buffer:
            text = f"ends within a head: {printable(side.buffer, 100)}"
            self._say(time, which, "problem", text, {})
        side.state = _State.LOST
        side.buffer = b""

    def finish(self, time: int) -> None:
        """Nothing more comes."""
        for which, side in enumerate(self._sides):
            if side.body and side.state in {_State.UNTIL_CLOSE, _State.TUNNEL}:
                self._end_of_body(which, side, time)

    def _buffered(self, which: int, side: _Side, time: int, data: bytes) -> bytes:
        """Use a head or a line of `data`; returns the rest."""
        side.buffer = b""
        if side.state is _State.HEAD:
            # Empty lines in front of a request are ignored (RFC 9112, section 2.2).
            data = data.lstrip(b"\r\n")
            if b"\n" in data and not self._begins_well(which, data):
                return self._lose(which, side, time, data)
            found = _END_OF_HEAD.search(data)
            if found:
                self._head(which, side, time, data[: found.start()])
                return data[found.end() :]
        else:
            line, end, rest = data.partition(b"\n")
            if end:
                self._line(which, side, time, line.rstrip(b"\r"))
                return rest
        if len(data) > MAX_HEAD:
            return self._lose(which, side, time, data)
        side.buffer = data
        return b""

    def _begins_well(self, which: int, data: bytes) -> bool:
        line = data[: data.find(b"\n")]
        return (REQUEST_LINE if which == CLIENT else STATUS_LINE).match(line) is not None

    def _lose(self, which: int, side: _Side, time: int, data: bytes) -> bytes:
        text = f"not HTTP: {printable(data, 60)}"
        self._say(time, which, "problem", text, {})
        side.state = _State.LOST
        return b""

    def _find_again(self, which: int, side: _Side, data: bytes) -> bytes:
        """After something missing: a piece that begins with a head begins the next message."""
        if b"\n" not in data or not self._begins_well(which, data):
            return b""
        side.state = _State.HEAD
        if which == SERVER:
            self._methods.clear()
        return data

    def _head(self, which: int, side: _Side, time: int, head: bytes) -> None:
        line, _, rest = head.partition(b"\n")
        fields: dict[str, object] = {}
        for name, value in _FIELD.findall(rest):
            key = _WANTED.get(name.lower())
            if key and key not in fields:
                fields[key] = printable(value.rstrip())
        side.body = side.chunks = 0
        if which == CLIENT:
            self._request(side, time, line, fields)
        else:
            self._response(side, time, line, fields)

    def _request(self, side: _Side, time: int, line: bytes, fields: dict[str, object]) -> None:
        match = REQUEST_LINE.match(line)
        if match is None:
            return
        method, target, version = match.groups()
        self._methods.append(method)
        shown = printable(line.rstrip(b"\r"))
        about = [str(fields[key]) for key in ("host",) if key in fields]
        self._begin_body(side, fields, without=False, until_close=False)
        about += self._size(side, fields)
        text = f"{shown} ({', '.join(about)})" if about else shown
        details = {
            "method": printable(method), "target": printable(target),
            "version": version.decode(), **fields,
        }  # fmt: skip
        self._say(time, CLIENT, "request", text, details)

    def _response(self, side: _Side, time: int, line: bytes, fields: dict[str, object]) -> None:
        match = STATUS_LINE.match(line)
        if match is None:
            return
        version, code, reason = match.groups()
        status = int(code)
        interim = 100 <= status < 200 and status != 101
        method = b"" if interim or not self._methods else self._methods.popleft()
        if status == 101 or (method == b"CONNECT" and 200 <= status < 300):
            side.state = self._sides[CLIENT].state = _State.TUNNEL
        else:
            without = interim or status in {204, 304} or method == b"HEAD"
            self._begin_body(side, fields, without=without, until_close=True)
        about = [str(fields[key]) for key in ("content_type", "location") if key in fields]
        about += self._size(side, fields)
        shown = printable(line.rstrip(b"\r"))
        text = f"{shown} ({', '.join(about)})" if about else shown
        details = {
            "version": version.decode(), "status": status, "reason": printable(reason or b""),
            **fields,
        }  # fmt: skip
        self._say(time, SERVER, "response", text, details)

    def _begin_body(
        self, side: _Side, fields: dict[str, object], *, without: bool, until_close: bool
    ) -> None:
        """How the end of the body is found (RFC 9112, section 6.3)."""
        side.state = _State.HEAD
        if without:
            return
        length = str(fields.get("content_length", "")).strip()
        if "chunked" in str(fields.get("transfer_encoding", "")).lower():
            side.state = _State.CHUNK_SIZE
        elif length.isascii() and length.isdigit() and len(length) < 20:
            side.left = int(length)
            side.state = _State.COUNTED if side.left else _State.HEAD
        elif until_close:
            side.state = _State.UNTIL_CLOSE

    def _size(self, side: _Side, fields: dict[str, object]) -> list[str]:
        if side.state is _State.COUNTED:
            return [f"{side.left:,} bytes"]
        if side.state is _State.CHUNK_SIZE:
            return ["chunked"]
        return ["tunnel"] if side.state is _State.TUNNEL else []

    def _line(self, which: int, side: _Side, time: int, line: bytes) -> None:
        """A line between chunks (RFC 9112, section 7.1)."""
        if side.state is _State.TRAILER:
            if not line:
                self._end_of_body(which, side, time)
                side.state = _State.HEAD
            return
        if not line and side.chunks:  # after a chunk
            return
        digits = line.partition(b";")[0].strip()
        try:
            size = int(digits, 16)
        except ValueError:
            size = -1
        if size < 0 or len(digits) > 16:
            self._lose(which, side, time, line)
        elif size:
            side.chunks += 1
            side.left = size
            side.state = _State.CHUNK
        else:
            side.state = _State.TRAILER

    def _end_of_body(self, which: int, side: _Side, time: int) -> None:
        """Report the size of a body, if the head did not have it."""
        what = "tunnel" if side.state is _State.TUNNEL else "body"
        text = f"({what}: {side.body:,} bytes)"
        self._say(time, which, what, text, {"size": side.body})
