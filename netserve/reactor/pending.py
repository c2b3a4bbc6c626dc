"""What stands for the loop's transport until the loop has it ready, in its next turn.

A Twisted protocol is told of its connection in the same step that accepts it, and may write, pause
or close at once. A `Pending` takes that down, and repeats it to the loop's transport. A protocol
that pauses, and writes nothing, keeps the socket from the loop until it goes on: it may be about
to give it to another process, and not a byte may be read from it here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from netserve.reactor.loop import attach

if TYPE_CHECKING:
    from netserve.reactor.stream import Stream


class Pending:
    """The methods of `asyncio.Transport` that a `Stream` calls."""

    __slots__ = ("_aborted", "_attached", "_high", "_reading", "_size", "_stream", "_unsent",
                 "no_delay")  # fmt: skip

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._unsent: list[bytes] = []
        self._size = 0
        self._high: int | None = None
        self._reading = True
        self._aborted = False
        self.no_delay: bool | None = None
        self._attached = True  # or about to be: the protocol is being told

    def attach(self) -> None:
        """Give the socket to the loop, if there is something that the loop is to do."""
        stream = self._stream
        self._attached = self._reading or bool(self._unsent) or self._aborted or stream.is_due()
        # A socket may be closed already by one who gave it away.
        if self._attached and stream.socket.fileno() >= 0:
            attach(stream.reactor.loop, stream.socket, stream)

    def changed(self) -> None:
        """There is something for the loop to do."""
        if not self._attached:
            self.attach()

    def write(self, data: bytes) -> None:
        """Keep `data`."""
        if data:
            self._unsent.append(data)
            self._size += len(data)
            self._limit()
            self.changed()

    def set_write_buffer_limits(self, high: int) -> None:
        """Set how much may be unsent before the stream is told to pause."""
        self._high = high
        self._limit()

    def _limit(self) -> None:
        high = self._stream.bufferSize if self._high is None else self._high
        if self._size > high and not self._stream.is_full():
            self._stream.pause_writing()

    def get_write_buffer_size(self) -> int:
        """How much is unsent."""
        return self._size

    def pause_reading(self) -> None:
        """Take no input."""
        self._reading = False

    def resume_reading(self) -> None:
        """Take input again."""
        self._reading = True
        self.changed()

    def is_reading(self) -> bool:
        """Whether input is wanted."""
        return self._reading

    def abort(self) -> None:
        """Close now."""
        self._aborted = True
        self.changed()

    def repeat(self, native: asyncio.Transport) -> None:
        """Have the loop's transport do what was asked for."""
        if self._aborted:
            native.abort()
            return
        if self.no_delay is not None:
            self._stream.setTcpNoDelay(self.no_delay)
        if self._high is not None:
            native.set_write_buffer_limits(high=self._high)
        if self._unsent:
            native.write(b"".join(self._unsent))
