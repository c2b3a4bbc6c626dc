"""Carries out a plan: the body of a message without 8-bit bytes, streaming."""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Final

from netserve.mail.fields import HeaderField, join_fields
from netserve.mail.seven_bit.plan import Plan
from netserve.mail.seven_bit.structure import Entity, Walker

_BASE64_LINE: Final = 57  # bytes that make 76 characters
_LINES: Final = re.compile(rb".{76}")


class Converter:
    """Converts one body.

    Arguments:
        plan: of this message.
        fields: of its header, as they were when the plan was made.
    """

    __slots__ = ("_encoder", "_out", "_plan", "_walker")

    def __init__(self, plan: Plan, fields: Sequence[HeaderField]) -> None:
        self._plan = plan
        self._out: list[bytes] = []
        self._encoder: _QuotedPrintable | _Base64 | None = None
        self._walker = Walker(fields, self)
        self._encode(self._walker.top)

    def feed(self, data: bytes) -> bytes:
        """What the next chunk brings; it may be nothing yet."""
        self._walker.feed(data)
        return self._take()

    def finish(self) -> bytes:
        """What comes behind the last chunk."""
        self._walker.finish()
        return self._take()

    def _take(self) -> bytes:
        out, self._out = self._out, []
        return b"".join(out)

    def _encode(self, entity: Entity) -> None:
        encoding = self._plan.encodings.get(entity.number, b"")
        make = _ENCODERS.get(encoding)
        self._encoder = make() if make is not None else None

    # What the walker tells.

    def part(self, entity: Entity, fields: Sequence[HeaderField], end: bytes | None) -> None:
        if end is None:
            # What is added to a header is not to run into the content.
            end = b"" if entity.sealed else b"\r\n"
        self._out += (join_fields(self._plan.header(entity.number, fields)), end)
        self._encode(entity)

    def content(self, data: bytes) -> None:
        self._out.append(data if self._encoder is None else self._encoder.feed(data))

    def content_ends(self, *, cut: bool) -> None:
        if self._encoder is not None:
            self._out.append(self._encoder.finish(cut=cut))

    def between(self, data: bytes) -> None:
        self._out.append(data)


class _QuotedPrintable:
    """Quoted-printable (RFC 2045, 6.7), line by line."""

    __slots__ = ()

    def feed(self, data: bytes) -> bytes:
        if data.endswith(b"\r\n"):
            return binascii.b2a_qp(data, istext=True)
        # A piece of a long line ends with a soft line break, for which a letter keeps the room.
        return binascii.b2a_qp(data + b"x\r\n", istext=True)[:-3] + b"=\r\n"

    def finish(self, *, cut: bool) -> bytes:
        return b""


class _Base64:
    """Base64 (RFC 2045, 6.8) in lines of 76 characters."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        data = self._rest + data
        # The CRLF at the end may belong to a delimiter.
        size = max(len(data) - 2, 0) // _BASE64_LINE * _BASE64_LINE
        self._rest = data[size:]
        return _base64_lines(data[:size])

    def finish(self, *, cut: bool) -> bytes:
        rest = self._rest.removesuffix(b"\r\n") if cut else self._rest
        return _base64_lines(rest)


def _base64_lines(data: bytes) -> bytes:
    encoded = binascii.b2a_base64(data, newline=False)
    lines = _LINES.sub(rb"\g<0>\r\n", encoded)
    return lines if len(encoded) % 76 == 0 else lines + b"\r\n"


_ENCODERS: Final[Mapping[bytes, type[_QuotedPrintable | _Base64]]] = {
    b"quoted-printable": _QuotedPrintable,
    b"base64": _Base64,
}
