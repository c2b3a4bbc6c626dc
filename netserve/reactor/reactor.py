"""The reactor: Twisted's on asyncio, with the loop's own transports under its protocols."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

from twisted.internet import error
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.main import CONNECTION_LOST
from twisted.logger import Logger
from twisted.python.failure import Failure

from netserve.reactor.children import ChildSignals
from netserve.reactor.client import Connector
from netserve.reactor.loop import new_loop
from netserve.reactor.server import Port, adopt
from netserve.reactor.stream import Stream
from netserve.reactor.timing import Timing
from netserve.reactor.tls import TLSFactory
from netserve.reactor.twisted_private import base_signals, combine_signals, label_as_tls
from netserve.reactor.unix import UNIXConnector, UNIXPort, adopt_unix

_log = Logger()


def _log_failure(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What the loop reports goes where all else is logged."""
    error = context.get("exception")
    if error is None:
        _log.error("{message}", message=context["message"])
    else:
        _log.failure("{message}", Failure(error), message=context["message"])


def clock() -> Callable[[], float]:
    """The time that delayed calls go by: the time of day as it is now, carried on monotonically.

    A clock that is set changes no delayed call. Programs that take it for the time of day, such as
    twisted.web for its access log, are right as long as nobody sets the clock.
    """
    monotonic = time.monotonic
    start = time.time() - monotonic()
    return lambda: start + monotonic()


# Twisted's two definitions of callFromThread differ in the name of an argument.
class NetserveReactor(Timing, AsyncioSelectorReactor):  # type: ignore[misc]
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
            loop.set_exception_handler(_log_failure)
        self.loop = loop
        self.streams: set[Stream] = set()
        self.seconds = clock()
        self._start_timing()
        super().__init__(loop)

    def _signalsFactory(self) -> Any:
        # Past PosixReactorBase, which adds its own listening for children.
        return combine_signals(base_signals(self), ChildSignals(self.loop))

    # IReactorTCP

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Port:
        """See `IReactorTCP.listenTCP`."""
        listening = Port(port, factory, backlog, interface, self)
        listening.startListening()
        return listening

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30.0, bindAddress: Any = None
    ) -> Any:
        """See `IReactorTCP.connectTCP`."""
        connector = Connector(host, port, factory, timeout, bindAddress, self)
        connector.connect()
        return connector

    # IReactorUNIX

    def listenUNIX(
        self, address: Any, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: int = 0
    ) -> UNIXPort:
        """See `IReactorUNIX.listenUNIX`."""
        listening = UNIXPort(address, factory, backlog, mode, self, wantPID)
        listening.startListening()
        return listening

    def connectUNIX(
        self, address: Any, factory: Any, timeout: float = 30, checkPID: int = 0
    ) -> UNIXConnector:
        """See `IReactorUNIX.connectUNIX`."""
        connector = UNIXConnector(address, factory, timeout, self, checkPID)
        connector.connect()
        return connector

    # IReactorSSL

    def listenSSL(
        self, port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = ""
    ) -> Port:
        """See `IReactorSSL.listenSSL`."""
        secured = TLSFactory(contextFactory, False, factory, self)
        listening = self.listenTCP(port, secured, backlog, interface)
        label_as_tls(listening)
        return listening

    def connectSSL(
        self,
        host: str,
        port: int,
        factory: Any,
        contextFactory: Any,
        timeout: float = 30.0,
        bindAddress: Any = None,
    ) -> Any:
        """See `IReactorSSL.connectSSL`."""
        secured = TLSFactory(contextFactory, True, factory, self)
        return self.connectTCP(host, port, secured, timeout, bindAddress)

    # IReactorSocket

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        """See `IReactorSocket.adoptStreamPort`."""
        self._check(addressFamily)
        if addressFamily == socket.AF_UNIX:
            listening = UNIXPort.adopted(self, fileDescriptor, factory)
        else:
            listening = Port.adopted(self, fileDescriptor, addressFamily, factory)
        listening.startListening()
        return listening

    def adoptStreamConnection(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        """See `IReactorSocket.adoptStreamConnection`."""
        self._check(addressFamily)
        if addressFamily == socket.AF_UNIX:
            return adopt_unix(self, fileDescriptor, factory)
        return adopt(self, fileDescriptor, addressFamily, factory)

    def _check(self, family: int) -> None:
        if family not in self._supportedAddressFamilies:
            raise error.UnsupportedAddressFamily(family)

    # What the reactor knows of its connections.

    def getReaders(self) -> list[Any]:
        """See `IReactorFDSet.getReaders`."""
        return [*super().getReaders(), *(s for s in self.streams if s.reading())]

    def addReader(self, reader: Any) -> None:
        """See `IReactorFDSet.addReader`."""
        if isinstance(reader, Stream):
            reader.startReading()
        else:
            super().addReader(reader)

    def removeReader(self, reader: Any) -> None:
        """See `IReactorFDSet.removeReader`."""
        if isinstance(reader, Stream):
            reader.stopReading()
        else:
            super().removeReader(reader)

    def removeAll(self) -> list[Any]:
        """See `IReactorFDSet.removeAll`; connections that wait for nothing are left."""
        active = [s for s in self.streams if s.active()]
        for stream in active:
            self.streams.remove(stream)
            stream.stopReading()
        return [*super().removeAll(), *active]

    def disconnectAll(self) -> None:
        """Lose all connections, as the reactor stops."""
        super().disconnectAll()
        for stream in list(self.streams):
            stream.connectionLost(Failure(CONNECTION_LOST))
