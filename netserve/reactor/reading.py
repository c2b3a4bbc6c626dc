"""The reading side of a transport: a push producer, for whoever takes what arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.python.failure import Failure

if TYPE_CHECKING:
    from netserve.reactor.held import Held


class Producer:
    """The producing half of a transport, for the transports of this package.

    A subclass has `connected`, `disconnecting`, `_native` and `_reason`, as a `Consumer` does, and:
    `_paused`, whether its protocol wants no data;
    `read_closed`, whether the other side will send no more;
    `_held`, what keeps the data of a protocol that paused at once, or None.
    """

    __slots__ = ()

    _held: Held | None
    _native: Any
    _reason: Failure | None
    _paused: bool
    read_closed: bool
    connected: int
    disconnecting: int

    def loseConnection(self) -> None:
        raise NotImplementedError

    def unregisterProducer(self) -> None:
        raise NotImplementedError

    def pauseProducing(self) -> None:
        """See `IPushProducer.pauseProducing`."""
        self._paused = True  # type: ignore[misc]  # its slot is the subclass's
        if self.connected:
            self._native.pause_reading()

    def resumeProducing(self) -> None:
        """See `IPushProducer.resumeProducing`."""
        self._paused = False  # type: ignore[misc]  # its slot is the subclass's
        ending = self.disconnecting or self._reason is not None
        if self.connected and not ending and not self.read_closed:
            if self._held is not None:
                self._held.release()
            else:
                self._native.resume_reading()

    def stopProducing(self) -> None:
        """See `IProducer.stopProducing`."""
        self.loseConnection()

    def stopConsuming(self) -> None:
        """Called by a producer that has lost its source."""
        self.unregisterProducer()
        self.loseConnection()

    stopReading = pauseProducing
    startReading = resumeProducing

    def reading(self) -> bool:
        """Whether input is watched for."""
        idle = self._paused or self.read_closed
        return bool(self.connected and not idle and self._native.is_reading())

    def unsent(self) -> int:
        """Bytes that the socket has not taken yet."""
        return int(self._native.get_write_buffer_size()) if self.connected else 0

    def active(self) -> bool:
        """Whether input is watched for, or output waits."""
        return self.reading() or bool(self.unsent())
