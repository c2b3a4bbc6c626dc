"""TLS over any Twisted transport: Twisted's own layer on OpenSSL, with a shorter way for data.

Handshakes, certificates, and the order of events are those of `twisted.protocols.tls`. What differs
is what a message costs:

- OpenSSL is asked for as many records as have come, and for output only if there is some: each
  question with no answer is an exception (`netserve.reactor.records`).
- What a protocol writes while it gets data is encrypted and sent when it is done; what it writes
  at other times, at the end of the loop's turn. All records of it are one write to the
  transport, so that none waits for the acknowledgement of another.

What differs as well is how a connection ends. Once TLS is over, by a close_notify of the peer or
by an error, nothing that a producer gives can be sent: the transport closes without waiting for it.
After an error it does not wait for a peer that reads nothing, either. Twisted keeps both kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from OpenSSL.SSL import Error, WantReadError, ZeroReturnError
from twisted.internet.interfaces import INegotiated
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import (
    BufferingTLSTransport,
    TLSMemoryBIOFactory,
    TLSMemoryBIOProtocol,
)
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer

from netserve.reactor.interfaces import IPeerWatcher
from netserve.reactor.records import Records

_RECORD = 16384
"""The most that one record carries (RFC 8446, section 5.1)."""

_BUFFER = 64_000
"""Bytes written beyond which the transport gets them at once; as many as with Twisted's TLS."""


_log = Logger()


@implementer(IPeerWatcher)
class TLSProtocol(BufferingTLSTransport):
    """See the module. Made by a `TLSFactory`.

    It is a `BufferingTLSTransport` for those who look for one; the buffer is its own, and all
    else is that class's base, `TLSMemoryBIOProtocol`.
    """

    factory: TLSFactory

    def __init__(
        self, factory: TLSFactory, wrappedProtocol: Any, _connectWrapped: bool = True
    ) -> None:
        TLSMemoryBIOProtocol.__init__(self, factory, wrappedProtocol, _connectWrapped)
        self._records = Records()
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._closed = False  # our close_notify is sent
        self._corked = False  # somebody up the stack, or the loop, will call _uncork
        self._pulled = False  # the producer is asked by Twisted's Cooperator
        self._detached: Any = None  # the producer, when it has nothing left to produce for

    @property
    def read_closed(self) -> bool:
        """Whether the peer will send no more, by its own word or by an error."""
        return self._lostTLSConnection

    # Receiving.

    def dataReceived(self, data: bytes) -> None:
        """Bytes of TLS have come."""
        complete = self._records.feed(data)
        corked, self._corked = self._corked, True
        try:
            if not self._handshakeDone or self._appSendBuffer:
                TLSMemoryBIOProtocol.dataReceived(self, data)
            else:
                self._tlsConnection.bio_write(data)
                if complete:
                    self._deliver(complete)
        finally:
            self._corked = corked
            if not corked and self._pending:
                self._uncork()

    def _deliver(self, records: int) -> None:
        """Hand the protocol what so many records hold."""
        receive = self._tlsConnection.recv
        while records and not self._lostTLSConnection:
            records -= 1
            try:
                data = receive(_RECORD)
            except WantReadError:
                # Records without data, which may have wanted an answer.
                self._flushSendBIO()
                return
            except ZeroReturnError:
                # What the protocol has just written still goes out.
                self._flush()
                self._shutdownTLS()
                self._tlsShutdownFinished(None)
                return
            except Error:
                self._tlsShutdownFinished(Failure())
                return
            if not self._aborted:
                protocol: Any = self.wrappedProtocol
                protocol.dataReceived(data)

    # Sending.

    def write(self, data: bytes | bytearray) -> None:
        """See `ITransport.write`. As with Twisted's TLS, `data` may be a bytearray."""
        if not isinstance(data, bytes):
            if not isinstance(data, bytearray):
                raise TypeError("Data must be bytes")
            data = bytes(data)  # its owner may change it before it is encrypted
        if not data or (self.disconnecting and self._producer is None):
            return
        self._pending.append(data)
        self._pending_size += len(data)
        if self._pending_size > _BUFFER:
            self._flush()
        elif not self._corked:
            self._corked = True
            if self._pulled:
                # After the calls that are due already: the producer may be about to be asked.
                self.factory.call_later(self._uncork)
            else:
                self.factory.call_soon(self._uncork)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """See `ITransport.writeSequence`."""
        self.write(b"".join(data))

    def _uncork(self) -> None:
        self._corked = False
        self._flush()

    def _flush(self) -> None:
        """Encrypt what was written, and send it."""
        pending = self._pending
        if pending:
            data = pending[0] if len(pending) == 1 else b"".join(pending)
            pending.clear()
            self._pending_size = 0
            if self._tlsConnection is not None:
                self._write(data)

    def _write(self, data: bytes) -> None:
        if self._lostTLSConnection or self._closed:
            return
        if self._appSendBuffer:
            self._bufferedWrite(data)
            return
        send = self._tlsConnection.send
        sent = 0
        try:
            # OpenSSL takes one record's worth at a time.
            while sent < len(data):
                sent += send(memoryview(data)[sent:] if sent else data)
        except WantReadError:
            self._flushSendBIO()
            self._bufferedWrite(data[sent:])
        except Error:
            self._tlsShutdownFinished(Failure())
        else:
            self._flushSendBIO()

    def _flushSendBIO(self) -> None:
        """Give the transport all that OpenSSL has for it."""
        chunks = []
        read = self._tlsConnection.bio_read
        try:
            while True:
                chunk = read(_BUFFER + _RECORD)
                chunks.append(chunk)
                if len(chunk) < _BUFFER + _RECORD:
                    break
        except WantReadError:
            pass
        if chunks:
            transport: Any = self.transport
            transport.write(chunks[0] if len(chunks) == 1 else b"".join(chunks))

    # Closing: first what was written, then Twisted's way.

    def waitsForPeer(self, waiting: bool) -> None:
        """See `IPeerWatcher`."""
        if IPeerWatcher.providedBy(self.wrappedProtocol):
            watcher: Any = self.wrappedProtocol
            watcher.waitsForPeer(waiting)

    def _shutdownTLS(self) -> None:
        self._closed = True
        super()._shutdownTLS()
        if not self._lostTLSConnection:
            self.waitsForPeer(True)

    def abortConnection(self) -> None:
        """See `ITCPTransport.abortConnection`: a reset, with no close_notify before it."""
        self._aborted = self.disconnecting = True
        self._pending.clear()
        self._pending_size = 0
        transport: Any = self.transport
        transport.abortConnection()

    def loseConnection(self) -> None:
        """See `ITransport.loseConnection`."""
        if self.connected:
            self._flush()
        TLSMemoryBIOProtocol.loseConnection(self)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See `IConsumer.registerProducer`."""
        TLSMemoryBIOProtocol.registerProducer(self, producer, streaming)
        self._pulled = not streaming

    def unregisterProducer(self) -> None:
        """See `IConsumer.unregisterProducer`."""
        self._pulled = False
        if self._producer is None and self._detached is None:
            return
        self._flush()
        if self._detached is not None:
            # For the base class it is registered: it ends what makes a push producer of a pull one.
            self._producer, self._detached = self._detached, None
        TLSMemoryBIOProtocol.unregisterProducer(self)

    def _tlsShutdownFinished(self, reason: Failure | None) -> None:
        """TLS is over: orderly if `reason` is None."""
        producer, self._producer = self._producer, None
        transport: Any = self.transport
        if producer is not None:
            self._detached = producer
            transport.unregisterProducer()
        super()._tlsShutdownFinished(reason)
        if reason is not None and getattr(transport, "unsent", int)():
            # Not even the alert can be sent.
            transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The transport's connection is lost."""
        self._pending.clear()
        self._pending_size = 0
        producer, self._detached = self._detached, None
        self._producer = None
        if producer is not None:
            try:
                producer.stopProducing()
            except Exception:
                _log.failure("a producer failed to stop")
        TLSMemoryBIOProtocol.connectionLost(self, reason)


class TLSFactory(TLSMemoryBIOFactory):
    """Does TLS for the protocols of another factory: as `TLSMemoryBIOFactory`, and in its place.

    Args:
        contextFactory: what `IReactorSSL` takes, such as `ssl.CertificateOptions`.
        isClient: whether this side begins the handshake.
        wrappedFactory: makes the protocols that see what was decrypted.
        reactor: what it runs on.
    """

    protocol = TLSProtocol

    def __init__(
        self, contextFactory: Any, isClient: bool, wrappedFactory: Any, reactor: Any
    ) -> None:
        super().__init__(contextFactory, isClient, wrappedFactory, reactor)
        loop = getattr(reactor, "loop", None)
        self.call_later: Callable[[Callable[[], None]], Any] = partial(reactor.callLater, 0)
        self.call_soon = self.call_later if loop is None else loop.call_soon


class _Beneath:
    """A transport as it is beneath the TLS that was started on it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, data: bytes) -> None:
        type(self._stream).write(self._stream, data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        type(self._stream).writeSequence(self._stream, data)

    def loseConnection(self) -> None:
        self._stream._lose_connection()  # noqa: SLF001 - it is a part of the stream

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._stream._register(producer, streaming)  # noqa: SLF001 - it is a part of the stream

    def unregisterProducer(self) -> None:
        self._stream._unregister()  # noqa: SLF001 - it is a part of the stream


def start_tls(stream: Any, context_factory: Any, *, is_client: bool) -> None:
    """Put TLS between a connected `netserve.reactor.stream.Stream` and its protocol."""
    producer, streaming = stream.producer, stream.streamingProducer
    if producer is not None:
        stream.unregisterProducer()
    factory = TLSFactory(context_factory, is_client, None, stream.reactor)
    layer = TLSProtocol(factory, stream.protocol, _connectWrapped=False)
    stream.getHandle = layer.getHandle
    stream.getPeerCertificate = layer.getPeerCertificate
    directlyProvides(stream, INegotiated)
    stream._layer(layer)  # noqa: SLF001 - it is a part of the stream
    layer.makeConnection(_Beneath(stream))
    if producer is not None:
        stream.registerProducer(producer, streaming)
