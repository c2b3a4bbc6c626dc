"""Carries out a plan: the body of a message without 8-bit bytes or long lines, streaming."""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Final

from netserve.mail.fields import HeaderField, join_fields
from netserve.mail.folding import Cutter, Kind, fold_fields
from netserve.mail.lines import measure
from netserve.mail.seven_bit.plan import Plan
from netserve.mail.seven_bit.structure import Entity, Walker

_BASE64_LINE: Final = 57  # bytes that make 76 characters
_LINES: Final = re.compile(rb".{76}")
_PIECE: Final = 4096  # of a long line, in quoted-printable


class Converter:
    """Converts one body.

    Arguments:
        plan: of this message.
        fields: of its header, as they were when the plan was made.
    """

    __slots__ = ("_between", "_encoder", "_out", "_plan", "_walker")

    def __init__(self, plan: Plan, fields: Sequence[HeaderField]) -> None:
        self._plan = plan
        self._out: list[bytes] = []
        self._encoder: _QuotedPrintable | _Base64 | _Cutting | None = None
        self._between = Cutter("text") if plan.folds else None
        self._walker = Walker(fields, self, plan.opaque)
        self._encode(self._walker.top)

    def feed(self, data: bytes) -> bytes:
        """What the next chunk brings; it may be nothing yet."""
        self._walker.feed(data)
        return self._take()

    def finish(self) -> bytes:
        """What comes behind the last chunk."""
        self._walker.finish()
        if self._between is not None:
            self._out.append(self._between.finish())
        return self._take()

    def _take(self) -> bytes:
        out, self._out = self._out, []
        return b"".join(out)

    def _encode(self, entity: Entity) -> None:
        encoding = self._plan.encodings.get(entity.number, b"")
        make = _ENCODERS.get(encoding)
        kind = self._plan.cuts.get(entity.number)
        if make is not None:
            self._encoder = make()
        else:
            self._encoder = None if kind is None else _Cutting(kind)

    # What the walker tells.

    def part(self, entity: Entity, fields: Sequence[HeaderField], end: bytes | None) -> None:
        if end is None:
            # What is added to a header is not to run into the content.
            end = b"" if entity.sealed else b"\r\n"
        header = self._plan.header(entity.number, fields)
        self._out += (join_fields(fold_fields(header) if self._plan.folds else header), end)
        self._encode(entity)

    def content(self, data: bytes) -> None:
        self._out.append(data if self._encoder is None else self._encoder.feed(data))

    def content_ends(self, *, cut: bool) -> None:
        if self._encoder is not None:
            self._out.append(self._encoder.finish(cut=cut))

    def between(self, data: bytes) -> None:
        self._out.append(data if self._between is None else self._between.feed(data))


class _QuotedPrintable:
    """Quoted-printable (RFC 2045, 6.7), line by line; a long line in pieces of one size.

    So what it gives does not depend on how the content comes.
    """

    __slots__ = ("_held", "_in_line")

    def __init__(self) -> None:
        self._held = b""  # of a line whose end has not come
        self._in_line = False  # the last piece ended with a soft line break

    def feed(self, data: bytes) -> bytes:
        data = self._held + data
        end = data.rfind(b"\n") + 1
        out = self._lines(data[:end])
        while len(data) - end > _PIECE:
            out.append(self._piece(data[end : end + _PIECE]))
            end += _PIECE
        self._held = data[end:]
        return b"".join(out)

    def finish(self, *, cut: bool) -> bytes:
        held, self._held = self._held, b""
        return self._piece(held) if held else b""

    def _lines(self, lines: bytes) -> list[bytes]:
        """Whole lines; the first may be the end of one."""
        if not lines:
            return []
        if measure(lines, 0, _PIECE + 2) >= 0:
            return [self._encoded(lines)]
        out: list[bytes] = []
        for line in lines.splitlines(keepends=True):
            at = 0
            while len(line) - 2 - at > _PIECE:  # the CRLF stays whole
                out.append(self._piece(line[at : at + _PIECE]))
                at += _PIECE
            out.append(self._encoded(line[at:]))
        return out

    def _encoded(self, lines: bytes) -> bytes:
        in_line, self._in_line = self._in_line, False
        return _no_delimiter(binascii.b2a_qp(lines, istext=True), in_line=in_line)

    def _piece(self, text: bytes) -> bytes:
        in_line, self._in_line = self._in_line, True
        # It ends with a soft line break, for which a letter keeps the room.
        encoded = binascii.b2a_qp(text + b"x\r\n", istext=True)[:-3] + b"=\r\n"
        return _no_delimiter(encoded, in_line=in_line)


def _no_delimiter(encoded: bytes, *, in_line: bool) -> bytes:
    """Hyphens from inside of a line encoded, where they have come to the begin of one."""
    encoded = encoded.replace(b"=\r\n--", b"=\r\n=2D-")
    return b"=2D" + encoded[1:] if in_line and encoded.startswith(b"--") else encoded


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


class _Cutting:
    """A part that keeps its encoding, in shorter lines."""

    __slots__ = ("_cutter", "feed")

    def __init__(self, kind: Kind) -> None:
        self._cutter = Cutter(kind)
        self.feed = self._cutter.feed

    def finish(self, *, cut: bool) -> bytes:
        return self._cutter.finish()


def _base64_lines(data: bytes) -> bytes:
    encoded = binascii.b2a_base64(data, newline=False)
    lines = _LINES.sub(rb"\g<0>\r\n", encoded)
    return lines if len(encoded) % 76 == 0 else lines + b"\r\n"


_ENCODERS: Final[Mapping[bytes, type[_QuotedPrintable | _Base64]]] = {
    b"quoted-printable": _QuotedPrintable,
    b"base64": _Base64,
}
