"""A stream connection: Twisted's transport and asyncio's protocol in one object.

The loop's transport calls a `Stream` as its protocol, and a Twisted protocol calls it as its
transport. What is received goes to the protocol in one call, and what is written goes to the loop's
transport in one call; everything else happens once in a connection's life, or when a buffer fills.

States, by their flags, which are Twisted's own::

    flag            set by                              then
    connected       begin                               reading and writing
    disconnecting   loseConnection                      unsent data goes out; nothing is read
    disconnected    connection_lost, connectionLost,    over; every call does nothing
                    end of input

What happens once unsent data has gone out is `netserve.reactor.flow`. At the end of input, a
protocol that does not know half-closed connections is told at once that its connection is lost, and
what it had written still goes out (`netserve.reactor.flush`).
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    ILoggingContext,
    IPushProducer,
    IReadWriteDescriptor,
    ISystemHandle,
    ITCPTransport,
    ITLSTransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from netserve.reactor.context import LogContext, contexts
from netserve.reactor.flow import Consumer, drop
from netserve.reactor.flush import Flush
from netserve.reactor.held import Held
from netserve.reactor.interfaces import IPeerWatcher
from netserve.reactor.options import SocketOptions
from netserve.reactor.pending import Pending
from netserve.reactor.reading import Producer
from netserve.reactor.tls import start_tls

_DONE = Failure(ConnectionDone())
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@implementer(
    ITCPTransport,
    ITLSTransport,
    ISystemHandle,
    IPushProducer,
    IConsumer,
    IHalfCloseableDescriptor,
    IReadWriteDescriptor,
    ILoggingContext,
)
class Stream(Producer, Consumer, SocketOptions):
    """See the module.

    Args:
        reactor: a `netserve.reactor.NetserveReactor`.
        sock: connected, and ours from now on.
        protocol: gets what arrives; None until it is known.
    """

    __slots__ = ("TLS", "__dict__", "__weakref__", "_contexts", "_held", "_log_context",
                 "_native", "_paused", "_reason", "_write", "connected", "connection",
                 "disconnected", "disconnecting", "flushing", "protocol", "reactor",
                 "read_closed", "socket")  # fmt: skip

    _log = Logger()
    _tlsClientDefault = False

    def __init__(self, reactor: Any, sock: socket.socket, protocol: Any) -> None:
        super().__init__()
        self.reactor = reactor
        self.socket = sock
        self.protocol = protocol
        self.connected = self.disconnected = self.disconnecting = 0
        self.TLS = False
        self.connection: Any = None
        """What the program notes about the connection; the reactor does nothing with it."""
        self._write: Callable[[bytes], object] = drop
        self._reason: Failure | None = None
        self._paused = self.read_closed = False
        self._held: Held | None = None
        self.flushing: Flush | None = None
        """What still sends output although the protocol was told that the connection is lost."""

    def begin(self) -> None:
        """Tell the protocol of the connection, and have the loop get its transport ready."""
        self.connected = 1
        self._native = pending = Pending(self)
        self._use(pending.write)
        self._contexts = contexts()
        self._log_context = LogContext(self)
        self.reactor.streams.add(self)
        try:
            self.protocol.makeConnection(self)
        except Exception:
            self._failed(Failure())
        pending.attach()

    # What the loop calls.

    def connection_made(self, native: asyncio.Transport) -> None:
        """The loop has its transport ready."""
        pending = self._native
        self._native = native
        if self.disconnected:
            native.abort()
            return
        self._pace()
        self._full = False  # the loop tells again
        pending.repeat(native)
        if self._paused or self.disconnecting:
            self._held = Held.before_reading(self, native)
        if self._due:
            self._turn()

    def data_received(self, data: bytes) -> None:
        """Something has arrived."""
        self._turn_size = 0
        # What the protocol logs is this connection's.
        self._contexts.append(self._log_context)
        try:
            # The name is looked up each time: some protocols assign to it as they go on.
            self.protocol.dataReceived(data)
        except Exception:
            self._failed(Failure())
        finally:
            self._contexts.pop()

    def pause_writing(self) -> None:
        """The loop's write buffer has filled."""
        super().pause_writing()
        if IPeerWatcher.providedBy(self.protocol):
            self.protocol.waitsForPeer(True)

    def resume_writing(self) -> None:
        """The loop's write buffer has drained."""
        super().resume_writing()
        if IPeerWatcher.providedBy(self.protocol):
            self.protocol.waitsForPeer(False)

    def eof_received(self) -> bool:
        """The other side will send no more.

        Returns:
            False to have the loop close the connection when all is sent.
        """
        self.read_closed = True
        half_closeable: Any = IHalfCloseableProtocol(self.protocol, None)
        if half_closeable is not None:
            try:
                half_closeable.readConnectionLost()
            except Exception:
                self._failed(Failure())
            return True
        if self._native.get_write_buffer_size() and not self.disconnecting:
            self.flushing = Flush(self.reactor.loop, self.socket, self._native)
            self._over(_DONE)
        else:
            self.connectionLost(_DONE)
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The loop is done with the connection; its socket is still open during this call."""
        flushing, self.flushing = self.flushing, None
        if flushing is not None:
            self._shut_down()
            flushing.end()
        elif not self.disconnected:
            reason = self._reason
            if reason is None:
                reason = _DONE if error is None else Failure(ConnectionLost(str(error)))
            self._over(reason)

    def _over(self, reason: Failure) -> None:
        self.disconnected = 1
        self.connected = 0
        self._write = drop
        self.reactor.streams.discard(self)
        try:
            self._stop_producer()
        except Exception:
            self._log_failure(Failure())
        if self._reason is None and self.flushing is None:
            self._shut_down()
        try:
            self._disconnected(reason)
        except Exception:
            self._log_failure(Failure())
        finally:
            self.protocol = None

    def _shut_down(self) -> OSError | None:
        """End the connection for all that share its socket: copies of it, forked processes.

        Returns:
            the error if there was no connection any more.
        """
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            return error
        return None

    def _disconnected(self, reason: Failure) -> None:
        """Tell the protocol."""
        self.protocol.connectionLost(reason)

    # Writing.

    def write(self, data: bytes) -> None:
        """See `ITransport.write`."""
        if data.__class__ is not bytes and not isinstance(data, bytes):
            raise TypeError("Data must be bytes")
        if not self._due and self._contexts[-1] is not self._log_context:
            self._count_turn()
        self._turn_size += len(data)
        self._write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """See `ITransport.writeSequence`."""
        try:
            joined = b"".join(data)
        except TypeError:
            raise TypeError("Data must be bytes") from None
        if not self._due and self._contexts[-1] is not self._log_context:
            self._count_turn()
        self._turn_size += len(joined)
        self._write(joined)

    def _use(self, write: Callable[[bytes], object]) -> None:
        self._write = write

    def _count_turn(self) -> None:
        """Begin to count what is written in this turn, other than while data is received."""
        self._turn_size = 0
        self._soon()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See `IConsumer.registerProducer`."""
        if self.TLS:
            self.protocol.registerProducer(producer, streaming)
        else:
            if not self._due and self._contexts[-1] is not self._log_context:
                self._turn_size = 0  # it is an earlier turn's
            self._register(producer, streaming)

    def unregisterProducer(self) -> None:
        """See `IConsumer.unregisterProducer`."""
        if self.TLS:
            self.protocol.unregisterProducer()
        else:
            self._unregister()

    # Closing.

    def _soon(self) -> None:
        """Have `_turn` called in the next turn, or as soon as the loop has its transport ready."""
        if not self._due:
            self._due = True
            if isinstance(self._native, Pending):
                self._native.changed()
            else:
                self.reactor.loop.call_soon(self._turn)

    def loseConnection(self) -> None:
        """See `ITransport.loseConnection`."""
        if not self.TLS:
            self._lose_connection()
        elif self.connected and not self.disconnecting:
            self.protocol.loseConnection()

    def _lose_connection(self) -> None:
        if not self.connected or self.disconnecting or self._reason is not None:
            return
        if self._write_closed:
            self.connectionLost(_DONE)
            return
        self.disconnecting = 1
        self._native.pause_reading()
        self._pace()
        self._soon()

    def _close(self) -> None:
        error = self._shut_down()
        # The other side has reset the connection while nothing was read or written.
        self._reason = _DONE if error is None else Failure(ConnectionLost(str(error)))
        self.connectionLost(self._reason)

    def loseWriteConnection(self) -> None:
        """See `IHalfCloseableDescriptor.loseWriteConnection`."""
        if self.connected and self._reason is None and not self._write_closing:
            self._write_closing = True
            self._pace()
            self._soon()

    def _close_writing(self) -> None:
        self._write_closed = True
        self._pace()
        try:
            # Not by the loop's transport, which may do so later, and not tell that it failed.
            self.socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            # The other side has reset the connection: the loop tells after what is still to be
            # read, if it reads.
            if self._paused or self.read_closed:
                self._lose(Failure(ConnectionLost(str(error))))
            return
        if IHalfCloseableProtocol.providedBy(self.protocol):
            try:
                self.protocol.writeConnectionLost()
            except Exception:
                self._failed(Failure())

    def abortConnection(self) -> None:
        """See `ITCPTransport.abortConnection`: the other side gets a reset."""
        if self._reason is not None or not (self.connected or self.flushing):
            return
        with suppress(OSError):  # the socket is beyond it
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._lose(Failure(ConnectionAborted()))

    @property
    def aborted(self) -> bool:
        """Whether this side has aborted the connection."""
        return self._reason is not None and self._reason.type is ConnectionAborted

    def _lose(self, reason: Failure) -> None:
        """End the connection without sending what is unsent; the first reason stays."""
        if self._reason is None:
            self._reason = reason
        self._write = drop
        self._native.abort()

    def _failed(self, reason: Failure) -> None:
        """The protocol raised an exception."""
        self._log_failure(reason)
        self.connectionLost(reason)

    def _log_failure(self, reason: Failure) -> None:
        self._log.failure(
            "{protocol} failed; the connection is lost", reason, protocol=self.logPrefix()
        )

    def connectionLost(self, reason: Failure) -> None:
        """Lose the connection now, telling the protocol before this call returns."""
        if self.connected:
            self._native.abort()
            self._over(reason)

    def readConnectionLost(self, reason: Failure) -> None:
        """See `IHalfCloseableDescriptor.readConnectionLost`."""
        if not self.eof_received():
            self._native.close()

    def writeConnectionLost(self, reason: Failure) -> None:
        """See `IHalfCloseableDescriptor.writeConnectionLost`."""
        self.connectionLost(reason)

    # TLS.

    def startTLS(self, contextFactory: Any, normal: bool = True) -> None:
        """See `ITLSTransport.startTLS`.

        Args:
            contextFactory: what `IReactorSSL` takes for this side.
            normal: whether the side that connected is TLS's client.
        """
        start_tls(self, contextFactory, is_client=self._tlsClientDefault == bool(normal))

    def _layer(self, protocol: Any) -> None:
        """Put `protocol`, which does TLS, between the loop and this transport's protocol."""
        self.protocol = protocol
        self.TLS = True
        # What is written to this transport goes to TLS, which writes by the methods of the class.
        self.write = protocol.write  # type: ignore[method-assign]
        self.writeSequence = protocol.writeSequence  # type: ignore[method-assign]

    # What it is.

    def logPrefix(self) -> str:
        """What log records about this connection begin with."""
        protocol = self.protocol
        if ILoggingContext.providedBy(protocol):
            return str(protocol.logPrefix())
        return type(protocol).__name__

    @property
    def logstr(self) -> str:
        """The same, by the name that Twisted's own transports have for it."""
        return self.logPrefix()
