"""Frames that begin with their length in binary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from netserve.wire.framing.base import (
    Decoder,
    Event,
    FrameTooLong,
    Framing,
    FramingError,
    FramingSettings,
)


@dataclass(frozen=True, slots=True)
class LengthPrefix(Framing):
    """Frames with their length in front.

    Arguments:
        size: of the prefix, in bytes.
        order: of the bytes of the prefix.
        inclusive: whether the length counts the prefix too.
    """

    size: Literal[1, 2, 4, 8] = 4
    order: Literal["big", "little"] = "big"
    inclusive: bool = False

    def decoder(self, limit: int) -> Decoder:
        return _LengthPrefixDecoder(limit, self)

    def encode(self, frame: bytes) -> bytes:
        length = len(frame) + (self.size if self.inclusive else 0)
        try:
            return length.to_bytes(self.size, self.order) + frame
        except OverflowError:
            raise ValueError(
                f"{len(frame)} bytes are more than a prefix of {self.size} can tell"
            ) from None


class _LengthPrefixDecoder(Decoder):
    """`_need` bytes complete the frame that is held, so that a slow one is not copied often."""

    __slots__ = ("_base", "_need", "_order", "_prefix")

    def __init__(self, limit: int, framing: LengthPrefix) -> None:
        super().__init__(limit)
        self._prefix = framing.size
        self._order = framing.order
        self._base = framing.size if framing.inclusive else 0
        self._need: int = self._prefix

    def feed(self, data: bytes) -> list[Event]:
        held, prefix = self._held, self._prefix
        if self._failed:
            return []
        if held:
            held += data
            if len(held) < self._need:
                return []
            data = bytes(held)
            held.clear()
        frames: list[Event] = []
        at, end = 0, len(data)
        need: int = prefix
        while end - at >= need:
            length = int.from_bytes(data[at : at + prefix], self._order) - self._base
            if not 0 <= length <= self._limit:
                return [*frames, self._refuse(length)]
            need = prefix + length
            if end - at >= need:
                frames.append(data[at + prefix : at + need])
                at += need
                need = prefix
        self._need = need
        if at < end:
            held += data[at:]
        return frames

    def _refuse(self, length: int) -> FramingError:
        if length < 0:
            told = length + self._base
            text = f"a length of {told}, which includes a prefix of {self._base} bytes"
            return self._fail(FramingError(text))
        return self._fail(FrameTooLong(self._limit, fatal=True))


class LengthPrefixFraming(FramingSettings):
    """Frames with their length in front."""

    kind: Literal["length-prefix"] = "length-prefix"
    """A frame has its length in front."""
    bytes: Literal[1, 2, 4, 8] = 4
    """The bytes of the length."""
    order: Literal["big", "little"] = "big"
    """The order of its bytes: big is the network's."""
    inclusive: bool = False
    """Whether the length counts its own bytes too."""

    def make(self) -> Framing:
        return LengthPrefix(self.bytes, self.order, self.inclusive)
