"""The reactor: Twisted's on asyncio, with the loop's own transports under its protocols."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

from twisted.internet import error
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.main import CONNECTION_LOST
from twisted.python.failure import Failure

from netserve.reactor.client import Connector
from netserve.reactor.loop import new_loop
from netserve.reactor.server import Port
from netserve.reactor.stream import Stream


class NetserveReactor(AsyncioSelectorReactor):
    """See the module.

    Args:
        loop: the loop to run on; by default a new one, uvloop's where that is installed, which
            becomes the current loop of this thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        if loop is None:
            loop = new_loop()
            # Without it, tasks that are made before the loop runs never wake.
            asyncio.set_event_loop(loop)
        self.loop = loop
        self.streams: set[Stream] = set()
        super().__init__(loop)

    def seconds(self) -> float:
        """The time that delayed calls go by; a clock that is set changes none of them."""
        return time.monotonic()

    # IReactorTCP

    def listenTCP(
        self, port: int, factory: Any, backlog: int = 50, interface: str = ""
    ) -> Port:
        """See `IReactorTCP.listenTCP`."""
        listening = Port(port, factory, backlog, interface, self)
        listening.startListening()
        return listening

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30.0, bindAddress: Any = None
    ) -> Connector:
        """See `IReactorTCP.connectTCP`."""
        connector = Connector(host, port, factory, timeout, bindAddress, self)
        connector.connect()
        return connector

    # IReactorSocket

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        """See `IReactorSocket.adoptStreamPort`."""
        if addressFamily not in (socket.AF_INET, socket.AF_INET6):
            return super().adoptStreamPort(fileDescriptor, addressFamily, factory)
        listening = Port._fromListeningDescriptor(self, fileDescriptor, addressFamily, factory)
        listening.startListening()
        return listening

    # What the reactor knows of its connections.

    def getReaders(self) -> list[Any]:
        """See `IReactorFDSet.getReaders`."""
        return super().getReaders() + [s for s in self.streams if s.reading()]

    def removeAll(self) -> list[Any]:
        """See `IReactorFDSet.removeAll`."""
        streams = list(self.streams)
        for stream in streams:
            stream.stopReading()
        return super().removeAll() + streams
