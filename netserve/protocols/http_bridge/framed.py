"""Requests by a framing of bytes: frames in, replies out, in the order of the frames (S13).

One connection has at most ``requests_per_connection`` requests under way. With so many, or with a
client that does not read its replies, nothing more is read from it. A client that closes its
sending side gets the replies that are due; one that is gone has its requests given up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IPushProducer,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from netserve.lingering import close_lingering
from netserve.protocols.http_bridge.bridge import Bridge, UnderWay
from netserve.wire.framing import Delimiter, Event, Framing, Line

_LINE_ENDS: Final = b"\r\n"


def fitting(framing: Framing) -> Callable[[bytes], bytes]:
    """What makes a reply fit into one frame, whatever the upstream's body has in it.

    In a line, line ends become blanks; the last ones are dropped. Of other delimiters, each one
    in the reply becomes a blank, or nothing where a blank is a part of it.
    """
    if isinstance(framing, Line):
        return _one_line
    if isinstance(framing, Delimiter):
        return _without(framing.delimiter)
    return bytes


def _one_line(reply: bytes) -> bytes:
    if b"\n" in reply or b"\r" in reply:
        return b" ".join(reply.rstrip(_LINE_ENDS).splitlines())
    return reply


def _without(delimiter: bytes) -> Callable[[bytes], bytes]:
    blank = b"" if b" " in delimiter else b" "

    def fit(reply: bytes) -> bytes:
        while delimiter in reply:
            reply = reply.replace(delimiter, blank)
        # The end of the reply and the delimiter behind it may hold an earlier delimiter.
        while reply and (reply[-len(delimiter) :] + delimiter).find(delimiter) < min(
            len(reply), len(delimiter)
        ):
            reply = reply[:-1]
        return reply

    return fit


class _Slot:
    """The place of one reply in the order of the replies."""

    __slots__ = ("reply", "request")

    def __init__(self) -> None:
        self.reply: bytes | None = None
        self.request: UnderWay | None = None


@implementer(IHalfCloseableProtocol, IPushProducer)
class FramedBridge(Protocol):
    """One connection.

    Arguments:
        factory: what the connections of the service share.
        peer: who it is, for the log and for ``{peer}``.
    """

    transport: Any
    factory: FramedFactory

    def __init__(self, factory: FramedFactory, peer: str) -> None:
        self.factory = factory
        self._peer = peer
        self._decoder = factory.framing.decoder(factory.request_size)
        self._waiting: deque[Event] = deque()
        self._slots: deque[_Slot] = deque()
        self._pause: Any = None
        self._reading = True
        self._writable = True
        self._ending = self._broken = self._read_ended = self._closed = False

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        if self._ending:
            return
        self._waiting.extend(self._decoder.feed(data))
        self._advance()
        if self.factory.framing.idle_after is not None:
            self._wait_for_pause()

    def readConnectionLost(self) -> None:
        """The client has sent all: it gets what is due, then the connection ends."""
        self._read_ended = True
        self._stop_pause()
        if self._closed:
            self.transport.loseConnection()
        elif not self._ending:
            self._waiting.extend(self._decoder.end())
            self._ending = True
            self._advance()

    def writeConnectionLost(self) -> None:
        """It was us who closed it."""

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._closed = True
        self._stop_pause()
        self._waiting.clear()
        for slot in self._slots:
            if slot.request is not None:
                slot.request.cancel()
        self._slots.clear()

    def drain(self) -> None:
        """Answer the requests that have come whole, then close."""
        self._stop_pause()
        if self._closed:
            self.transport.loseConnection()
            return
        self._ending = True
        self._advance()

    def pauseProducing(self) -> None:
        """The client does not read its replies; so no more requests are begun."""
        self._writable = False
        self._balance()

    def resumeProducing(self) -> None:
        self._writable = True
        self._advance()

    def stopProducing(self) -> None:
        """The connection is lost, which `connectionLost` tells."""

    def _advance(self) -> None:
        """Write what is due, begin what may begin, and so on; then see whether to read."""
        self._flush()
        while self._begin():
            self._flush()
        self._balance()

    def _flush(self) -> None:
        """Write the replies whose turn it is."""
        slots, encode = self._slots, self.factory.encode
        while slots and (reply := slots[0].reply) is not None:
            slots.popleft()
            self.transport.write(encode(reply))

    def _begin(self) -> bool:
        """Begin requests that wait, as many as may be under way; tell whether there was one."""
        waiting, slots, begun = self._waiting, self._slots, False
        while waiting and self._writable and len(slots) < self.factory.pipeline:
            event = waiting.popleft()
            begun = True
            slot = _Slot()
            slots.append(slot)
            if isinstance(event, bytes):
                slot.request = self.factory.bridge.ask(
                    event, self._peer, partial(self._answered, slot)
                )
                continue
            slot.reply = self.factory.bridge.refuse(str(event), self._peer)
            if event.fatal:
                waiting.clear()
                self._ending = self._broken = True
        return begun

    def _answered(self, slot: _Slot, reply: bytes) -> None:
        slot.reply, slot.request = reply, None
        if slot is self._slots[0]:
            self._advance()

    def _balance(self) -> None:
        """Read, or do not, as there is room; close when all is done."""
        if self._ending and not self._slots and not self._waiting:
            self._close()
            return
        reading = not self._waiting and self._writable and len(self._slots) < self.factory.pipeline
        if reading != self._reading:
            self._reading = reading
            if reading:
                self.transport.resumeProducing()
            else:
                self.transport.pauseProducing()

    def _close(self) -> None:
        """End the connection, behind what is still to be written."""
        if self._closed:
            return
        self._closed = True
        self.transport.unregisterProducer()
        if not self._broken or self._read_ended:
            self.transport.loseConnection()
            return
        if not self._reading:
            self.transport.resumeProducing()
        self._pause = close_lingering(self.transport, self.factory.clock)

    def _wait_for_pause(self) -> None:
        if self._pause is not None and self._pause.active():
            self._pause.reset(self.factory.framing.idle_after)
        else:
            self._pause = self.factory.clock.callLater(
                self.factory.framing.idle_after, self._paused
            )

    def _paused(self) -> None:
        self._waiting.extend(self._decoder.idle())
        self._advance()

    def _stop_pause(self) -> None:
        if self._pause is not None and self._pause.active():
            self._pause.cancel()


class FramedFactory(Factory):
    """Makes the protocol of each connection.

    Arguments:
        bridge: asks the upstream.
        framing: how requests and replies are told apart.
        clock: the reactor.
        request_size: the largest frame, in bytes.
        pipeline: the most requests of one connection under way at one time.
    """

    noisy = False

    def __init__(
        self,
        bridge: Bridge,
        framing: Framing,
        clock: Any,
        *,
        request_size: int,
        pipeline: int,
    ) -> None:
        self.bridge = bridge
        self.framing = framing
        self.clock = clock
        self.request_size = request_size
        self.pipeline = pipeline
        self._fit = fitting(framing)

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return FramedBridge(self, getattr(addr, "host", None) or "a local client")

    def encode(self, reply: bytes) -> bytes:
        """A reply as a frame; one that the framing has no place for becomes an error reply."""
        try:
            return self.framing.encode(self._fit(reply))
        except ValueError as error:
            self.bridge.refusals.answer(str(error))
            told = self._fit(self.bridge.error("reply", str(error), 502))
        try:
            return self.framing.encode(told)
        except ValueError:
            return self.framing.encode(b"")
