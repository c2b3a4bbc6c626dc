"""One conversation: its endpoints, counters and items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from netserve.capture.decode.detect import (
    DATAGRAM_DECODERS,
    STREAM_DECODERS,
    Undecided,
    datagram_protocol,
)
from netserve.capture.decode.lines import gap_text
from netserve.capture.decode.model import Details, Item, ProtocolDecoder
from netserve.capture.decode.smtp import SMTP
from netserve.capture.dissect.tcp import Half, TCPConnection

__all__ = ["Conversation", "Heard"]

Heard: TypeAlias = Callable[["Conversation", Item], None]
"""Takes each item."""

MAX_COMMENTS: Final = 20


@dataclass(slots=True)
class Counts:
    """Of one side.

    Attributes:
        packets: that it sent.
        size: bytes of data in them, repetitions included.
    """

    packets: int = 0
    size: int = 0


class Conversation:
    """A TCP connection, or the datagrams between two addresses and ports.

    Arguments:
        number: counted from 1, in the order in which they begin.
        transport: ``tcp`` or ``udp``.
        client: address and port of the side that began.
        server: of the other one.
        began: time of its first packet.
        heard: takes items.
        protocol: which to read, where that is known beforehand.
    """

    __slots__ = (
        "_counts", "_decoder", "_heard", "_protocol", "_undecided", "began", "client", "comments",
        "items", "kept", "last", "number", "omitted", "part", "server", "tcp", "transport",
    )  # fmt: skip

    def __init__(
        self, number: int, transport: str, client: tuple[str, int], server: tuple[str, int],
        began: int, heard: Heard, protocol: str = "",
    ) -> None:  # fmt: skip
        self.number = number
        self.transport = transport
        self.client = client
        self.server = server
        self.began = self.last = began
        self.comments: list[str] = []
        self.items: list[Item] = []
        self.kept = 0
        "About the bytes that its items take up."
        self.omitted: Counter[str] = Counter()
        "Items by kind that were not kept."
        self.part = 1
        self.tcp = TCPConnection(self) if transport == "tcp" else None
        self._counts = (Counts(), Counts()) if self.tcp is None else None
        self._heard = heard
        self._protocol = protocol
        self._decoder: ProtocolDecoder | None = None
        self._undecided: Undecided | None = None

    @property
    def protocol(self) -> str:
        """Its protocol, or an empty string without data."""
        return self._decoder.name if self._decoder is not None else ""

    @property
    def counts(self) -> tuple[Counts | Half, Counts | Half]:
        """Packets and bytes of the client, and of the server."""
        if self.tcp is not None:
            return self.tcp.halves
        assert self._counts is not None  # noqa: S101 - it is not TCP
        return self._counts

    # from the packets

    def data(self, side: int, time: int, data: bytes) -> None:
        """Bytes of a stream in order."""
        decoder = self._decoder
        if decoder is None:
            self._first(side, time, data)
            return
        decoder.data(side, time, data)
        if type(decoder) is SMTP and decoder.tls_began:
            self._decoder = STREAM_DECODERS["tls"](self._say)
            if self.tcp is not None:
                self.tcp.sink = self._decoder

    def datagram(self, side: int, time: int, data: bytes, missing: int) -> None:
        """One datagram, of which `missing` bytes were not captured."""
        counts = self.counts[side]
        counts.packets += 1
        counts.size += len(data) + missing
        if self._decoder is None:
            name = self._protocol or datagram_protocol(data, (self.client[1], self.server[1]))
            self._decoder = DATAGRAM_DECODERS.get(name, DATAGRAM_DECODERS["hex"])(self._say)
        self._decoder.data(side, time, data)
        if missing:
            self._decoder.gap(side, time, missing)

    def gap(self, side: int, time: int, size: int) -> None:
        """Bytes of a stream that the capture does not have."""
        if self._decoder is None and self._undecided is None:
            self._say(time, side, "gap", gap_text(size), {"bytes": size})
        else:
            self._decide(time).gap(side, time, size)

    def closed(self, side: int, time: int) -> None:
        """A side of a stream sends no more."""
        if self._decoder is not None:
            self._decoder.closed(side, time)
        elif self._undecided is not None:
            self._decide(time).closed(side, time)

    def finish(self) -> None:
        """Nothing more comes."""
        if self.tcp is not None:
            self.tcp.finish(self.last)
        if self._decoder is not None or self._undecided is not None:
            self._decide(self.last).finish(self.last)

    def release(self) -> None:
        """Drop the references that form a cycle, so that it is freed with its last user."""
        self.tcp = self._decoder = self._undecided = None

    def comment(self, text: str) -> None:
        """A comment that the file has on one of its packets."""
        if len(self.comments) < MAX_COMMENTS and text not in self.comments:
            self.comments.append(text)

    # the protocol

    def _first(self, side: int, time: int, data: bytes) -> None:
        if self._protocol:
            self._decoder = STREAM_DECODERS[self._protocol](self._say)
            self.data(side, time, data)
            return
        if self._undecided is None:
            self._undecided = Undecided(self.server[1])
        name = self._undecided.data(side, time, data)
        if name is not None:
            self._begin(name)

    def _decide(self, time: int) -> ProtocolDecoder:
        if self._decoder is None:
            if self._undecided is None:
                self._undecided = Undecided(self.server[1])
            self._begin(self._protocol or self._undecided.finish())
        assert self._decoder is not None  # noqa: S101 - it was begun
        return self._decoder

    def _begin(self, name: str) -> None:
        """Start the decoder of a protocol with the bytes so far."""
        pieces = self._undecided.pieces if self._undecided is not None else []
        self._undecided = None
        self._decoder = STREAM_DECODERS[name](self._say)
        for side, time, data in pieces:
            self.data(side, time, data)
        # From here on the stream goes to its decoder directly, unless that may change.
        if self.tcp is not None and type(self._decoder) is not SMTP:
            self.tcp.sink = self._decoder

    def _say(self, time: int, side: int, kind: str, text: str, details: Details) -> None:
        self._heard(self, Item(time, side, kind, text, details))
