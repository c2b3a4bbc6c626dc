"""TCP segments (RFC 9293) put back into a stream of bytes for each direction.

A capture differs from the stream: segments are repeated, out of order or missing, a capture may
begin in the middle of a connection, and packets may be captured in part. The streams are delivered
in order. Missing bytes are reported as a gap as soon as the peer has acknowledged them: then the
capture lost them, not the network.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

__all__ = ["ACK", "FIN", "RST", "SYN", "Half", "Sink", "TCPConnection"]

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
ACK: Final = 0x10

MOST_AHEAD: Final = 1 << 20
"""Bytes that are held of one direction while something before them is missing."""
MOST_SEGMENTS_AHEAD: Final = 1024
_SENSIBLE: Final = 1 << 30
"""Sequence numbers farther ahead than any window (RFC 7323) do not belong to the stream."""
_WORD: Final = 0xFFFFFFFF
_HALF: Final = 1 << 31
_UNKNOWN: Final = -1


class Sink(Protocol):
    """Where streams go; `side` is 0 or 1, as the caller of `TCPConnection.segment` numbers them."""

    def data(self, side: int, time: int, data: bytes) -> None:
        """Bytes in order."""

    def gap(self, side: int, time: int, size: int) -> None:
        """Bytes that the capture does not have."""

    def closed(self, side: int, time: int) -> None:
        """The side sends no more."""


@dataclass(slots=True)
class Half:
    """One direction.

    Attributes:
        packets: that came of it.
        size: bytes of data in them, repetitions included.
        retransmitted: segments with data that had come already.
        out_of_order: segments that came after a later one.
        lost: bytes that the capture does not have.
        closed: whether its end has been delivered.
    """

    packets: int = 0
    size: int = 0
    retransmitted: int = 0
    out_of_order: int = 0
    lost: int = 0
    closed: bool = False
    next: int = _UNKNOWN
    "The sequence number that is expected."
    fin: int = _UNKNOWN
    "The sequence number of its FIN."
    ahead: dict[int, bytes] = field(default_factory=dict)
    "Segments by their sequence numbers that wait for something before them."
    held: int = 0
    highest: int = 0
    "The largest number of those that wait."


class TCPConnection:
    """Both directions of one connection.

    Arguments:
        sink: where the streams go.
    """

    __slots__ = ("began_with", "halves", "reset_by", "sink")

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.halves = (Half(), Half())
        self.reset_by: int | None = None
        "The side that reset it."
        self.began_with: int | None = None
        "The sequence number of the SYN that opened it, where that was captured."

    @property
    def is_over(self) -> bool:
        """Whether both directions are closed, or it was reset."""
        return self.reset_by is not None or (self.halves[0].closed and self.halves[1].closed)

    def segment(
        self, side: int, time: int, number: int, acknowledgement: int, flags: int, data: bytes,
        missing: int = 0,
    ) -> None:  # fmt: skip
        """One segment.

        Arguments:
            side: 0 or 1, which sent it.
            time: in nanoseconds.
            number: its sequence number.
            acknowledgement: its acknowledgement number, if it has ACK set.
            flags: of its header.
            data: the captured part of its data.
            missing: bytes of data at its end that were not captured.
        """
        half = self.halves[side]
        half.packets += 1
        if flags & ACK:
            other = self.halves[1 - side]
            if other.next == _UNKNOWN:
                other.next = acknowledgement
            elif other.ahead or (other.fin != _UNKNOWN and not other.closed):
                self._acknowledged(1 - side, time, acknowledgement)
        if flags & SYN:
            number = self._open(half, number, flags)
        if data or missing:
            half.size += len(data) + missing
            if half.next == _UNKNOWN:
                half.next = number
            # The fast way: it is the next one, all of it is there, and nothing waits.
            if number == half.next and not missing and not half.ahead:
                half.next = (number + len(data)) & _WORD
                self.sink.data(side, time, data)
            else:
                self._other_segment(side, time, number, data, missing)
        if flags & (FIN | RST):
            self._end(side, time, (number + len(data) + missing) & _WORD, flags)
        elif half.fin != _UNKNOWN:
            self._close_if_complete(side, time)

    def _open(self, half: Half, number: int, flags: int) -> int:
        """Handle a SYN; returns the sequence number after it."""
        if self.began_with is None and not flags & ACK:
            self.began_with = number
        number = (number + 1) & _WORD
        if half.size == 0:
            half.next = number
        return number

    def finish(self, time: int) -> None:
        """Nothing more comes: deliver the segments that wait for a missing one."""
        for side, half in enumerate(self.halves):
            while half.ahead:
                self._skip(side, time)
            self._close(side, time)

    def _other_segment(self, side: int, time: int, number: int, data: bytes, missing: int) -> None:
        half = self.halves[side]
        distance = (number - half.next) & _WORD
        if distance >= _HALF:  # it begins before the expected number
            known = _WORD + 1 - distance
            if known == 1 and len(data) + missing == 1:
                return  # a keep-alive (RFC 9293, section 3.8.4)
            half.retransmitted += 1
            if known >= len(data) + missing:
                return
            data, number, distance = data[known:], half.next, 0
        elif distance > _SENSIBLE:
            return
        if distance:
            self._hold(side, time, number, data)
            return
        half.out_of_order += bool(half.ahead)
        if data:
            half.next = (number + len(data)) & _WORD
            self.sink.data(side, time, data)
        if missing:
            self._gap(side, time, missing)
        self._deliver_held(side, time)

    def _hold(self, side: int, time: int, number: int, data: bytes) -> None:
        half = self.halves[side]
        before = half.ahead.get(number)
        if before is not None:
            half.retransmitted += 1
            if len(before) >= len(data):
                return
            half.held -= len(before)
        elif half.ahead and (half.highest - number) & _WORD < _HALF:
            half.out_of_order += 1
        else:
            half.highest = number
        half.ahead[number] = data
        half.held += len(data)
        while half.held > MOST_AHEAD or len(half.ahead) > MOST_SEGMENTS_AHEAD:
            self._skip(side, time)

    def _acknowledged(self, side: int, time: int, acknowledgement: int) -> None:
        """The peer has received more than was captured: report the missing bytes as a gap."""
        half = self.halves[side]
        while half.ahead:
            distance = (acknowledgement - half.next) & _WORD
            first = self._first_ahead(half)
            if not 0 < distance < _HALF or (first - half.next) & _WORD > distance:
                return
            self._skip(side, time)
        if half.fin != _UNKNOWN and 0 < (acknowledgement - half.fin) & _WORD < _HALF:
            self._close(side, time)

    def _first_ahead(self, half: Half) -> int:
        """The number of the first segment that waits."""
        expected = half.next
        return min(half.ahead, key=lambda number: (number - expected) & _WORD)

    def _skip(self, side: int, time: int) -> None:
        """Report the first gap, and deliver the segments after it."""
        half = self.halves[side]
        self._gap(side, time, (self._first_ahead(half) - half.next) & _WORD)
        self._deliver_held(side, time)

    def _gap(self, side: int, time: int, size: int) -> None:
        half = self.halves[side]
        half.lost += size
        half.next = (half.next + size) & _WORD
        self.sink.gap(side, time, size)

    def _deliver_held(self, side: int, time: int) -> None:
        """Deliver the waiting segments that are in order now."""
        half = self.halves[side]
        while half.ahead:
            data = half.ahead.pop(half.next, None)
            if data is None:
                data = self._overlapping(half)
                if data is None:
                    return
            else:
                half.held -= len(data)
            half.next = (half.next + len(data)) & _WORD
            if data:
                self.sink.data(side, time, data)

    def _overlapping(self, half: Half) -> bytes | None:
        """The rest of a held segment that begins before the expected number; drops old ones."""
        for number in list(half.ahead):
            known = (half.next - number) & _WORD
            if known < _HALF:
                data = half.ahead.pop(number)
                half.held -= len(data)
                if known < len(data):
                    return data[known:]
        return None

    def _end(self, side: int, time: int, number: int, flags: int) -> None:
        half = self.halves[side]
        if flags & RST:
            if self.reset_by is None:
                self.finish(time)
                self.reset_by = side
            return
        if half.next == _UNKNOWN:
            half.next = number
        if half.fin == _UNKNOWN and (number - half.next) & _WORD < _SENSIBLE:
            half.fin = number
        self._close_if_complete(side, time)

    def _close_if_complete(self, side: int, time: int) -> None:
        half = self.halves[side]
        if half.fin == half.next and not half.ahead:
            self._close(side, time)

    def _close(self, side: int, time: int) -> None:
        """Deliver the end of a direction, if it has one."""
        half = self.halves[side]
        if half.fin == _UNKNOWN or half.closed:
            return
        if 0 < (left := (half.fin - half.next) & _WORD) < _HALF:
            self._gap(side, time, left)
        half.closed = True
        self.sink.closed(side, time)
