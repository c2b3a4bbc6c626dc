"""Walks through the parts of a MIME message as it streams (RFC 2045, RFC 2046). No I/O.

The walker is given the fields of the message's header and then its body, in chunks of any size, and
tells a sink where parts begin, what their content is, and what stands between them. All bytes are
told, in order. What is malformed is read as mail programs do: a part without an end ends with what
is around it, and a multipart without a boundary is one piece.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol

from netserve.mail.fields import HeaderField, fields_of

DEEPEST: Final = 20
"""Multiparts inside of each other."""
MOST_PARTS: Final = 1000
"""Parts of a message, at all depths."""
LARGEST_HEADER: Final = 64 * 1024
"""Bytes of the header of one part."""

_LONGEST_DELIMITER: Final = 256  # RFC 2046, 5.1.1, has 70 characters of boundary
_HELD: Final = 4096  # of a line that is not complete; what is longer is told in pieces
_IDENTITY: Final = frozenset({b"", b"7bit", b"8bit", b"binary"})
_TYPE: Final = re.compile(rb"\s*([!-.0-~]+)/([!-:<-~]+)")
_HEADER_LINE: Final = re.compile(rb"[!-9;-~]+[ \t]*:|[ \t]")
_BOUNDARY: Final = re.compile(
    rb";\s*boundary\s*=\s*(?:\"((?:[^\"\\]|\\.)*+)\"|([^\s;\"]+))", re.IGNORECASE
)


class TooComplex(Exception):
    """The message has more parts, deeper ones or larger headers of parts than are followed."""


@dataclass(frozen=True, slots=True)
class Entity:
    """The message, or a part of it.

    Arguments:
        number: counted from 0, which is the message.
        kind: `multipart`; `message` for one inside of another; `leaf` for what has no parts.
        type: the media type in lower case.
        encoding: the Content-Transfer-Encoding in lower case, or an empty string.
        boundary: of a multipart.
        sealed: it is inside of a multipart/signed or multipart/encrypted, whose bytes may not
            change (RFC 1847, 2.1).
        message: the number of the message that it is inside of.
    """

    number: int
    kind: Literal["leaf", "multipart", "message"]
    type: bytes
    encoding: bytes
    boundary: bytes
    sealed: bool
    message: int = 0

    @property
    def is_encoded(self) -> bool:
        """Whether its content is not what it seems."""
        return self.encoding not in _IDENTITY

    @classmethod
    def of(
        cls,
        number: int,
        fields: Sequence[HeaderField],
        default: bytes,
        *,
        sealed: bool,
        message: int = 0,
    ) -> Entity:
        """The entity that a header describes.

        Arguments:
            number: its own.
            fields: of its header.
            default: the type of one that has none.
            sealed: it is inside of something sealed.
            message: the number of the message that it is inside of.
        """
        told = _value(fields, "content-type")
        match = _TYPE.match(told)
        media = b"/".join(match.groups()).lower() if match else default
        encoding = _value(fields, "content-transfer-encoding").strip().lower()
        boundary = b""
        kind: Literal["leaf", "multipart", "message"] = "leaf"
        if encoding in _IDENTITY:
            if media == b"message/rfc822":
                kind = "message"
            elif media.startswith(b"multipart/") and (found := _BOUNDARY.search(told)):
                quoted = found[1]
                boundary = found[2] if quoted is None else re.sub(rb"\\(.)", rb"\1", quoted)
                kind = "multipart" if boundary.strip() else "leaf"
        return cls(number, kind, media, encoding, boundary.rstrip(b" \t"), sealed, message)


class Sink(Protocol):
    """Who is told what a message has in it."""

    def part(self, entity: Entity, fields: Sequence[HeaderField], end: bytes | None) -> None:
        """A part begins.

        Arguments:
            entity: the part.
            fields: of its header.
            end: the empty line behind them; empty where the part ends there, None where the line
                is missing and content follows.
        """

    def content(self, data: bytes) -> None:
        """A piece of the leaf that began last: whole lines, or a piece of a very long one."""

    def content_ends(self, *, cut: bool) -> None:
        """That leaf is over.

        Arguments:
            cut: by a delimiter, so that the CRLF at its end does not belong to it.
        """

    def between(self, data: bytes) -> None:
        """Delimiters, and what stands before the first and behind the last of them."""


class Walker:
    """Walks through one message.

    Arguments:
        fields: of the message's header.
        sink: is told.
        opaque: the numbers of messages inside of this one that are told as leaves.
    """

    __slots__ = (
        "_at_line_start", "_default", "_header", "_header_size", "_held", "_in_leaf", "_message",
        "_opaque", "_parts", "_sealed", "_sink", "_stack", "top",
    )  # fmt: skip

    def __init__(
        self, fields: Sequence[HeaderField], sink: Sink, opaque: Collection[int] = ()
    ) -> None:
        self._sink = sink
        self._opaque = opaque
        self._message = 0  # the one that the header is inside of
        self._stack: list[tuple[bytes, Entity]] = []  # delimiters of the multiparts around us
        self._header: list[bytes] | None = None  # lines of a header that is being read
        self._header_size = 0
        self._default = b"text/plain"
        self._sealed = False
        self._parts = 0
        self._in_leaf = False
        self._held = b""
        self._at_line_start = True
        self.top = Entity.of(0, fields, b"text/plain", sealed=False)
        self._enter(self.top)

    def feed(self, data: bytes) -> None:
        """Take the next chunk of the body.

        Raises:
            TooComplex: it is not followed any further.
        """
        buffer = self._held + data if self._held else data
        at = 0
        while at < len(buffer):
            after = self._line(buffer, at) if self._wants_line(buffer, at) else None
            if after is None:
                after = self._lines(buffer, at)
            if after == at:
                break
            at = after
        self._held = buffer[at:]

    def finish(self) -> None:
        """The body is over.

        Raises:
            TooComplex: see `feed`.
        """
        rest, self._held = self._held, b""
        if self._header is not None:
            if rest and not self._delimiter(rest):
                self._header.append(rest)
            if self._header is not None:
                self._end_header(b"")
        elif rest and not (self._stack and self._at_line_start and self._delimiter(rest)):
            self._tell(rest)
        if self._in_leaf:
            self._sink.content_ends(cut=False)

    # Lines that are looked at one by one: of headers, and those that may be delimiters.

    def _wants_line(self, buffer: bytes, at: int) -> bool:
        if self._header is not None:
            return True
        return bool(self._stack) and self._at_line_start and buffer.startswith(b"-", at)

    def _line(self, buffer: bytes, at: int) -> int | None:
        """Where the line ends, if it was dealt with; `at` if it is not complete; else None."""
        end = buffer.find(b"\n", at) + 1
        if not end:
            limit = LARGEST_HEADER if self._header is not None else _LONGEST_DELIMITER
            if len(buffer) - at <= limit:
                return at
            if self._header is not None:
                raise TooComplex("the header of a part is too large")
            return None
        line = buffer[at:end]
        if self._stack and self._delimiter(line):
            return end
        if self._header is None:
            return None
        self._header_line(line)
        return end

    def _delimiter(self, line: bytes) -> bool:
        """Act on a delimiter; whether this is one."""
        if not line.startswith(b"--"):
            return False
        text = line.rstrip(b" \t\r\n")
        for depth in reversed(range(len(self._stack))):
            delimiter, entity = self._stack[depth]
            closes = text == delimiter + b"--"
            if not closes and text != delimiter:
                continue
            if self._header is not None:
                self._end_header(b"")
                self._header = None  # of a message inside, of which nothing is there
            if self._in_leaf:
                self._sink.content_ends(cut=True)
                self._in_leaf = False
            del self._stack[depth if closes else depth + 1 :]
            self._sink.between(line)
            if not closes:
                self._begin_header(entity)
            return True
        return False

    def _begin_header(self, parent: Entity) -> None:
        self._header, self._header_size = [], 0
        digest = parent.type == b"multipart/digest"
        self._default = b"message/rfc822" if digest else b"text/plain"
        seals = parent.type in {b"multipart/signed", b"multipart/encrypted"}
        self._sealed = parent.sealed or seals
        self._message = parent.number if parent.kind == "message" else parent.message

    def _header_line(self, line: bytes) -> None:
        header = self._header
        assert header is not None  # noqa: S101 - asked before
        if line in {b"\r\n", b"\n"}:
            self._end_header(line)
            return
        if not _HEADER_LINE.match(line):
            self._end_header(None)
            if self._header is None:
                self._tell(line)
            else:
                self._header_line(line)
            return
        header.append(line)
        self._header_size += len(line)
        if self._header_size > LARGEST_HEADER:
            raise TooComplex("the header of a part is too large")

    def _end_header(self, end: bytes | None) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise TooComplex("the message has too many parts")
        fields = fields_of(b"".join(self._header or ()))
        entity = Entity.of(
            self._parts, fields, self._default, sealed=self._sealed, message=self._message
        )
        if entity.number in self._opaque:
            entity = replace(entity, kind="leaf")
        self._header = None
        self._sink.part(entity, fields, end)
        self._enter(entity)

    def _enter(self, entity: Entity) -> None:
        """Go on inside of an entity whose header is over."""
        if entity.kind == "multipart":
            if len(self._stack) >= DEEPEST:
                raise TooComplex("the parts of the message are too deep")
            self._stack.append((b"--" + entity.boundary, entity))
        elif entity.kind == "message":
            self._begin_header(entity)
        self._in_leaf = entity.kind == "leaf"

    # Lines that are told in one piece.

    def _lines(self, buffer: bytes, at: int) -> int:
        """Tell what comes before the next line that may be a delimiter; where that is."""
        following = buffer.find(b"\n-", at) + 1 if self._stack else 0
        if following:
            self._tell(buffer[at:following])
            return following
        complete = buffer.rfind(b"\n", at) + 1 or at
        end = complete
        if len(buffer) - complete > _HELD:
            end = len(buffer) - buffer.endswith(b"\r")  # CR and LF stay together
        if end > at:
            self._tell(buffer[at:end])
        return end

    def _tell(self, data: bytes) -> None:
        self._at_line_start = data.endswith(b"\n")
        if self._in_leaf:
            self._sink.content(data)
        else:
            self._sink.between(data)


def _value(fields: Sequence[HeaderField], name: str) -> bytes:
    return next((field.value for field in fields if field.name == name), b"")
