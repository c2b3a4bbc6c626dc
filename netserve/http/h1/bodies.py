"""Readers and writers of message bodies (RFC 9112, sections 6.3 and 7).

`read` of a reader returns the next piece of a body, as it was received; pieces end where the
network or a chunk ended. A writer adds the framing to what it is given. Neither copies a large
piece: a reader returns the object that was received, a writer returns it between its framing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, TypeAlias

from netserve.http.h1.events import END, End
from netserve.http.h1.fields import Field
from netserve.http.h1.limits import Limits
from netserve.http.h1.lines import BARE_LF, TOO_LONG, Input, Section, find_line
from netserve.http.h1.violations import Kind, Unsendable, Violated, too_large, violated

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED: Final = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
_plain_size: Final = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n").match
_SIZE_LINE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,15})"
    rb"((?:[ \t]*;[ \t]*" + _TOKEN + rb"(?:[ \t]*=[ \t]*(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?)*)"
).fullmatch

_PIECES: Final = 64
"""Chunks that one `read` joins: a bound of its work, however small they are."""
_JOINED: Final = 2048
"""Bytes up to which a chunk is joined with its framing, which costs less than three writes."""
_NOT_IN_TRAILERS: Final = frozenset(
    {b"connection", b"content-length", b"host", b"transfer-encoding"}
)
"""What would change where a message ends or goes to (RFC 9110, 6.5.1)."""

_SIZE, _AFTER = -1, 0  # what a chunked body waits for; above 0: that many bytes of a chunk


class SizedReader:
    """A body of known length."""

    __slots__ = ("_left",)

    def __init__(self, length: int) -> None:
        self._left = length

    def read(self, source: Input) -> bytes | End | None:
        """The next piece, the end, or None: more has to come."""
        left = self._left
        if not left:
            return END
        data, at = source.data, source.at
        have = len(data) - at
        if have <= 0:
            return None
        if have <= left:
            self._left = left - have
            return source.take()
        self._left = 0
        source.at = at + left
        return data[at : at + left]

    def at_eof(self) -> End:
        """The sender has closed its side."""
        if self._left:
            violated("connection closed in the body", kind=Kind.INCOMPLETE)
        return END


NOTHING: Final = SizedReader(0)
"""No body."""


class UntilCloseReader:
    """A body that ends with the connection.

    Arguments:
        most: the most bytes; None: no limit.
    """

    __slots__ = ("_left",)

    def __init__(self, most: int | None) -> None:
        self._left = most

    def read(self, source: Input) -> bytes | End | None:
        """The next piece, or None."""
        have = len(source.data) - source.at
        if not have:
            return None
        if self._left is not None:
            if not self._left:
                too_large("body too large", 413)
            if have > self._left:
                # The limit is the limit, however the network cuts.
                have, self._left = self._left, 0
                at = source.at
                source.at = at + have
                return source.data[at : at + have]
            self._left -= have
        return source.take()

    def at_eof(self) -> End:
        """The sender has closed its side: that is the end."""
        return END


class ChunkedReader:
    """A chunked body with its trailers.

    Arguments:
        limits: of the machine.
    """

    __slots__ = ("_awaits", "_extensions", "_limits", "_room", "_trailers")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._awaits = _SIZE
        self._extensions = 0
        self._room = limits.body
        self._trailers: Section[None] | None = None

    def read(self, source: Input) -> bytes | End | None:
        """The next piece, the end, or None: more has to come."""
        pieces: list[bytes] = []
        while len(pieces) < _PIECES:
            try:
                piece = self._read_piece(source)
            except Violated:
                if not pieces:
                    raise
                break  # what came before it counts; it is found again
            if piece is None:
                break
            pieces.append(piece)
        if not pieces:
            return None if self._trailers is None else self._read_trailers(source, self._trailers)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_piece(self, source: Input) -> bytes | None:
        """The next piece of a chunk; None: more has to come, or there is no further chunk."""
        if self._awaits <= 0 and (self._trailers is not None or not self._read_line(source)):
            return None
        return self._read_data(source) if self._awaits > 0 else None

    def _read_data(self, source: Input) -> bytes | None:
        data, at, left = source.data, source.at, self._awaits
        have = len(data) - at
        if have <= 0:
            return None
        if have <= left:
            self._awaits = left - have
            return source.take()
        self._awaits = _AFTER
        source.at = at + left
        return data[at : at + left]

    def _read_line(self, source: Input) -> bool:
        """Read what follows a chunk and the line before the next one; whether they are complete."""
        if self._awaits == _AFTER:
            data, at = source.data, source.at
            if not data.startswith(b"\r\n", at):
                if len(data) - at > 1 or (at < len(data) and data[at] != 13):
                    violated("chunk data longer than its size", data[at : at + 2])
                return False
            source.at = at + 2
            self._awaits = _SIZE
        return self._read_size(source)

    def _read_size(self, source: Input) -> bool:
        data, at, extensions = source.data, source.at, self._extensions
        match = _plain_size(data, at)
        if match is not None:
            end = match.end()
        else:
            lf = find_line(data, at, self._limits.chunk_line)
            if lf == TOO_LONG:
                too_large("chunk-size line too long", 400)
            if lf == BARE_LF:
                violated("bare LF", data[at : data.index(b"\n", at) + 1])
            if lf < 0:
                return False
            end = lf + 1
            match = _SIZE_LINE(data, at, lf - 1)
            if match is None:
                violated("invalid chunk size or extension", data[at : lf - 1])
            extensions += len(match[2])
            if extensions > self._limits.chunk_extensions:
                too_large("chunk extensions too long", 400)
        size = int(match[1], 16)
        if self._room is not None:
            if size > self._room:
                too_large("body too large", 413)
            self._room -= size
        # Only now: a line that is refused may be read again.
        self._extensions = extensions
        source.at = end
        if size:
            self._awaits = size
        else:
            limits = self._limits
            self._trailers = Section(
                most=limits.trailer_section,
                most_fields=limits.trailers,
                longest_field=limits.field_line,
            )
        return True

    def _read_trailers(self, source: Input, trailers: Section[None]) -> End | None:
        # Nearly every body ends without trailers.
        if not trailers.has_begun and source.data.startswith(b"\r\n", source.at):
            source.at += 2
            return END
        if not trailers.read(source):
            return None
        for field in trailers.fields:
            if field.key in _NOT_IN_TRAILERS:
                violated("field not allowed in trailers", field.name)
        return End(trailers.fields)

    def at_eof(self) -> End:
        """The sender has closed its side."""
        violated("connection closed in the body", kind=Kind.INCOMPLETE)


class RawReader:
    """Bytes that are no longer HTTP."""

    __slots__ = ()

    def read(self, source: Input) -> bytes | End | None:
        """The next piece, or None."""
        return source.take() if source.at < len(source.data) else None

    def at_eof(self) -> End:
        """The sender has closed its side."""
        return END


Reader: TypeAlias = SizedReader | UntilCloseReader | ChunkedReader | RawReader


class SizedWriter:
    """A body of known length."""

    __slots__ = ("_left",)

    def __init__(self, length: int) -> None:
        self._left = length

    @property
    def is_done(self) -> bool:
        """Whether all of it was written."""
        return not self._left

    def write(self, data: bytes) -> tuple[bytes, ...]:
        """The data as it is to be sent.

        Raises:
            Unsendable: it is more than was announced.
        """
        if len(data) > self._left:
            raise Unsendable("more than the announced length")
        self._left -= len(data)
        return (data,)

    def end(self, trailers: Sequence[Field]) -> bytes:
        """What ends the body. Trailers cannot be sent here, and are left out (RFC 9110, 6.5.1).

        Raises:
            Unsendable: there was less than was announced.
        """
        if self._left:
            raise Unsendable("less than the announced length")
        return b""


class ChunkedWriter:
    """A chunked body."""

    __slots__ = ()

    def write(self, data: bytes) -> tuple[bytes, ...]:
        """The data as it is to be sent: in one piece where it is small."""
        size = len(data)
        if size <= _JOINED:
            # An empty chunk would be the end.
            return (b"%x\r\n%b\r\n" % (size, data),) if size else ()
        return (b"%x\r\n" % size, data, b"\r\n")

    def end(self, trailers: Sequence[Field]) -> bytes:
        """What ends the body.

        Raises:
            Unsendable: a trailer is none that may be sent.
        """
        if not trailers:
            return b"0\r\n\r\n"
        for field in trailers:
            if field.key in _NOT_IN_TRAILERS:
                raise Unsendable(f"{field.name.decode()} must not be a trailer")
        return b"0\r\n%b\r\n\r\n" % b"\r\n".join([field.line for field in trailers])


class UnframedWriter:
    """A body that ends with the connection, or bytes that are no longer HTTP."""

    __slots__ = ()

    def write(self, data: bytes) -> tuple[bytes, ...]:
        """The data as it is to be sent."""
        return (data,)

    def end(self, trailers: Sequence[Field]) -> bytes:
        """Nothing: the end is the connection's. Trailers cannot be sent here, and are left out."""
        return b""


NO_BODY: Final = SizedWriter(0)
Writer: TypeAlias = SizedWriter | ChunkedWriter | UnframedWriter
CHUNKED: Final = ChunkedWriter()
UNFRAMED: Final = UnframedWriter()
RAW_READER: Final = RawReader()
