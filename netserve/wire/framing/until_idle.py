"""Frames that end when nothing comes for a while."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from netserve.config.types import Duration
from netserve.wire.framing.base import Decoder, Event, FrameTooLong, Framing, FramingSettings


@dataclass(frozen=True, slots=True)
class UntilIdle(Framing):
    """A frame is what comes until nothing comes for a while: for peers that have no framing.

    Arguments:
        idle_after: seconds.
    """

    idle_after: float = 0.2

    def decoder(self, limit: int) -> Decoder:
        return _UntilIdleDecoder(limit)

    def encode(self, frame: bytes) -> bytes:
        return frame


class _UntilIdleDecoder(Decoder):
    __slots__ = ("_skipping",)

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._skipping = False

    def feed(self, data: bytes) -> list[Event]:
        if self._skipping:
            return []
        self._held += data
        if len(self._held) <= self._limit:
            return []
        self._held.clear()
        self._skipping = True
        return [FrameTooLong(self._limit, fatal=False)]

    def idle(self) -> list[Event]:
        self._skipping = False
        frame = bytes(self._held)
        self._held.clear()
        return [frame] if frame else []

    end = idle


class UntilIdleFraming(FramingSettings):
    """A frame is what comes until nothing comes for a while."""

    kind: Literal["until-idle"] = "until-idle"
    """A frame ends when the peer pauses, or closes its side."""
    idle: Annotated[Duration, Field(gt=0)] = 0.2
    """The length of the pause."""

    def make(self) -> Framing:
        return UntilIdle(self.idle)
