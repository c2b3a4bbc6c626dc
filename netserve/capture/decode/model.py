"""Items: the things said in a conversation, as decoders report them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol, TypeAlias

__all__ = ["CLIENT", "NEITHER", "SERVER", "SIDES", "Details", "Item", "ProtocolDecoder", "Say"]

CLIENT: Final = 0
SERVER: Final = 1
NEITHER: Final = 2
"""Of notes by the decoder itself."""
SIDES: Final = ("client", "server", "decoder")

Details: TypeAlias = Mapping[str, object]


class Item(NamedTuple):
    """One command, reply, request, line or the like.

    Arguments:
        time: in nanoseconds since 1970.
        side: `CLIENT`, `SERVER` or `NEITHER`.
        kind: its kind in the protocol, such as ``command`` or ``response``.
        text: one line, without control characters.
        details: its parts by name, for programs.
    """

    time: int
    side: int
    kind: str
    text: str
    details: Details


Say: TypeAlias = Callable[[int, int, str, str, Details], None]
"""Takes the fields of an `Item`."""


class ProtocolDecoder(Protocol):
    """Makes items of a stream, or of datagrams, in one protocol."""

    name: str

    def data(self, side: int, time: int, data: bytes) -> None:
        """Bytes of a stream in order, or one datagram."""

    def gap(self, side: int, time: int, size: int) -> None:
        """Bytes of a stream that the capture does not have."""

    def closed(self, side: int, time: int) -> None:
        """A side of a stream sends no more."""

    def finish(self, time: int) -> None:
        """Nothing more comes of either side."""
