"""UNIX stream sockets.

As with TCP, ports and attempts to connect are Twisted's own, and connections get native
transports. Descriptors are sent beside the native transport. A loop's read can't receive
them: a protocol that takes descriptors (`IFileDescriptorReceiver`) gets Twisted's transport.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet import unix
from twisted.internet.address import UNIXAddress
from twisted.internet.error import FileDescriptorOverrun
from twisted.internet.interfaces import IFileDescriptorReceiver, IUNIXTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from netserve.reactor.client import ClientStream, connect
from netserve.reactor.server import Accepting, ServerStream
from netserve.reactor.stream import Stream

_DESCRIPTORS = 64
"""Descriptors waiting to be sent beyond which a push producer is paused."""


@implementer(IUNIXTransport)
class _Descriptors(Stream):
    """A UNIX connection that can send descriptors: each with a byte of what is written next.

    While descriptors wait, writing goes to `_send_with`; what the socket does not take yet is
    kept in `_unsent` until a watch on a copy of its descriptor says that there is room.
    """

    __slots__ = ()

    # Few connections ever send a descriptor: those that do have these in their dictionary.
    _descriptors: tuple[int, ...] = ()
    _unsent: bytearray | None = None
    _watch = -1

    def sendFileDescriptor(self, descriptor: int) -> None:
        """See `IUNIXTransport.sendFileDescriptor`."""
        if not self.connected or self.disconnecting:
            return
        if self._unsent is None:
            self._unsent = bytearray()
        self._descriptors += (descriptor,)
        self._pace()
        if len(self._descriptors) > _DESCRIPTORS and self.streamingProducer:
            self._pause()

    def _pace(self) -> None:
        if self._descriptors and not self._write_closed and self._reason is None:
            self._use(self._send_with)
        else:
            super()._pace()

    def _pause(self) -> None:
        self.producerPaused = True
        self.producer.pauseProducing()

    def _send_with(self, data: bytes) -> None:
        if self._unsent is None or not data:
            return
        self._unsent += data
        if self.streamingProducer and len(self._unsent) > self._buffer_size:
            self._pause()
        if self._watch < 0:
            self._send()

    def _send(self) -> None:
        """Send as many descriptors as can be, and after the last of them the bytes left."""
        unsent = self._unsent
        if unsent is None:
            return
        if self._native.get_write_buffer_size():
            self._wait()
            return
        while self._descriptors and unsent:
            try:
                socket.send_fds(self.socket, [unsent[:1]], self._descriptors[:1])
            except BlockingIOError:
                self._wait()
                return
            except OSError:
                # The loop will meet the same error, and lose the connection with it.
                self._descriptors = ()
                break
            self._descriptors = self._descriptors[1:]
            del unsent[:1]
        self._stop_waiting()
        if not self._descriptors:
            self._unsent = None
            self._pace()
            self._native.write(bytes(unsent))
        if self.producerPaused or self.disconnecting or self._write_closing:
            self._soon()

    def _wait(self) -> None:
        if self._watch < 0:
            # The loop does not let anyone watch the descriptor of its own transport.
            self._watch = os.dup(self.socket.fileno())
            self.reactor.loop.add_writer(self._watch, self._send)

    def _stop_waiting(self) -> None:
        if self._watch >= 0:
            self.reactor.loop.remove_writer(self._watch)
            os.close(self._watch)
            self._watch = -1

    def _turn(self) -> None:
        if self._watch < 0:
            super()._turn()
        else:
            self._due = False

    def _close(self) -> None:
        if self._descriptors:
            self._lose(Failure(FileDescriptorOverrun()))
        else:
            super()._close()

    def _over(self, reason: Failure) -> None:
        self._stop_waiting()
        super()._over(reason)

    def getTcpNoDelay(self) -> bool:
        """Never: there is nothing of the kind in a UNIX socket."""
        return False

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing: programs call it without knowing what they run over."""


# Names that a program only reads are properties here.
class UNIXServerStream(_Descriptors, ServerStream, unix.Server):  # type: ignore[override]
    """A UNIX connection that was accepted, or given to the reactor as a descriptor.

    It is a `unix.Server` for programs that look for one, and uses nothing of that class.
    """

    __slots__ = ()

    def getHost(self) -> UNIXAddress:
        """See `ITransport.getHost`."""
        return UNIXAddress(self.socket.getsockname())

    def getPeer(self) -> UNIXAddress:
        """See `ITransport.getPeer`."""
        return UNIXAddress(self.client or None)

    @property
    def hostname(self) -> Any:  # type: ignore[override]
        """The path of the listening socket, while the connection lasts."""
        return self.socket.getsockname() if self.socket.fileno() >= 0 else ""

    def _listening_on(self) -> Any:
        return self.socket.getsockname()


class UNIXClientStream(_Descriptors, ClientStream, unix.Client):  # type: ignore[override]
    """A UNIX connection that this side has made; see `UNIXServerStream`."""

    __slots__ = ()

    def getHost(self) -> UNIXAddress:
        """See `ITransport.getHost`."""
        return UNIXAddress(None)

    def getPeer(self) -> UNIXAddress:
        """See `ITransport.getPeer`."""
        return UNIXAddress(self.addr)


class UNIXPort(Accepting, unix.Port):
    """A listening UNIX socket; see `IListeningPort`."""

    transport: Any = UNIXServerStream

    def _serve(self, sock: socket.socket, protocol: Any, address: Any, session: int) -> None:
        if IFileDescriptorReceiver.providedBy(protocol):
            server = unix.Server(sock, protocol, address, self, session, self.reactor)
            protocol.makeConnection(server)
        else:
            super()._serve(sock, protocol, address, session)


class UNIXAttempt(unix.Client):
    """The attempt to connect. Once it has succeeded it is over, and no longer can fail."""

    def _connectDone(self) -> None:
        connector = self.connector
        protocol = connector.buildProtocol(self.getPeer())
        # It is built already when the connector is asked for it.
        connector.buildProtocol = lambda _address: protocol
        try:
            if IFileDescriptorReceiver.providedBy(protocol):
                super()._connectDone()
            else:
                connect(self, UNIXClientStream)
        finally:
            del connector.buildProtocol


class UNIXConnector(unix.Connector):
    """See `IConnector`."""

    def _makeTransport(self) -> Any:
        return UNIXAttempt(self.address, self, self.reactor, self.checkPID)


def adopt_unix(reactor: Any, descriptor: int, factory: Any) -> Any:
    """Take over a connected UNIX socket; see `IReactorSocket.adoptStreamConnection`.

    Returns:
        the transport; None if the factory has no protocol for it.
    """
    sock = socket.fromfd(descriptor, socket.AF_UNIX, socket.SOCK_STREAM)
    protocol = factory.buildProtocol(UNIXAddress(sock.getsockname()))
    if protocol is None:
        sock.close()
        return None
    if IFileDescriptorReceiver.providedBy(protocol):
        sock.setblocking(False)
        server = unix.Server(sock, protocol, sock.getpeername(), None, 0, reactor)
        protocol.makeConnection(server)
        return server
    stream = UNIXServerStream(reactor, sock, protocol, sock.getpeername(), None, 0)
    stream.begin()
    return stream
