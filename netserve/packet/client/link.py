"""Frames over a Twisted transport."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from netserve.packet.frames import FrameError, FrameReader, frame


class Link(Protocol):
    """The stream to a helper.

    Arguments:
        opened: called when the stream is connected.
        received: called with each message.
        closed: called once, when the stream has closed or could not be connected.
    """

    transport: Any

    def __init__(
        self,
        opened: Callable[[], None],
        received: Callable[[Any], None],
        closed: Callable[[], None],
    ) -> None:
        self._opened = opened
        self._received = received
        self._closed = closed
        self._reader = FrameReader()

    def connectionMade(self) -> None:
        self._opened()

    def send(self, message: Any) -> None:
        """Send a message.

        Raises:
            FrameError: it is too long.
        """
        data = frame(message)
        if self.transport is not None:
            self.transport.write(data)

    def dataReceived(self, data: bytes) -> None:
        try:
            for message in self._reader.feed(data):
                self._received(message)
        except FrameError:
            self.close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.failed()

    def failed(self) -> None:
        """The stream has closed, or could not be connected."""
        closed, self._closed = self._closed, _nothing
        closed()

    def close(self) -> None:
        """Close the stream; the helper ends with it."""
        if self.transport is not None:
            self.transport.loseConnection()


class LinkFactory(Factory):
    """Builds one link.

    Arguments:
        link: it.
    """

    noisy = False

    def __init__(self, link: Link) -> None:
        self._link = link

    def buildProtocol(self, addr: IAddress | None) -> Link:
        return self._link


def _nothing() -> None:
    """Replaces a callback that was called."""
