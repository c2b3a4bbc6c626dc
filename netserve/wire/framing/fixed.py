"""Frames of one size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from netserve.config.types import PositiveInt
from netserve.wire.framing.base import Decoder, Event, Framing, FramingSettings
from netserve.wire.octets import OctetsWithin


@dataclass(frozen=True, slots=True)
class Fixed(Framing):
    """Frames of one size.

    Arguments:
        size: in bytes, at least 1.
        pad: one byte, behind a shorter frame as often as needed.
    """

    size: int
    pad: bytes = b"\0"

    def decoder(self, limit: int) -> Decoder:
        return _FixedDecoder(self.size)

    def encode(self, frame: bytes) -> bytes:
        if len(frame) > self.size:
            raise ValueError(f"{len(frame)} bytes do not fit into a frame of {self.size}")
        return frame.ljust(self.size, self.pad)


class _FixedDecoder(Decoder):
    __slots__ = ()

    def feed(self, data: bytes) -> list[Event]:
        size, held = self._limit, self._held
        if held:
            held += data
            if len(held) < size:
                return []
            data = bytes(held)
            held.clear()
        whole = len(data) - len(data) % size
        held += data[whole:]
        return [data[at : at + size] for at in range(0, whole, size)]


class FixedFraming(FramingSettings):
    """Frames of one size."""

    kind: Literal["fixed"] = "fixed"
    """All frames have the same size."""
    size: Annotated[PositiveInt, Field(le=1048576)]
    """The bytes of a frame, at most 1048576."""
    pad: Annotated[bytes, OctetsWithin(1, 1)] = b"\0"
    """The byte that shorter frames are filled up with when they are sent."""

    def make(self) -> Framing:
        return Fixed(self.size, self.pad)
