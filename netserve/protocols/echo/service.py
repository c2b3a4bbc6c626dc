"""The wiring of the small services: a protocol for connections, and one for datagrams."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IPullProducer
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from netserve.fairness.reading import LARGE, PacedReading
from netserve.fairness.turns import Share
from netserve.plugin import Context, Hosted
from netserve.protocols.echo.content import CHARGEN, chargen_datagram, daytime, time_1900
from netserve.protocols.echo.settings import EchoSettings
from netserve.wire.peer import counting_key
from netserve.wire.reply_guard import LogLimit, ReplyGuard

BLOCK = CHARGEN * 8
"""What chargen writes at once, about 56 KiB."""


@implementer(IHalfCloseableProtocol)
class Echo(Protocol):
    """RFC 862: what comes is sent back.

    Nothing of ours runs for a message: the transport's own `write` takes the data. Its reading is
    registered as its producer, so that it stops to read from a peer that does not read, and for
    others' turn when much has come.

    Arguments:
        turns: the service's share of the reactor's time.
    """

    transport: Any

    def __init__(self, turns: Share) -> None:
        self._turns = turns

    def connectionMade(self) -> None:
        self.transport.registerProducer(_paced(self.transport, self._turns), True)
        # mypy knows no methods of an instance; the reactor calls what stands here.
        self.dataReceived = self.transport.write  # type: ignore[method-assign]

    def dataReceived(self, data: bytes) -> None:
        """For a caller that had bound the method before the connection was made."""
        self.transport.write(data)

    def readConnectionLost(self) -> None:
        """The peer has sent all: what was not yet sent back still is."""
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """The peer reads no more; we are told by `connectionLost`, too."""


class Discard(Protocol):
    """RFC 863: what comes is thrown away.

    Arguments:
        turns: the service's share of the reactor's time.
    """

    def __init__(self, turns: Share) -> None:
        self._turns = turns

    def connectionMade(self) -> None:
        self._reading = _paced(self.transport, self._turns)

    def dataReceived(self, data: bytes) -> None:
        if len(data) >= LARGE:
            self._reading.pauseProducing()
            self._reading.resumeProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._reading.stopProducing()


def _paced(transport: Any, turns: Share) -> PacedReading:
    """The reading of a transport, in turns."""
    return PacedReading(transport, turns, counting_key(getattr(transport.getPeer(), "host", "")))


@implementer(IHalfCloseableProtocol)
class Saying(Protocol):
    """RFC 867 and 868: says one thing, and closes.

    Arguments:
        say: what is sent.
    """

    transport: Any

    def __init__(self, say: Callable[[], bytes]) -> None:
        self._say = say

    def connectionMade(self) -> None:
        self.transport.write(self._say())
        self.transport.loseConnection()

    def readConnectionLost(self) -> None:
        """A peer that only listens still gets all of it."""

    def writeConnectionLost(self) -> None:
        """Nothing is left to say."""


@implementer(IPullProducer, IHalfCloseableProtocol)
class Chargen(Protocol):
    """RFC 864: lines of characters for as long as the peer reads.

    As a pull producer it is asked for more only when all was taken.

    Arguments:
        limit: the most bytes, or None.
    """

    transport: Any

    def __init__(self, limit: int | None) -> None:
        self._left = limit

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, False)

    def dataReceived(self, data: bytes) -> None:
        """What the peer says is thrown away."""

    def resumeProducing(self) -> None:
        """All was taken: the next block, which begins where the cycle does."""
        block = BLOCK if self._left is None else BLOCK[: self._left]
        self.transport.write(block)
        if self._left is not None:
            self._left -= len(block)
            if self._left == 0:
                self.drain()

    def stopProducing(self) -> None:
        """The connection is lost."""

    def readConnectionLost(self) -> None:
        """A peer that only listens is served."""

    def writeConnectionLost(self) -> None:
        """The peer reads no more."""
        self.drain()

    def drain(self) -> None:
        """Send nothing more, and close when what was written is gone."""
        self.transport.unregisterProducer()
        self.transport.loseConnection()


class Datagrams(DatagramProtocol):
    """Answers each datagram by one, within the bounds of the guard (S14).

    Arguments:
        answer: the reply to a request, or None.
        guard: decides on replies.
        context: counts and logs.
    """

    noisy = False
    transport: Any

    def __init__(
        self, answer: Callable[[bytes], bytes | None], guard: ReplyGuard, context: Context
    ) -> None:
        self._answer = answer
        self._guard = guard
        self._context = context
        self._logged = LogLimit()

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self._context.metrics.requests += 1
        guard = self._guard
        reason = guard.refuses_port(addr[1] if isinstance(addr, tuple) else None)
        if reason is None:
            reply = self._answer(datagram)
            if reply is None or addr is None:
                return
            reason = guard.refuses_size(len(datagram), len(reply))
            if reason is None:
                self.transport.write(reply, addr)
                return
        self._refused(reason, addr)

    def _refused(self, reason: str, addr: Any) -> None:
        context = self._context
        context.metrics.errors["reply_refused"] += 1
        if count := self._logged.count(context.reactor.seconds()):
            context.log.warn(
                "no reply to {address}: {reason} ({count} since the last such line)",
                address=addr,
                reason=reason,
                count=count,
            )


def build(
    settings: EchoSettings, context: Context, *, now: Callable[[], float] = time.time
) -> Hosted:
    """What is hosted for these settings.

    Arguments:
        settings: of the service.
        context: of the service.
        now: the wall clock, which daytime and time tell.
    """
    guard = ReplyGuard(context.datagram_ports, amplify=settings.amplify)

    def chargen(request: bytes) -> bytes:
        return chargen_datagram(len(request), guard, context.random)

    kinds: dict[str, tuple[Callable[[], Protocol], Callable[[bytes], bytes | None]]] = {
        "echo": (lambda: Echo(context.turns), bytes),
        "discard": (lambda: Discard(context.turns), lambda _: None),
        "daytime": (lambda: Saying(lambda: daytime(now())), lambda _: daytime(now())),
        "time": (lambda: Saying(lambda: time_1900(now())), lambda _: time_1900(now())),
        "chargen": (lambda: Chargen(settings.limit), chargen),
    }
    protocol, answer = kinds[settings.kind]
    factory = Factory.forProtocol(protocol)
    factory.noisy = False
    # zope's interfaces are unknown to mypy.
    stream: Any = factory
    return Hosted(stream=stream, datagram=lambda: Datagrams(answer, guard, context))
