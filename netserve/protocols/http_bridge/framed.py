"""Requests by a framing of bytes: frames in, replies out, in the order of the frames (S13).

One connection has at most ``requests_per_connection`` requests under way. With so many, or with a
client that does not read its replies, nothing more is read from it; nor while others have their
turn (`netserve.fairness.turns`). A client that closes its sending side gets the replies that are
due; one that is gone has its requests given up.

What a connection holds is counted: requests that are not complete, those under way, and replies
that were not taken. A request that would take more than its client's address may hold gets the
error reply ``busy``.
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

from netserve.fairness.reading import LARGE, PacedReading
from netserve.fairness.shares import Holding
from netserve.lingering import close_lingering
from netserve.protocols.http_bridge.bridge import Bridge, Client, UnderWay
from netserve.wire.frame_input import SMALL, FrameInput, TooMuchHeld
from netserve.wire.framing import Delimiter, Event, Framing, Line
from netserve.wire.peer import counting_key

_LINE_ENDS: Final = b"\r\n"
_BLANKS: Final = bytes.maketrans(_LINE_ENDS, b"  ")


def fitting(framing: Framing) -> Callable[[bytes], bytes]:
    """What makes a reply fit into one frame, whatever the upstream's body has in it.

    In a line, line ends become blanks; the last ones are dropped. Of other delimiters, each one
    in the reply becomes a blank, or another sign where a blank is a part of it.
    """
    if isinstance(framing, Line):
        return _one_line
    if isinstance(framing, Delimiter):
        return _without(framing.delimiter)
    return bytes


def _one_line(reply: bytes) -> bytes:
    if b"\n" in reply or b"\r" in reply:
        return reply.rstrip(_LINE_ENDS).replace(b"\r\n", b"\n").translate(_BLANKS)
    return reply


def _without(delimiter: bytes) -> Callable[[bytes], bytes]:
    # What takes its place is in no delimiter, so that one pass finds all of them.
    every = (b" ", *(bytes([octet]) for octet in range(255, -1, -1)))
    sign = next((each for each in every if each not in delimiter), b"")

    def fit(reply: bytes) -> bytes:
        if delimiter in reply:
            reply = reply.replace(delimiter, sign)
        # The end of the reply and the delimiter behind it may hold an earlier delimiter.
        end = reply[-len(delimiter) :]
        drop = 0
        while drop < len(end) and (end[: len(end) - drop] + delimiter).find(delimiter) < (
            len(end) - drop
        ):
            drop += 1
        return reply[: len(reply) - drop] if drop else reply

    return fit


class _Slot:
    """The place of one reply in the order of the replies.

    Arguments:
        size: bytes of the request, which are held for it.
    """

    __slots__ = ("reply", "request", "size")

    def __init__(self, size: int) -> None:
        self.reply: bytes | None = None
        self.request: UnderWay | None = None
        self.size = size


@implementer(IHalfCloseableProtocol, IPushProducer)
class FramedBridge(Protocol):
    """One connection.

    Arguments:
        factory: what the connections of the service share.
        client: who it is.
    """

    transport: Any
    factory: FramedFactory

    def __init__(self, factory: FramedFactory, client: Client) -> None:
        self.factory = factory
        self._client = client
        memory = factory.bridge.upstream.memory
        self._frames = FrameInput(factory.framing, factory.request_size, memory, client.address)
        self._held = Holding(memory, client.address, free=SMALL)
        self._unsent = 0  # bytes that the transport holds until the client reads
        self._slots: deque[_Slot] = deque()
        self._pause: Any = None
        self._lingering: PacedReading | None = None
        self._reading = True
        self._writable = True
        self._ending = self._broken = self._read_ended = self._closed = False

    def connectionMade(self) -> None:
        turns = self.factory.bridge.context.turns
        abort = self.transport.abortConnection
        self._turn = turns.turn(self._client.address, self._work, abort)
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        if self._ending:
            if self._lingering is not None and len(data) >= LARGE:
                self._lingering.pauseProducing()
                self._lingering.resumeProducing()
            return
        self._frames.add(data)
        self._ask()
        if self.factory.framing.idle_after is not None:
            self._wait_for_pause()

    def readConnectionLost(self) -> None:
        """The client has sent all: it gets what is due, then the connection ends."""
        self._read_ended = True
        self._stop_pause()
        if self._closed:
            self.transport.loseConnection()
        elif not self._ending:
            self._frames.end()
            self._ending = True
            self._ask()

    def writeConnectionLost(self) -> None:
        """It was us who closed it."""

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._closed = True
        self._stop_pause()
        self._turn.drop()
        if self._lingering is not None:
            self._lingering.stopProducing()
        self._frames.clear()
        self._held.close()
        for slot in self._slots:
            if slot.request is not None:
                slot.request.cancel()
                # It holds what has come of the answer, and is to call back with the slot. In this
                # circle it would stay until the garbage collector runs, which counts objects only.
                slot.request = None
        self._slots.clear()

    def drain(self) -> None:
        """Answer the requests that have come whole, then close."""
        self._stop_pause()
        if self._closed:
            self.transport.loseConnection()
            return
        self._ending = True
        self._ask()

    def pauseProducing(self) -> None:
        """The client does not read its replies; so no more requests are begun."""
        self._writable = False
        self._balance()

    def resumeProducing(self) -> None:
        self._writable = True
        self._held.add(-self._unsent)
        self._unsent = 0
        self._ask()

    def stopProducing(self) -> None:
        """The connection is lost, which `connectionLost` tells."""

    def _ask(self) -> None:
        """Have what waits done, when it is this connection's turn; nothing is read until then."""
        self._turn.ask()
        if self._turn.waits:
            self._balance()

    def _work(self) -> bool:
        """Write replies and begin requests; says whether there is more to do at once."""
        if self._closed:
            return False
        while self._step() and not self._turn.is_over():
            pass
        self._balance()
        return self._may_write() or (self._may_begin() and bool(self._frames))

    def _step(self) -> bool:
        """Write the reply whose turn it is, or else begin a request; whether there was one."""
        if self._may_write():
            self._write(self._slots.popleft())
            return True
        if self._may_begin() and self._frames.fill():
            self._begin(self._frames.events.popleft())
            return True
        return False

    def _may_write(self) -> bool:
        slots = self._slots
        return bool(self._writable and slots and slots[0].reply is not None)

    def _may_begin(self) -> bool:
        return self._writable and not self._closed and len(self._slots) < self.factory.pipeline

    def _write(self, slot: _Slot) -> None:
        self.transport.write(self.factory.encode(slot.reply or b""))
        if self._writable:
            self._held.add(-slot.size)
        else:
            self._unsent += slot.size

    def _begin(self, event: Event) -> None:
        """Begin a request, or refuse what is none."""
        bridge, client = self.factory.bridge, self._client
        slot = _Slot(len(event) if isinstance(event, bytes) else 0)
        self._slots.append(slot)
        if isinstance(event, TooMuchHeld) or not self._held.grow(slot.size):
            slot.size = 0
            slot.reply = bridge.refuse(str(TooMuchHeld()), client.peer, kind="busy", status=503)
        elif isinstance(event, bytes):
            begun = bridge.ask(event, client, partial(self._answered, slot))
            if isinstance(begun, bytes):
                self._reply(slot, begun)
            else:
                slot.request = begun
        else:
            slot.reply = bridge.refuse(str(event), client.peer)
        if not isinstance(event, bytes) and event.fatal:
            self._frames.clear()
            self._ending = self._broken = True

    def _reply(self, slot: _Slot, reply: bytes) -> None:
        """There is a reply: it is held in place of the request."""
        slot.reply, slot.request = reply, None
        self._held.add(len(reply) - slot.size)
        slot.size = len(reply)

    def _answered(self, slot: _Slot, reply: bytes) -> None:
        self._reply(slot, reply)
        if slot is self._slots[0]:
            self._ask()

    def _balance(self) -> None:
        """Read, or do not, as there is room; close when all is done."""
        if self._ending and not self._slots and not self._frames:
            self._close()
            return
        reading = self._may_begin() and not self._frames
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
        turns, address = self.factory.bridge.context.turns, self._client.address
        self._lingering = PacedReading(self.transport, turns, address)
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
        if self._reading:
            self._frames.idle()
            self._ask()
        else:
            self._wait_for_pause()  # it is us who do not read

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
        host = getattr(addr, "host", None) or ""
        return FramedBridge(self, Client(host or "a local client", counting_key(host)))

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
