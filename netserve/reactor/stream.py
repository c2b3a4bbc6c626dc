"""A stream connection: Twisted's transport and asyncio's protocol in one object.

The loop's transport calls a `Stream` as its protocol, and a Twisted protocol calls it as its
transport. What is received goes to the protocol by one call, and what is written to the loop's
transport by one call; all else here happens once in a connection's life, or when a buffer fills.

States, by their flags, which are Twisted's own::

    flag            set by                                   then
    connected       begin                                    reading and writing
    disconnecting   loseConnection, end of input             unsent data goes out; nothing is read
    disconnected    connection_lost, connectionLost          over; every call does nothing
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
from netserve.reactor.flow import Consumer
from netserve.reactor.held import Held
from netserve.reactor.options import SocketOptions
from netserve.reactor.pending import Pending
from netserve.reactor.tls import start_tls

_DONE = Failure(ConnectionDone())
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def _drop(_data: bytes) -> None:
    """Where bytes go that are written to a connection that is no more."""


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
class Stream(Consumer, SocketOptions):
    """See the module.

    Args:
        reactor: a `netserve.reactor.NetserveReactor`.
        sock: connected, and ours from now on.
        protocol: gets what arrives; None until it is known.
    """

    __slots__ = ("TLS", "__dict__", "__weakref__", "_contexts", "_held",
                 "_log_context", "_native", "_paused", "_raw",
                 "_read_closed", "_reason", "_write", "_write_closing", "connected",
                 "disconnected", "disconnecting", "protocol", "reactor", "socket")  # fmt: skip

    _log = Logger()
    _tlsClientDefault = False

    def __init__(self, reactor: Any, sock: socket.socket, protocol: Any) -> None:
        super().__init__()
        self.reactor = reactor
        self.socket = sock
        self.protocol = protocol
        self.connected = self.disconnected = self.disconnecting = 0
        self.TLS = False
        self._write: Callable[[bytes], object] = _drop
        self._raw: Callable[[bytes], object] = _drop
        self._reason: Failure | None = None
        self._paused = self._read_closed = self._write_closing = False
        self._held: Held | None = None

    def begin(self) -> None:
        """Tell the protocol of the connection, and have the loop get its transport ready."""
        self.connected = 1
        self._native = pending = Pending(self)
        self._set_raw(pending.write)
        self._contexts = contexts()
        self._log_context = LogContext(self)
        self.reactor.streams.add(self)
        try:
            self.protocol.makeConnection(self)
        except Exception:
            self._failed(Failure())
        pending.attach()

    # What the loop calls. `pause_writing` and `resume_writing` are the consumer's.

    def connection_made(self, native: asyncio.Transport) -> None:
        """The loop has its transport ready."""
        pending = self._native
        self._native = native
        if self._raw == pending.write:
            self._set_raw(native.write)
        if self.disconnected:
            native.abort()
            return
        pending.repeat(native)
        if self._paused and not self.disconnecting:
            self._held = Held.before_reading(self, native)

    def data_received(self, data: bytes) -> None:
        """Something has arrived."""
        # What the protocol logs is this connection's.
        self._contexts.append(self._log_context)
        try:
            # The name is looked up each time: some protocols assign to it as they go on.
            self.protocol.dataReceived(data)
        except Exception:
            self._failed(Failure())
        finally:
            self._contexts.pop()

    def eof_received(self) -> bool:
        """The other side will send no more.

        Returns:
            False to have the loop close the connection when all is sent.
        """
        self._read_closed = True
        half_closeable: Any = IHalfCloseableProtocol(self.protocol, None)
        if half_closeable is not None:
            try:
                half_closeable.readConnectionLost()
            except Exception:
                self._failed(Failure())
            return True
        if self.producer is not None:
            # What is still to be produced has nobody to say when it is complete.
            self._lose(_DONE)
            return True
        self.disconnecting = 1
        self._set_raw(_drop)
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The loop is done with the connection; its socket is still open during this call."""
        if self.disconnected:
            return
        reason = self._reason
        if reason is None:
            reason = _DONE if error is None else Failure(ConnectionLost(str(error)))
        self._over(reason)

    def _over(self, reason: Failure) -> None:
        self.disconnected = 1
        self.connected = 0
        self._write = self._raw = _drop
        self.reactor.streams.discard(self)
        if self._reason is None:
            self._shut_down()
        try:
            self._stop_producer()
            self._disconnected(reason)
        except Exception:
            self._log_failure(Failure())
        finally:
            self.protocol = None

    def _shut_down(self) -> None:
        """End the connection for all that share its socket: copies of it, forked processes."""
        with suppress(OSError):  # the other side was faster
            self.socket.shutdown(socket.SHUT_RDWR)

    def _disconnected(self, reason: Failure) -> None:
        """Tell the protocol."""
        self.protocol.connectionLost(reason)

    # Writing. `_write` takes what the protocol writes, `_raw` what goes to the loop; the two
    # differ where TLS was started.

    def write(self, data: bytes) -> None:
        """See `ITransport.write`."""
        if not isinstance(data, bytes):
            raise TypeError("Data must be bytes")
        self._write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """See `ITransport.writeSequence`."""
        try:
            joined = b"".join(data)
        except TypeError:
            raise TypeError("Data must be bytes") from None
        self._write(joined)

    def _set_raw(self, raw: Callable[[bytes], object]) -> None:
        self._raw = raw
        if not self.TLS:
            self._write = raw

    def _pace(self) -> None:
        self._set_raw(self._write_paced if self.streamingProducer else self._native.write)

    def _write_paced(self, data: bytes) -> None:
        """Write for a push producer: one that writes much at once waits for the next turn."""
        self._native.write(data)
        if len(data) > self._buffer_size and not self._full and self.producer is not None:
            self._pause_producer()
            self.reactor.loop.call_soon(self._resume_paced)

    def _resume_paced(self) -> None:
        if self.connected and not self._full:
            self.resume_writing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See `IConsumer.registerProducer`."""
        if self.TLS:
            self.protocol.registerProducer(producer, streaming)
        else:
            self._register(producer, streaming)

    def unregisterProducer(self) -> None:
        """See `IConsumer.unregisterProducer`."""
        if self.TLS:
            self.protocol.unregisterProducer()
        else:
            self._unregister()

    # Closing.

    def loseConnection(self) -> None:
        """See `ITransport.loseConnection`."""
        if not self.TLS:
            self._lose_connection()
        elif self.connected and not self.disconnecting:
            self.protocol.loseConnection()

    def _lose_connection(self) -> None:
        if not self.connected or self.disconnecting:
            return
        self.disconnecting = 1
        self._native.pause_reading()
        if self.producer is None:
            self._drained()

    def _drained(self) -> None:
        """No producer is left: do what was waiting for the last of the data."""
        if self.disconnecting:
            self._set_raw(_drop)
            self._native.close()
        elif self._write_closing and not self._native.get_write_buffer_size():
            self._set_raw(_drop)
            with suppress(OSError):  # the other side has closed; the loop will tell
                self._native.write_eof()
            self.reactor.loop.call_soon(self._write_connection_lost)

    def loseWriteConnection(self) -> None:
        """See `IHalfCloseableDescriptor.loseWriteConnection`."""
        if not self.connected or self._write_closing or self.disconnecting:
            return
        self._write_closing = True
        self._native.set_write_buffer_limits(high=0)
        if self.producer is None:
            self._drained()

    def _write_connection_lost(self) -> None:
        protocol: Any = self.protocol if self.connected else None
        if IHalfCloseableProtocol.providedBy(protocol):
            try:
                protocol.writeConnectionLost()
            except Exception:
                self._failed(Failure())

    def abortConnection(self) -> None:
        """See `ITCPTransport.abortConnection`: the other side gets a reset."""
        if not self.connected or self._reason is not None:
            return
        with suppress(OSError):  # the socket is beyond it
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._lose(Failure(ConnectionAborted()))

    def _lose(self, reason: Failure) -> None:
        """End the connection without sending what is unsent; the first reason stays."""
        if self._reason is None:
            self._reason = reason
        self.disconnecting = 1
        self._write = self._raw = _drop
        self._native.abort()

    def _failed(self, reason: Failure) -> None:
        """The protocol raised an exception."""
        self._log_failure(reason)
        self.connectionLost(reason)

    def _producer_failed(self, reason: Failure) -> None:
        self._log_failure(reason)
        if self.connected:
            # Not at once: it may be the protocol's own write that went to the producer.
            self._lose(reason)

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
            self.connectionLost(reason)

    def writeConnectionLost(self, reason: Failure) -> None:
        """See `IHalfCloseableDescriptor.writeConnectionLost`."""
        self.connectionLost(reason)

    # Reading.

    def pauseProducing(self) -> None:
        """See `IPushProducer.pauseProducing`."""
        self._paused = True
        if self.connected:
            self._native.pause_reading()

    def resumeProducing(self) -> None:
        """See `IPushProducer.resumeProducing`."""
        self._paused = False
        if self.connected and not self.disconnecting and not self._read_closed:
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
        idle = self._paused or self._read_closed
        return bool(self.connected and not idle and self._native.is_reading())

    def active(self) -> bool:
        """Whether input is watched for, or output waits."""
        return self.reading() or bool(self.connected and self._native.get_write_buffer_size())

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
        self._write = protocol.write

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
