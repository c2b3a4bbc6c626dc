"""Lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from netserve.wire.framing.base import Decoder, Event, Framing, FramingSettings
from netserve.wire.framing.delimiter import DelimiterDecoder

_LINE_ENDS: Final = b"\r\n"
_BLANKS: Final = bytes.maketrans(_LINE_ENDS, b"  ")


@dataclass(frozen=True, slots=True)
class Line(Framing):
    """Lines that end with LF or CRLF.

    Arguments:
        ending: what `encode` puts behind a line.
    """

    ending: bytes = b"\r\n"

    def decoder(self, limit: int) -> Decoder:
        return _LineDecoder(limit)

    def encode(self, frame: bytes) -> bytes:
        return frame + self.ending

    def from_datagram(self, data: bytes) -> bytes:
        return data.removesuffix(b"\n").removesuffix(b"\r") if data.endswith(b"\n") else data

    def fit(self, reply: bytes) -> bytes:
        """Line ends become blanks; the last ones are dropped."""
        if b"\n" in reply or b"\r" in reply:
            return reply.rstrip(_LINE_ENDS).replace(b"\r\n", b"\n").translate(_BLANKS)
        return reply


class _LineDecoder(DelimiterDecoder):
    """As delimited by LF; one more byte is held, since it may be a CR that does not count."""

    __slots__ = ()

    def __init__(self, limit: int) -> None:
        super().__init__(limit, b"\n")
        self._most = limit + 1

    def feed(self, data: bytes) -> list[Event]:
        # Whole lines, none of them too long: what nearly always comes.
        free = not self._held and not self._skipping
        if free and data[-1:] == b"\n" and len(data) <= self._limit:
            frames: list[Event] = self._split(data)  # type: ignore[assignment]  # as above
            del frames[-1]
            return frames
        return super().feed(data)

    def _split(self, data: bytes) -> list[bytes]:
        return data.replace(b"\r\n", b"\n").split(b"\n")

    def _last(self, rest: bytes) -> bytes:
        return rest.removesuffix(b"\r")


class LineFraming(FramingSettings):
    """Lines that end with LF or CRLF."""

    kind: Literal["line"] = "line"
    """A frame is a line."""
    ending: Literal["crlf", "lf"] = "crlf"
    """What a line ends with that is sent; both are understood."""

    def make(self) -> Framing:
        return Line(b"\r\n" if self.ending == "crlf" else b"\n")
