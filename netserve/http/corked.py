"""Writes that are collected and sent together, since each write to the loop's transport is a system
call.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.interfaces import ISSLTransport

JOINED: Final = 16384
"""Bytes up to which pieces are joined; a larger one is not worth the copy."""


class Corked:
    """The sending half of a connection: `put` keeps, `flush` sends."""

    __slots__ = ("_unsent", "_unsent_size")

    transport: Any

    def __init__(self) -> None:
        self._unsent: list[bytes] = []
        self._unsent_size = 0

    def put(self, data: bytes) -> None:
        """Send it with what follows, at the next `flush` at the latest."""
        self._unsent.append(data)
        self._unsent_size += len(data)
        if self._unsent_size > JOINED:
            self.flush()

    def flush(self) -> None:
        """Send what was put."""
        unsent = self._unsent
        if not unsent:
            return
        self._unsent = []
        size, self._unsent_size = self._unsent_size, 0
        write = self.transport.write
        if len(unsent) == 1:
            write(unsent[0])
        elif size <= JOINED:
            write(b"".join(unsent))
        else:
            for piece in unsent:
                write(piece)

    def half_close(self) -> None:
        """Send what was put, and nothing more; TLS knows no half-closed connection, and ends."""
        self.flush()
        self.transport.unregisterProducer()
        if ISSLTransport.providedBy(self.transport):
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()
