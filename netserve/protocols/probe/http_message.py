"""Reads one response of HTTP/1.x (RFC 9112): bytes in; status, fields and body out. Pure."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from typing import Final

_STATUS: Final = re.compile(rb"HTTP/(1\.[01]) ([1-5][0-9]{2})(?: .*)?")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*")
_SIZE: Final = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;.*)?")
_LONGEST_HEAD: Final = 1 << 16


class BadResponse(Exception):
    """The bytes are not a response; the text says why."""


class _At(enum.Enum):
    HEAD = "the status and the fields"
    LENGTH = "a body of known length"
    SIZE = "the size of a chunk"
    CHUNK = "a chunk"
    CHUNK_END = "the end of a chunk"
    TRAILER = "the trailer fields"
    REST = "a body up to the end of the connection"
    END = "nothing more"


@dataclass(slots=True)
class ResponseReader:
    """The reader of one response.

    Arguments:
        is_head: the request was HEAD, to which there is no body.
        most: bytes of the body that are kept; more is an error.
    """

    is_head: bool = False
    most: int = 10 << 20
    version: str = ""
    status: int = 0
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    _at: _At = _At.HEAD
    _unread: bytearray = field(default_factory=bytearray)
    _left: int = 0

    @property
    def has_head(self) -> bool:
        """Whether status and fields are complete."""
        return self._at is not _At.HEAD

    @property
    def is_complete(self) -> bool:
        """Whether the response is complete."""
        return self._at is _At.END

    def get(self, name: str) -> str | None:
        """The value of a field, the first of several."""
        return next((value for known, value in self.fields if known == name.lower()), None)

    def feed(self, data: bytes) -> None:
        """Process received bytes.

        Raises:
            BadResponse: they are not a response, or it is too long.
        """
        self._unread += data
        while self._step():
            pass

    def end(self) -> None:
        """Process the end of the connection.

        Raises:
            BadResponse: the response is incomplete.
        """
        if self._at is _At.REST:
            self._at = _At.END
        elif self._at is not _At.END:
            raise BadResponse(f"the connection ended in {self._at.value}")

    def _step(self) -> bool:
        """Process one part; whether another may follow."""
        match self._at:
            case _At.HEAD:
                return self._head()
            case _At.LENGTH | _At.CHUNK:
                taken = self._unread[: self._left]
                self._keep(taken)
                self._left -= len(taken)
                if self._left:
                    return False
                self._at = _At.END if self._at is _At.LENGTH else _At.CHUNK_END
                return True
            case _At.REST:
                self._keep(self._unread[:])
                return False
            case _At.SIZE | _At.CHUNK_END | _At.TRAILER:
                return self._line()
        return False

    def _keep(self, data: bytearray) -> None:
        if len(self.body) + len(data) > self.most:
            raise BadResponse(f"a body of more than {self.most} bytes")
        self.body += data
        del self._unread[: len(data)]

    def _take_line(self) -> bytes | None:
        end = self._unread.find(b"\n")
        if end < 0:
            if len(self._unread) > _LONGEST_HEAD:
                raise BadResponse(f"a line of more than {_LONGEST_HEAD} bytes")
            return None
        line = bytes(self._unread[:end]).removesuffix(b"\r")
        del self._unread[: end + 1]
        return line

    def _line(self) -> bool:
        line = self._take_line()
        if line is None:
            return False
        if self._at is _At.CHUNK_END:
            if line:
                raise BadResponse("a chunk is longer than it says")
            self._at = _At.SIZE
        elif self._at is _At.SIZE:
            match = _SIZE.fullmatch(line)
            if match is None:
                raise BadResponse("not the size of a chunk")
            self._left = int(match[1], 16)
            self._at = _At.CHUNK if self._left else _At.TRAILER
        elif not line:
            self._at = _At.END
        return True

    def _head(self) -> bool:
        end = self._unread.find(b"\r\n\r\n")
        size = end + 4
        if end < 0:
            end = self._unread.find(b"\n\n")
            size = end + 2
        if end < 0:
            if len(self._unread) > _LONGEST_HEAD:
                raise BadResponse(f"status and fields of more than {_LONGEST_HEAD} bytes")
            return False
        first, *lines = bytes(self._unread[:end]).replace(b"\r\n", b"\n").split(b"\n")
        del self._unread[:size]
        status = _STATUS.fullmatch(first)
        if status is None:
            raise BadResponse("not a status line of HTTP/1.x")
        self.version, self.status = status[1].decode(), int(status[2])
        self.fields = [_read_field(line) for line in lines]
        if 100 <= self.status < 200 and self.status != 101:
            return True  # the final response follows
        self._at = self._body()
        return True

    def _body(self) -> _At:
        """How the body is delimited (RFC 9112, 6.3)."""
        if self.is_head or self.status in {101, 204, 304}:
            return _At.END
        codings = [value.lower() for name, value in self.fields if name == "transfer-encoding"]
        if codings:
            return _At.SIZE if codings[-1].split(",")[-1].strip() == "chunked" else _At.REST
        lengths = {value for name, value in self.fields if name == "content-length"}
        if not lengths:
            return _At.REST
        (length, *others) = lengths
        if others or not (length.isascii() and length.isdecimal()) or len(length) > 18:
            raise BadResponse("a Content-Length that cannot be understood")
        self._left = int(length)
        return _At.LENGTH if self._left else _At.END


def _read_field(line: bytes) -> tuple[str, str]:
    match = _FIELD.fullmatch(line)
    if match is None:
        raise BadResponse("a line that is no header field")
    return match[1].decode().lower(), match[2].decode("latin-1")
