"""Frames that end with some bytes: lines, and delimiters of any kind."""

from __future__ import annotations

from dataclasses import dataclass

from netserve.wire.framing.base import Decoder, Event, FrameTooLong, Framing


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


@dataclass(frozen=True, slots=True)
class Delimiter(Framing):
    """Frames that end with some bytes, which are in no frame.

    Arguments:
        delimiter: at least one byte.
    """

    delimiter: bytes

    def decoder(self, limit: int) -> Decoder:
        return _DelimiterDecoder(limit, self.delimiter)

    def encode(self, frame: bytes) -> bytes:
        return frame + self.delimiter

    def from_datagram(self, data: bytes) -> bytes:
        return data.removesuffix(self.delimiter)


class _DelimiterDecoder(Decoder):
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


class _LineDecoder(_DelimiterDecoder):
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
