"""Frames that end at a delimiter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from netserve.wire.framing.base import Decoder, Event, FrameTooLong, Framing, FramingSettings
from netserve.wire.octets import OctetsWithin


@dataclass(frozen=True, slots=True)
class Delimiter(Framing):
    """Frames that end with some bytes, which are in no frame.

    Arguments:
        delimiter: at least one byte.
    """

    delimiter: bytes

    def decoder(self, limit: int) -> Decoder:
        return DelimiterDecoder(limit, self.delimiter)

    def encode(self, frame: bytes) -> bytes:
        return frame + self.delimiter

    def from_datagram(self, data: bytes) -> bytes:
        return data.removesuffix(self.delimiter)

    def fit(self, reply: bytes) -> bytes:
        """Each delimiter becomes a blank, or another byte where a blank is part of it."""
        delimiter = self.delimiter
        if delimiter in reply:
            reply = reply.replace(delimiter, _byte_outside(delimiter))
        # The end of the reply and the delimiter after it may hold an earlier delimiter.
        end = reply[-len(delimiter) :]
        drop = 0
        while drop < len(end) and (end[: len(end) - drop] + delimiter).find(delimiter) < (
            len(end) - drop
        ):
            drop += 1
        return reply[: len(reply) - drop] if drop else reply


def _byte_outside(delimiter: bytes) -> bytes:
    """What takes a delimiter's place: it is in no delimiter, so that one pass finds all of them."""
    every = (b" ", *(bytes([octet]) for octet in range(255, -1, -1)))
    return next((each for each in every if each not in delimiter), b"")


class DelimiterDecoder(Decoder):
    """Holds what stands behind the last delimiter; bounded by `_most`.

    While a frame that is too long is skipped, only as many bytes are held as can be the beginning
    of a delimiter.
    """

    __slots__ = ("_delimiter", "_most", "_overlap", "_skipping")

    def __init__(self, limit: int, delimiter: bytes) -> None:
        super().__init__(limit)
        self._delimiter = delimiter
        self._overlap = len(delimiter) - 1
        self._most = limit + self._overlap
        self._skipping = False

    def feed(self, data: bytes) -> list[Event]:
        held = self._held
        if held:
            searched = max(0, len(held) - self._overlap)
            held += data
            if held.find(self._delimiter, searched) < 0:
                return self._bound()
            data = bytes(held)
            held.clear()
        frames: list[Event] = self._split(data)  # type: ignore[assignment]  # bytes are events
        rest = frames.pop()
        if self._skipping and frames:
            del frames[0]
            self._skipping = False
        if len(data) > self._limit:
            self._refuse_long(frames)
        if rest:
            held += rest  # type: ignore[arg-type]  # the last of what was split is bytes
            frames += self._bound()
        return frames

    def _split(self, data: bytes) -> list[bytes]:
        return data.split(self._delimiter)

    def _refuse_long(self, frames: list[Event]) -> None:
        limit = self._limit
        for index, frame in enumerate(frames):
            if isinstance(frame, bytes) and len(frame) > limit:
                frames[index] = FrameTooLong(limit, fatal=False)

    def _bound(self) -> list[Event]:
        """Keep what is held in bounds."""
        held = self._held
        if self._skipping:
            del held[: len(held) - self._overlap]
        elif len(held) > self._most:
            self._skipping = True
            del held[: len(held) - self._overlap]
            return [FrameTooLong(self._limit, fatal=False)]
        return []

    def end(self) -> list[Event]:
        rest = self._last(bytes(self._held))
        skipped, self._skipping = self._skipping, False
        self._held.clear()
        if not rest or skipped:
            return []
        return [rest if len(rest) <= self._limit else FrameTooLong(self._limit, fatal=False)]

    def _last(self, rest: bytes) -> bytes:
        return rest


class DelimiterFraming(FramingSettings):
    """Frames that end with some bytes of your choice."""

    kind: Literal["delimiter"] = "delimiter"
    """A frame ends at a delimiter."""
    delimiter: Annotated[bytes, OctetsWithin(1, 256)]
    """What ends a frame: a text, or `{hex: "1c 0d"}`."""

    def make(self) -> Framing:
        return Delimiter(self.delimiter)
