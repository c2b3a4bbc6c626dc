"""The writing side of a transport: producers, and what happens once everything is sent.

Twisted defines both by what its transports do when a socket can be written to: they send what is
unsent, and when nothing is left they resume the producer, close the connection, or close its
writing side. A `Consumer` does the same, once per turn of the loop and only if somebody waits for
it: a push producer that is paused, a pull producer, `loseConnection`, `loseWriteConnection`. A
connection that none of these concerns pays nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.python.failure import Failure

BUFFER_SIZE = 65536
"""Unsent bytes above which a push producer is paused: what Twisted's transports use."""


def drop(_data: bytes) -> None:
    """The writer of a connection that takes no more data."""


class Consumer:
    """The consuming half of a transport, for the transports of this package.

    A subclass has `reactor`, `connected`, `disconnected`, `disconnecting`, and:
    `_native`, the loop's transport, or what stands for it;
    `_reason`, why the connection is being cut, or None;
    `_use`, which replaces the function that gets what is written;
    `_soon`, which has `_turn` called in the next turn of the loop;
    `_close` and `_close_writing`, called when all is sent;
    `_failed`, called with what a producer raised.
    It counts what is written to it in `_turn_size`, and calls `_soon` then.
    """

    __slots__ = ("_buffer_size", "_due", "_full", "_turn_size", "_watched", "_write_closed",
                 "_write_closing", "producer", "producerPaused",
                 "streamingProducer")  # fmt: skip

    _native: Any
    _reason: Failure | None
    reactor: Any
    connected: int
    disconnected: int
    disconnecting: int
    producer: Any

    def __init__(self) -> None:
        self.producer = None
        self.producerPaused = False
        self.streamingProducer = False
        self._buffer_size = BUFFER_SIZE
        self._turn_size = 0  # bytes written since the last turn, or since data was received
        self._due = False  # _turn will be called
        self._full = False  # the loop has more than its limit, and has not sent it yet
        self._watched = False  # that limit is zero: the loop tells when all is sent
        self._write_closing = False  # loseWriteConnection was called
        self._write_closed = False  # it has taken effect

    def _use(self, write: Callable[[bytes], object]) -> None:
        raise NotImplementedError

    def _soon(self) -> None:
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError

    def _close_writing(self) -> None:
        raise NotImplementedError

    def _failed(self, reason: Failure) -> None:
        raise NotImplementedError

    @property
    def bufferSize(self) -> int:
        """Unsent bytes above which a push producer is paused."""
        return self._buffer_size

    @bufferSize.setter
    def bufferSize(self, size: int) -> None:
        self._buffer_size = size
        if self.connected and not self._watched:
            self._native.set_write_buffer_limits(high=size)

    # Writing. Which of these is in use depends on what somebody waits for.

    def _pace(self) -> None:
        """Use the writer that the state asks for; called when that changes."""
        producer = self.producer
        if self._write_closed or self._reason is not None:
            self._use(drop)
        elif self.disconnecting or self._write_closing or producer is not None:
            pushing = producer is not None and self.streamingProducer
            ends = self.disconnecting or self._write_closing
            self._use(self._write_paced if pushing and not ends else self._write_watched)
        else:
            self._use(self._native.write)

    def _write_paced(self, data: bytes) -> None:
        """Write for a push producer, which is paused when it writes too much in one turn."""
        self._native.write(data)
        if (self._turn_size > self._buffer_size or self._full) and data:
            self._pause_if_over()

    def _write_watched(self, data: bytes) -> None:
        """Write where something is to happen once all is sent."""
        if not data:
            return
        self._native.write(data)
        if self.producer is not None and self.streamingProducer:
            self._pause_if_over()
        self._soon()

    def _pause_if_over(self) -> None:
        unsent = max(self._turn_size, self._native.get_write_buffer_size())
        if unsent > self._buffer_size and self.producer is not None:
            self.producerPaused = True
            self._soon()
            self.producer.pauseProducing()

    # Registering.

    def _register(self, producer: Any, streaming: bool) -> None:
        """See `IConsumer.registerProducer`."""
        if self.producer is not None:
            raise RuntimeError(
                f"Cannot register producer {producer}, because producer {self.producer}"
                " was never unregistered."
            )
        if self.disconnected:
            producer.stopProducing()
            return
        self.producer = producer
        self.streamingProducer = bool(streaming)
        self.producerPaused = False
        self._pace()
        if not streaming:
            producer.resumeProducing()
        unsent = self._turn_size or self._native.get_write_buffer_size()
        if unsent and not self._write_closed:
            # What was written before it came counts, and a pull producer is asked when it is sent.
            self._soon()

    def _unregister(self) -> None:
        """See `IConsumer.unregisterProducer`."""
        if self.producer is None:
            return
        self.producer = None
        self.streamingProducer = self.producerPaused = False
        if self.connected:
            self._pace()
            if self.disconnecting or self._write_closing:
                self._soon()
            elif self._watched:
                self._watched = False
                self._native.set_write_buffer_limits(high=self._buffer_size)

    def _stop_producer(self) -> None:
        """The connection is lost: nothing more can be consumed."""
        try:
            if self.producer is not None:
                self.producer.stopProducing()
        finally:
            self.producer = None

    def _resume_producer(self) -> None:
        """Have the producer go on; if it fails, so does the connection."""
        self.producerPaused = False
        try:
            self.producer.resumeProducing()
        except Exception:
            self._failed(Failure())

    # What the loop calls.

    def is_full(self) -> bool:
        """Whether the loop's write buffer has filled, and not yet drained."""
        return self._full

    def is_due(self) -> bool:
        """Whether something is to be done in the next turn."""
        return self._due

    def pause_writing(self) -> None:
        """The loop's write buffer has filled."""
        self._full = True

    def resume_writing(self) -> None:
        """The loop's write buffer has drained."""
        self._full = False
        if self.producer is not None or self.disconnecting or self._write_closing:
            self._soon()

    def _turn(self) -> None:
        """A turn of the loop has passed: go on if the loop has sent what it was given."""
        self._due = False
        self._turn_size = 0
        if not self.connected or self._full or self._reason is not None:
            return
        producer = self.producer
        if producer is not None and self.producerPaused:
            self._resume_producer()
            return
        writable = not self._write_closed
        pulling = writable and producer is not None and not self.streamingProducer
        closing = writable and self._write_closing
        if not (pulling or self.disconnecting or closing):
            return
        if self._native.get_write_buffer_size():
            self._watched = True
            self._native.set_write_buffer_limits(high=0)
        elif pulling:
            self._resume_producer()
        elif self.disconnecting:
            self._close()
        else:
            self._close_writing()
