"""A stream as TCP segments (RFC 9293): handshake, data, acknowledgements, close or reset.

Each segment acknowledges all that was captured of the other direction until then. Where only one
side talks, the other one acknowledges from time to time, so that no window is ever exceeded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, TypeAlias

from netserve.capture.frames.checksum import checksum, word_sum
from netserve.capture.frames.ip import MOST_BEHIND_HEADER, TCP, Address, Header

__all__ = ["Frame", "Stream"]

Frame: TypeAlias = tuple[bool, bytes]
"""Whether it comes from the peer, and the packet from its IP header on."""

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
PSH: Final = 0x08
ACK: Final = 0x10

LARGEST_SEGMENT: Final = {4: 65_495, 6: 65_475}
"""Bytes of a segment, as on the loopback interface: one read or write in one packet if possible."""

_HEADER: Final = struct.Struct("!HHIIBBHHH")
_OFFSET: Final = 5 << 4
_WINDOW: Final = 0xFFFF
_SCALE: Final = 14
"""Window scale (RFC 7323): nothing is known about windows, so they are as large as can be."""
_ACKNOWLEDGE_AFTER: Final = 1 << 20
"""Bytes of one direction after which the other one acknowledges, if it says nothing else."""
_WORD: Final = 0xFFFFFFFF


class _Side:
    """One of both directions: its headers, and how far it has got."""

    __slots__ = ("acknowledged", "base", "closed", "destination", "header", "next", "source")

    def __init__(self, source: Address, destination: Address, first: int) -> None:
        self.header = Header(source, destination, TCP)
        self.source = source.port
        self.destination = destination.port
        self.next = first & _WORD
        self.acknowledged = self.next
        self.closed = False
        self.base = self.header.pseudo_sum + source.port + destination.port + _WINDOW

    def frame(self, acknowledgement: int, flags: int, data: bytes, options: bytes = b"") -> bytes:
        size = 20 + len(options) + len(data)
        offset = _OFFSET + (len(options) << 2)
        number = self.next
        total = (
            self.base + size + (offset << 8 | flags) + (number >> 16) + (number & 0xFFFF)
            + (acknowledgement >> 16) + (acknowledgement & 0xFFFF)
        )  # fmt: skip
        if data:
            total += word_sum(data)
        if options:
            total += word_sum(options)
        head = _HEADER.pack(
            self.source, self.destination, number, acknowledgement, offset, flags, _WINDOW,
            checksum(total), 0,
        )  # fmt: skip
        return b"".join((self.header.make(size), head, options, data))


class Stream:
    """The segments of one connection.

    Arguments:
        local: our address.
        peer: the peer's, of the same version.
        outgoing: whether we opened the connection.
        first: (ours, the peer's) initial sequence numbers; two connections between the same
            addresses and ports must not have the same.
        largest: bytes of a segment at most; None for as much as IP allows on loopback.
    """

    __slots__ = ("_largest", "_local", "_options", "_outgoing", "_peer")

    def __init__(
        self, local: Address, peer: Address, *, outgoing: bool, first: tuple[int, int],
        largest: int | None = None,
    ) -> None:  # fmt: skip
        most = LARGEST_SEGMENT[local.version]
        self._largest = most if largest is None else max(1, min(largest, most))
        self._local = _Side(local, peer, first[0])
        self._peer = _Side(peer, local, first[1])
        self._outgoing = outgoing
        # Maximum segment size, and window scale with a padding in front.
        self._options = struct.pack("!BBHBBBB", 2, 4, self._largest, 1, 3, 3, _SCALE)

    def opened(self) -> list[Frame]:
        """The handshake."""
        inbound = not self._outgoing
        client, server = (self._peer, self._local) if inbound else (self._local, self._peer)
        syn = client.frame(0, SYN, b"", self._options)
        client.next = (client.next + 1) & _WORD
        answer = server.frame(client.next, SYN | ACK, b"", self._options)
        server.next = (server.next + 1) & _WORD
        client.acknowledged, server.acknowledged = client.next, server.next
        last = client.frame(server.next, ACK, b"")
        return [(inbound, syn), (not inbound, answer), (inbound, last)]

    def data(self, inbound: bool, data: bytes) -> list[Frame]:
        """Bytes of one direction; after its close, there are none."""
        side, other = self._sides(inbound)
        if side.closed or not data:
            return []
        if len(data) <= self._largest:
            frames = [(inbound, side.frame(other.next, PSH | ACK, data))]
            side.next = (side.next + len(data)) & _WORD
        else:
            frames = [(inbound, segment) for segment in self._segments(side, other.next, data)]
        other.acknowledged = other.next
        if (side.next - side.acknowledged) & _WORD >= _ACKNOWLEDGE_AFTER:
            side.acknowledged = side.next
            frames.append((not inbound, other.frame(side.next, ACK, b"")))
        return frames

    def _segments(self, side: _Side, acknowledgement: int, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), self._largest):
            piece = data[start : start + self._largest]
            is_last = start + len(piece) == len(data)
            yield side.frame(acknowledgement, PSH | ACK if is_last else ACK, piece)
            side.next = (side.next + len(piece)) & _WORD

    def lost(self, inbound: bool, count: int) -> None:
        """Bytes of one direction that were not captured: analysers see a gap, as there is one."""
        side, _ = self._sides(inbound)
        side.next = (side.next + count) & _WORD
        side.acknowledged = side.next

    def closed(self, inbound: bool) -> list[Frame]:
        """One side says that it sends no more, and the other one acknowledges."""
        side, other = self._sides(inbound)
        if side.closed:
            return []
        fin = side.frame(other.next, FIN | ACK, b"")
        side.next = (side.next + 1) & _WORD
        side.closed = True
        side.acknowledged, other.acknowledged = side.next, other.next
        return [(inbound, fin), (not inbound, other.frame(side.next, ACK, b""))]

    def reset(self, inbound: bool) -> list[Frame]:
        """One side resets the connection."""
        side, other = self._sides(inbound)
        frame = side.frame(other.next, RST | ACK, b"")
        side.closed = other.closed = True
        return [(inbound, frame)]

    def _sides(self, inbound: bool) -> tuple[_Side, _Side]:
        return (self._peer, self._local) if inbound else (self._local, self._peer)


assert all(most + 20 <= MOST_BEHIND_HEADER[key] for key, most in LARGEST_SEGMENT.items())  # noqa: S101 - of two constants
