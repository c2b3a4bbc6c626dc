"""Text protocols line by line, and everything else as bytes."""

from __future__ import annotations

from typing import Final

from netserve.capture.decode.model import CLIENT, NEITHER, Say
from netserve.capture.decode.printing import hex_line, printable

__all__ = ["Lines", "Octets", "gap_text"]

LONGEST: Final = 4096
"""Bytes of a line; a longer one is reported in parts."""


def gap_text(size: int) -> str:
    """The text for bytes that the capture lacks."""
    return f"{size:,} bytes are missing in the capture"


class Lines:
    """A text protocol: each line is an item."""

    name = "lines"

    def __init__(self, say: Say) -> None:
        self._say = say
        self._rest = [b"", b""]

    def data(self, side: int, time: int, data: bytes) -> None:
        """Bytes of the stream in order."""
        lines = (self._rest[side] + data).split(b"\n")
        rest = lines.pop()
        for line in lines:
            self._line(side, time, line)
        while len(rest) > LONGEST:
            self._line(side, time, rest[:LONGEST])
            rest = rest[LONGEST:]
        self._rest[side] = rest

    def gap(self, side: int, time: int, size: int) -> None:
        """Bytes that the capture does not have."""
        self._flush(side, time)
        self._say(time, side, "gap", gap_text(size), {"bytes": size})

    def closed(self, side: int, time: int) -> None:
        """The side sends no more."""
        self._flush(side, time)

    def finish(self, time: int) -> None:
        """Nothing more comes."""
        self._flush(0, time)
        self._flush(1, time)

    def _flush(self, side: int, time: int) -> None:
        if self._rest[side]:
            rest, self._rest[side] = self._rest[side], b""
            self._line(side, time, rest)

    def _line(self, side: int, time: int, line: bytes) -> None:
        text = printable(line.removesuffix(b"\r"))
        if side == CLIENT and line[:5].upper() == b"PASS ":
            text = f"{text[:4]} ***"  # a password of FTP, POP3 and others
        self._say(time, side, "line", text, {"text": text})


class Octets:
    """A protocol that is not known: the beginning of each piece in hexadecimal."""

    name = "hex"

    def __init__(self, say: Say) -> None:
        self._say = say

    def data(self, side: int, time: int, data: bytes) -> None:
        """A piece of the stream, or a datagram."""
        self._say(time, side, "bytes", hex_line(data), {"size": len(data), "hex": data[:64].hex()})

    def gap(self, side: int, time: int, size: int) -> None:
        """Bytes that the capture does not have."""
        self._say(time, side, "gap", gap_text(size), {"bytes": size})

    def closed(self, side: int, time: int) -> None:
        """The side sends no more."""

    def finish(self, time: int) -> None:
        """Nothing more comes."""


class TextDatagrams:
    """Datagrams of text."""

    name = "lines"

    def __init__(self, say: Say) -> None:
        self._say = say

    def data(self, side: int, time: int, data: bytes) -> None:
        """One datagram."""
        text = printable(data.rstrip(b"\r\n"))
        self._say(time, side, "datagram", text, {"text": text, "size": len(data)})

    def gap(self, side: int, time: int, size: int) -> None:
        """A datagram that was cut short by the capture."""
        self._say(time, NEITHER, "gap", gap_text(size), {"bytes": size})

    def closed(self, side: int, time: int) -> None:
        """Datagrams have no end."""

    def finish(self, time: int) -> None:
        """Nothing more comes."""
