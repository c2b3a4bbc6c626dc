"""Producers: how a transport's writer is told to wait, and to go on.

The loop says when its write buffer is full and when it has drained (`pause_writing`,
`resume_writing`); Twisted's producers are paused and resumed from that. A pull producer is
asked for more each time that nothing is left to send.
"""

from __future__ import annotations

from typing import Any

from twisted.python.failure import Failure

BUFFER_SIZE = 65536
"""Unsent bytes beyond which a push producer is paused: what Twisted's transports use."""


class Consumer:
    """The consuming half of a transport, for the transports of this package.

    A subclass has `reactor`, `connected`, `disconnected`, `disconnecting`, and:
    `_native`, the loop's transport; `_pace`, called when a producer has come or gone;
    `_drained`, called when all is sent and no producer is left to send more;
    `_producer_failed`, called with what a producer raised.
    """

    __slots__ = ("_buffer_size", "_full", "_pulling", "producer", "producerPaused",
                 "streamingProducer")  # fmt: skip

    _native: Any  # asyncio.Transport, or what stands for it
    reactor: Any
    connected: int
    disconnected: int
    producer: Any

    def __init__(self) -> None:
        self.producer = None
        self.producerPaused = False
        self.streamingProducer = False
        self._full = False
        self._pulling = False
        self._buffer_size = BUFFER_SIZE

    def _pace(self) -> None:
        raise NotImplementedError

    def _drained(self) -> None:
        raise NotImplementedError

    def _producer_failed(self, reason: Failure) -> None:
        raise NotImplementedError

    @property
    def bufferSize(self) -> int:
        """Unsent bytes beyond which a push producer is paused."""
        return self._buffer_size

    @bufferSize.setter
    def bufferSize(self, size: int) -> None:
        self._buffer_size = size
        if self.connected:
            self._native.set_write_buffer_limits(high=size)

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
            self._native.set_write_buffer_limits(high=0)
            self._pull()
        elif self._full:
            self._pause_producer()

    def _unregister(self) -> None:
        """See `IConsumer.unregisterProducer`."""
        if self.producer is None:
            return
        self.producer = None
        self.streamingProducer = False
        if self.connected:
            self._native.set_write_buffer_limits(high=self._buffer_size)
            self._pace()
            self._drained()

    def _stop_producer(self) -> None:
        """The connection is lost: nothing more can be consumed."""
        producer, self.producer = self.producer, None
        if producer is not None:
            producer.stopProducing()

    def _pause_producer(self) -> None:
        self.producerPaused = True
        self._guard(self.producer.pauseProducing)

    def _pull(self) -> None:
        """Ask a pull producer for more, and again in the next turn if all of it was sent."""
        self._pulling = False
        if self.producer is None or self.streamingProducer or not self.connected:
            return
        self._guard(self.producer.resumeProducing)
        self._pull_soon()

    def _pull_soon(self) -> None:
        if self.producer is not None and not self._full and not self._pulling:
            self._pulling = True
            self.reactor.loop.call_soon(self._pull)

    def _guard(self, call: Any) -> None:
        """Call a producer; if it fails, so does the connection."""
        try:
            call()
        except Exception:
            self._producer_failed(Failure())

    # What the loop calls.

    def is_full(self) -> bool:
        """Whether the loop's write buffer has filled, and not yet drained."""
        return self._full

    def pause_writing(self) -> None:
        """The loop's write buffer has filled."""
        self._full = True
        if self.producer is not None and self.streamingProducer:
            self._pause_producer()

    def resume_writing(self) -> None:
        """The loop's write buffer has drained."""
        self._full = False
        if self.producer is None:
            self._drained()
        elif not self.streamingProducer:
            self._pull_soon()
        elif self.producerPaused:
            self.producerPaused = False
            self._guard(self.producer.resumeProducing)
