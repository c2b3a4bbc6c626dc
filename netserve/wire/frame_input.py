"""What one connection has sent: decoded a slice at a time, and held within a budget of memory.

A peer may send in one go what decodes into a hundred thousand frames, which would take many times
the memory of their bytes, and hold up everybody else. So what has come waits as it is, and
`FrameInput.fill` decodes `SLICE` bytes of it when all frames before were taken.

A frame that is not complete is counted in `netserve.fairness.shares`, beyond `SMALL` bytes. One
that would take more than its address may have gives `TooMuchHeld`, and the stream has to end.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from netserve.fairness.shares import Holding, Shares
from netserve.wire.framing import Event, Framing, FramingError

SLICE: Final = 16 * 1024
"""Bytes that are decoded in one go."""
SMALL: Final = 4 * 1024
"""Bytes that each connection may hold uncounted; more than most frames have."""


class TooMuchHeld(FramingError):
    """A request would take more memory than its address may still hold.

    Of an incomplete frame the stream has to end; a whole one is refused, and the next is taken.
    """

    kind = "busy"
    fatal = True

    def __init__(self) -> None:
        super().__init__("too much is held for your address already")


class FrameInput:
    """The input of one connection.

    Arguments:
        framing: cuts the input into frames.
        limit: the most bytes of a frame.
        memory: what unfinished frames may take in all.
        address: the peer's, as `netserve.wire.peer.counting_key` has it.
    """

    __slots__ = (
        "_at", "_decoder", "_end_due", "_holding", "_unread", "events", "feed", "unfinished",
    )  # fmt: skip

    unfinished: bytearray
    """What is held of a frame that is not complete."""
    events: deque[Event]
    """What was decoded and is not taken yet."""

    def __init__(self, framing: Framing, limit: int, memory: Shares, address: str) -> None:
        self._decoder = framing.decoder(limit)
        self._holding = Holding(memory, address, free=SMALL)
        self._unread: deque[bytes] = deque()  # empty bytes stand for a pause
        self._at = 0
        self._end_due = False
        self.unfinished = self._decoder.buffer
        self.events = deque()
        self.feed = self._decoder.feed
        """Decodes a small piece, where nothing waits; `count` has to follow if `held` is true."""

    def __bool__(self) -> bool:
        """Whether anything waits: to be taken, or to be decoded."""
        return bool(self.events or self._unread or self._end_due)

    @property
    def held(self) -> bool:
        """Whether anything of a frame is held, or was."""
        return bool(self.unfinished or self._holding.size)

    def add(self, data: bytes) -> None:
        """Append what came."""
        if data:
            self._unread.append(data)

    def idle(self) -> None:
        """Nothing came for `Framing.idle_after`: what was sent is complete."""
        self._unread.append(b"")

    def end(self) -> None:
        """Nothing more comes."""
        self._end_due = True

    def fill(self) -> bool:
        """Decode the next slice, where no event is left; says whether there is an event now."""
        while not self.events:
            if self._unread:
                piece = self._next_slice()
                self.events.extend(self.feed(piece) if piece else self._decoder.idle())
            elif self._end_due:
                self._end_due = False
                self.events.extend(self._decoder.end())
            else:
                return False
            self.count()
        return True

    def _next_slice(self) -> bytes:
        piece, at = self._unread[0], self._at
        if at + SLICE >= len(piece):
            self._unread.popleft()
            self._at = 0
            return piece[at:] if at else piece
        self._at = at + SLICE
        return piece[at : at + SLICE]

    def count(self) -> None:
        """Count what is held of the unfinished frame; too much of it ends the stream."""
        more = len(self.unfinished) - self._holding.size
        if more <= 0:
            self._holding.add(more)
        elif not self._holding.grow(more):
            self._forget()
            self.events.append(TooMuchHeld())

    def clear(self) -> None:
        """Forget everything; nothing is to be added any more."""
        self.events.clear()
        self._forget()

    def _forget(self) -> None:
        self._unread.clear()
        self._at = 0
        self._end_due = False
        self.unfinished.clear()
        self._holding.close()
