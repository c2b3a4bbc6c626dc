"""Asyncio protocol factories on Twisted's listeners.

`AsyncioFactory` makes a Twisted protocol for each connection, which gives the asyncio protocol a
transport in asyncio's form (PEP 3156) over Twisted's.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Any, Final

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IPushProducer,
    ISSLTransport,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

WRITE_BUFFER: Final = 64 * 1024
"""Unsent bytes above which a protocol is paused, unless it says otherwise."""


class AsyncioTransport(asyncio.Transport):
    """A Twisted transport in asyncio's form.

    Arguments:
        adapter: the Twisted protocol of the connection.
        transport: its Twisted transport.
    """

    def __init__(self, adapter: AsyncioProtocol, transport: Any) -> None:
        super().__init__()
        self._adapter = adapter
        self._transport = transport
        self._closing = False
        self._reading = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name in {"peername", "sockname"}:
            address = self._transport.getPeer() if name == "peername" else self._transport.getHost()
            host = getattr(address, "host", None)
            return (host, address.port) if host is not None else getattr(address, "name", default)
        if name == "socket":
            handle = getattr(self._transport, "getHandle", lambda: None)()
            # Under TLS it is OpenSSL's connection, which knows nothing of a socket's options.
            return handle if isinstance(handle, socket.socket) else default
        if name == "sslcontext" and ISSLTransport.providedBy(self._transport):
            # There is no context of the standard library's here, and who asks for one (aiohttp)
            # only wants to know whether there is TLS.
            return self._transport
        if name == "connection":
            return getattr(self._transport, "connection", default)
        return default

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            # A transport with a producer waits for it to end, and what comes after is nobody's.
            self._transport.unregisterProducer()
            self._transport.loseConnection()

    def abort(self) -> None:
        self._closing = True
        self._transport.abortConnection()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._adapter.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._adapter.protocol
        return protocol

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._transport.pauseProducing()

    def resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self._transport.resumeProducing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if data:
            self._transport.write(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        # TLS has no half-closed connections, as with asyncio's own transports.
        half_closes = hasattr(self._transport, "loseWriteConnection")
        return half_closes and not ISSLTransport.providedBy(self._transport)

    def write_eof(self) -> None:
        # Nothing more is written, and a transport would wait for its producer to end.
        self._transport.unregisterProducer()
        self._transport.loseWriteConnection()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the mark of unsent bytes above which the protocol is paused; the low one is its own.

        Under TLS the transport beneath has it.
        """
        beneath = self._transport
        while not hasattr(beneath, "bufferSize") and hasattr(beneath, "transport"):
            beneath = beneath.transport
        if hasattr(beneath, "bufferSize"):
            beneath.bufferSize = WRITE_BUFFER if high is None else high

    def get_write_buffer_size(self) -> int:
        return 0


@implementer(IHalfCloseableProtocol, IPushProducer)
class AsyncioProtocol(Protocol):
    """The Twisted side of one connection of an asyncio protocol.

    Arguments:
        protocol: the asyncio protocol, a streaming or a buffered one.
    """

    transport: Any
    _asyncio_transport: AsyncioTransport

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol

    def connectionMade(self) -> None:
        self._asyncio_transport = AsyncioTransport(self, self.transport)
        self.transport.registerProducer(self, True)
        self.protocol.connection_made(self._asyncio_transport)

    def dataReceived(self, data: bytes) -> None:
        protocol = self.protocol
        if not isinstance(protocol, asyncio.BufferedProtocol):
            protocol.data_received(data)
            return
        view = memoryview(data)
        while view:
            buffer = memoryview(protocol.get_buffer(len(view))).cast("B")
            taken = min(len(buffer), len(view))
            buffer[:taken] = view[:taken]
            view = view[taken:]
            protocol.buffer_updated(taken)

    def readConnectionLost(self) -> None:
        if not self.protocol.eof_received():
            self._asyncio_transport.close()

    def writeConnectionLost(self) -> None:
        """It was us who closed it."""

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        error = None if reason.check(ConnectionDone) else reason.value
        if not isinstance(error, OSError):
            # asyncio's protocols know None and OSErrors, such as ConnectionResetError.
            error = None if error is None else ConnectionResetError(str(error))
        self.protocol.connection_lost(error)

    def pauseProducing(self) -> None:
        self.protocol.pause_writing()

    def resumeProducing(self) -> None:
        self.protocol.resume_writing()

    def stopProducing(self) -> None:
        """The connection is lost, which `connectionLost` tells."""

    @property
    def drain(self) -> Callable[[], None] | None:
        """The asyncio protocol's own way to finish what is in flight, where it has one."""
        return getattr(self.protocol, "drain", None)


class AsyncioFactory(Factory):
    """A Twisted factory for an asyncio protocol factory.

    Arguments:
        build: makes an asyncio protocol.
    """

    noisy = False

    def __init__(self, build: Callable[[], asyncio.BaseProtocol]) -> None:
        self._build = build

    def buildProtocol(self, addr: IAddress | None) -> AsyncioProtocol:
        return AsyncioProtocol(self._build())
