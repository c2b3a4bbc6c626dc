"""Input that came although reading was paused.

A loop begins to read as soon as it has told its protocol of the connection, even if that very
call paused it. A protocol that pauses there (a proxy, until its other side is connected) must
still get nothing before it resumes. For such a connection a `Held` stands between for the first
turn of the loop: it keeps what comes, and pauses the loop for good.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netserve.reactor.stream import Stream


class Held(asyncio.Protocol):
    """The loop's protocol for `stream` until that resumes; keeps at most one read."""

    def __init__(self, stream: Stream, native: Any) -> None:
        self._stream = stream
        self._native = native
        self._data = b""
        self._eof = False

    @classmethod
    def before_reading(cls, stream: Stream, native: Any) -> Held:
        """Stand before `stream`, which paused before the loop began to read."""
        held = cls(stream, native)
        native.set_protocol(held)
        stream.reactor.loop.call_soon(native.pause_reading)
        return held

    def data_received(self, data: bytes) -> None:
        self._data += data
        self._native.pause_reading()

    def eof_received(self) -> bool:
        self._eof = True
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._stream.connection_lost(error)

    def pause_writing(self) -> None:
        self._stream.pause_writing()

    def resume_writing(self) -> None:
        self._stream.resume_writing()

    def release(self) -> None:
        """The stream has resumed: in the next turn it gets what was kept, then all the rest."""
        self._stream.reactor.loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        stream = self._stream
        if stream._held is not self or stream._paused or not stream.connected:  # noqa: SLF001
            return
        stream._held = None  # noqa: SLF001
        self._native.set_protocol(stream)
        if self._data:
            stream.data_received(self._data)
        if not self._eof:
            if not stream._paused:  # noqa: SLF001
                self._native.resume_reading()
        elif stream.connected and not stream.disconnecting and not stream.eof_received():
            self._native.close()
