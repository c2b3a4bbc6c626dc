"""What all framings have in common: events, decoders, and the framing itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, TypeAlias

from netserve.config.types import Section
from netserve.errors import PeerError


class FramingError(PeerError):
    """What came does not fit the framing; behind it nothing can be told apart any more.

    Arguments:
        text: what is wrong; the peer's bytes are in it as a repr.
    """

    kind: ClassVar[str] = "framing"
    """What it is counted as in ``netserve_errors_total``, whichever the protocol."""
    fatal: bool = True
    """Whether the stream has to end; if not, later frames are found again."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and str(other) == str(self) and other.fatal == self.fatal

    def __hash__(self) -> int:
        return hash((type(self), str(self), self.fatal))


class FrameTooLong(FramingError):
    """A frame has more bytes than the limit.

    Arguments:
        limit: in bytes.
        fatal: whether the stream has to end.
    """

    kind = "oversized"

    def __init__(self, limit: int, *, fatal: bool) -> None:
        super().__init__(f"a frame of more than {limit} bytes")
        self.limit = limit
        self.fatal = fatal


Event: TypeAlias = bytes | FramingError
"""What a decoder gives: a frame, or what is wrong."""


class Decoder(ABC):
    """The state of one stream.

    Arguments:
        limit: the most bytes of one frame.
    """

    __slots__ = ("_failed", "_held", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = bytearray()
        self._failed = False

    @abstractmethod
    def feed(self, data: bytes) -> list[Event]:
        """The frames that are complete with this piece; after a fatal error always none."""

    def idle(self) -> list[Event]:
        """The frames that are complete because nothing came for `Framing.idle_after`."""
        return []

    def end(self) -> list[Event]:
        """The last events, when the stream ended."""
        if not self._held or self._failed:
            return []
        return [self._fail(FramingError("the stream ended in the middle of a frame"))]

    @property
    def held(self) -> int:
        """The bytes held of a frame that is not complete."""
        return len(self._held)

    @property
    def buffer(self) -> bytearray:
        """What is held of a frame that is not complete: always the same object."""
        return self._held

    def _fail(self, error: FramingError) -> FramingError:
        self._failed = True
        self._held.clear()
        return error


class Framing(ABC):
    """How a stream is cut into frames. Frozen, and the same for all connections."""

    idle_after: float | None = None
    """Seconds without a byte after which the wiring calls `Decoder.idle`; None: never."""

    @abstractmethod
    def decoder(self, limit: int) -> Decoder:
        """A decoder for one stream; `limit` is the most bytes of a frame."""

    @abstractmethod
    def encode(self, frame: bytes) -> bytes:
        """The frame as it is sent.

        Raises:
            ValueError: the framing has no place for so many bytes.
        """

    def from_datagram(self, data: bytes) -> bytes:
        """The frame in a datagram, which is one already: without a line's or delimiter's end."""
        return data

    def fit(self, reply: bytes) -> bytes:
        """A reply that one frame can hold, whatever bytes of others it was made of."""
        return reply


class FramingSettings(Section):
    """What the options of all framings have in common; each has a ``kind`` of its own."""

    @abstractmethod
    def make(self) -> Framing:
        """The framing itself."""
