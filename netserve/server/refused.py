"""The protocol of a connection that is not taken."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Protocol


class Refused(Protocol):
    """Tells a connection why it is not taken, and closes it.

    Arguments:
        message: in the words of the service's protocol.
    """

    transport: Any

    def __init__(self, message: bytes) -> None:
        self._message = message

    def connectionMade(self) -> None:
        self.transport.write(self._message)
        self.transport.loseConnection()
