"""Connections with framed requests: the one driver of `netserve.wire.pipeline.Pipeline`.

A protocol gives an `Answers`; the driver reads, writes, keeps to the connection's turns
(`netserve.fairness.turns`), and closes. Nothing is read while input waits to be answered.

A request that can be answered at once, in a turn of the reactor that has time for it, does not
pass through the pipeline: nothing is in its way there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

from twisted.internet import protocol
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from netserve.fairness.reading import LARGE, PacedReading
from netserve.fairness.shares import Shares
from netserve.fairness.turns import Share
from netserve.plugin import Metrics
from netserve.reactor.context import logged_for
from netserve.reactor.lingering import close_lingering
from netserve.wire.frame_input import SMALL, TooMuchHeld
from netserve.wire.framing import Event, Framing, FramingError
from netserve.wire.peer import counting_key
from netserve.wire.pipeline import Pipeline, State

__all__ = ["BATCH", "Answers", "Done", "FramedConnection", "FramedFactory", "FramedOptions"]

BATCH: Final = 65536
"""Bytes of replies that are written at once, so that a client that does not read is noticed."""
_FRAMES: Final = {bytes}

C = TypeVar("C")
P = TypeVar("P")

Done: TypeAlias = Callable[[bytes | None], None]


class Answers(Protocol[C, P]):
    """Makes the replies of a service, with their framing."""

    @property
    def client(self) -> Callable[[Any], C]:
        """Makes what `respond` gets as its client, of the connection's transport."""

    @property
    def respond(self) -> Callable[[bytes, C], bytes | P | None]:
        """The reply to a request, None for no reply, or work that is still to be begun."""

    @property
    def refuse(self) -> Callable[[FramingError, C], bytes | None]:
        """The reply to a broken frame, or to a request that cannot be held."""

    @property
    def constants(self) -> Callable[[Sequence[bytes], int], list[bytes] | None]:
        """The replies to many requests where all are constant, and at most so many bytes."""

    @property
    def begin(self) -> Callable[[P, Done], Callable[[], object]]:
        """Begin the work: its reply is passed on once, maybe at once. Gives what cancels it."""

    @property
    def discard(self) -> Callable[[P], object]:
        """The work will not be begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FramedOptions(Generic[C, P]):
    """What all connections of a service have in common.

    Arguments:
        answers: makes replies with their framing.
        framing: of the requests.
        request_size: the most bytes of one.
        pipeline: how many of a connection may have no reply yet.
        metrics: the service's counters.
        clock: the reactor.
        turns: the service's share of the reactor's time.
        memory: what all connections may hold, in bytes.
    """

    answers: Answers[C, P]
    framing: Framing
    request_size: int
    pipeline: int
    metrics: Metrics
    clock: Any
    turns: Share
    memory: Shares


@implementer(IHalfCloseableProtocol, IPushProducer)
class FramedConnection(protocol.Protocol, Generic[C, P]):
    """One connection.

    Arguments:
        options: of the service.
    """

    transport: Any

    def __init__(self, options: FramedOptions[C, P]) -> None:
        self._options = options
        self._answers = options.answers
        self._respond = options.answers.respond
        self._metrics = options.metrics
        self._turns = options.turns.turns
        self._idle_after = options.framing.idle_after
        self._timer: Any = None
        self._dropping: PacedReading | None = None
        self._free = True
        """Whether `Pipeline.is_idle`; `_work` finds out, all others only deny."""
        self._reads = True
        self._lingers = False
        self._closing = False

    def connectionMade(self) -> None:
        options, transport = self._options, self.transport
        peer = transport.getPeer()
        address = counting_key(getattr(peer, "host", ""))
        self._client = self._answers.client(transport)
        self._pipeline = Pipeline(
            options.framing,
            size=options.request_size,
            limit=options.pipeline,
            memory=options.memory,
            address=address,
        )
        self._frames = self._pipeline.frames
        work = partial(logged_for, transport, self._work)
        self._turn = options.turns.turn(address, work, transport.abortConnection)
        transport.registerProducer(self, True)

    # Input

    def dataReceived(self, data: bytes) -> None:
        if self._idle_after is not None:
            self._wait_for_pause(self._idle_after)
        if self._free and len(data) <= SMALL:
            # Counted here, and not by a call: this is what nearly always comes.
            turns = self._turns
            turns.left -= 1
            if turns.left >= 0 or turns.has_time():
                self._take_small(data)
                return
        if self._dropping is None:
            self._pipeline.receive(data)
            self._ask()
        elif len(data) >= LARGE:
            self._dropping.pauseProducing()
            self._dropping.resumeProducing()

    def readConnectionLost(self) -> None:
        """The client has sent all; what it has asked for is still answered."""
        self._stop_timer()
        self._pipeline.end()
        self._ask()

    def _ask(self) -> None:
        """Have what waits answered, and read nothing more until it is."""
        self._free = False
        self._turn.ask()
        if self._turn.waits:
            self._regulate()

    def _take_small(self, data: bytes) -> None:
        """Reply at once: nothing is in the way, and this turn of the reactor has time for it."""
        frames = self._frames
        events = frames.feed(data)
        if frames.held:
            frames.count()
        if len(events) == 1 and isinstance(event := events[0], bytes) and not frames.events:
            self._metrics.requests += 1
            reply = self._respond(event, self._client)
            if isinstance(reply, bytes):
                self.transport.write(reply)
            elif reply is not None:
                self._begin(event, reply)
        elif frames.events or (events and not self._answer_all(events)):
            frames.events.extendleft(reversed(events))
            self._ask()

    # Requests and replies

    def _work(self) -> bool:
        """Reply to what waits, as far as possible; says whether there is more to do at once."""
        pipeline, is_over = self._pipeline, self._turn.is_over
        may_go_on = True
        while may_go_on and pipeline.has_work:
            if pipeline.may_write:
                self._write_ready()
            elif self._frames.fill():
                events = self._frames.events
                if len(events) > 1 and not pipeline.slots and self._answer_all(events):
                    events.clear()
                else:
                    self._answer_some()
            may_go_on = not is_over()
        self._free = pipeline.is_idle
        if not self._free or not self._reads:
            self._regulate()
        return pipeline.has_work

    def _answer_all(self, events: Sequence[Event]) -> bool:
        """Reply to many requests at once, where all replies are constant.

        Says whether that was so; if not, nothing was done.
        """
        if set(map(type, events)) != _FRAMES:
            return False
        frames: Sequence[bytes] = events  # type: ignore[assignment]  # as was just found
        replies = self._answers.constants(frames, BATCH)
        if replies is None:
            return False
        self._metrics.requests += len(events)
        data = b"".join(replies)
        if data:
            self.transport.write(data)
        return True

    def _answer_some(self) -> None:
        """Begin the requests that were decoded, one after another, while there is room and time."""
        pipeline, slots, events = self._pipeline, self._pipeline.slots, self._frames.events
        respond, client, is_over = self._respond, self._client, self._turn.is_over
        ready: list[bytes] = []
        size = 0
        while events and (event := pipeline.next_event()) is not None:
            self._metrics.requests += 1
            if isinstance(event, bytes):
                reply = respond(event, client)
            else:
                reply = self._answers.refuse(event, client)
            if reply is not None and not isinstance(reply, bytes):
                self._write(ready)
                ready, size = [], 0
                self._begin(event, reply)
            elif slots:
                pipeline.append(reply)
            elif reply is not None:
                ready.append(reply)
                size += len(reply)
                if size >= BATCH:
                    self._write(ready)
                    ready, size = [], 0
            if is_over():
                break
        self._write(ready)

    def _write(self, ready: list[bytes]) -> None:
        if ready:
            self.transport.write(ready[0] if len(ready) == 1 else b"".join(ready))

    def _write_ready(self) -> None:
        pipeline = self._pipeline
        if data := pipeline.take(BATCH):
            self.transport.write(data)
        pipeline.written()

    def _begin(self, request: Any, work: P) -> None:
        """Begin work on a reply; it gets the next place."""
        self._free = False
        pipeline = self._pipeline
        slot = pipeline.open(len(request))
        if slot is None:
            self._answers.discard(work)
            pipeline.append(self._answers.refuse(TooMuchHeld(), self._client))
            self._turn.ask()
            return

        def done(reply: bytes | None) -> None:
            if pipeline.fill(slot, reply):
                self._turn.ask()

        cancel = self._answers.begin(work, done)
        if slot.is_open:
            slot.cancel = cancel

    # Reading, and the end

    def _regulate(self) -> None:
        """Read or do not; linger or close when all is done."""
        pipeline = self._pipeline
        if self._closing:
            return
        pipeline.settle()
        if pipeline.drops_input and self._dropping is None:
            self._dropping = PacedReading(self.transport, self._options.turns, self._turn.address)
        if pipeline.state is not State.ENDED and pipeline.wants_input != self._reads:
            self._reads = not self._reads
            if self._reads:
                self.transport.resumeProducing()
            else:
                self.transport.pauseProducing()
        if pipeline.state is State.CLOSED:
            self._close()
        elif pipeline.state is State.LINGERING and not self._lingers:
            self._linger()

    def _linger(self) -> None:
        """Half-close after what is still to be written, and wait for the client's end."""
        self._lingers = True
        self._stop_timer()
        self.transport.unregisterProducer()
        self._timer = close_lingering(self.transport, self._options.clock)

    def _close(self) -> None:
        """Close after what is still to be written."""
        self._closing = True
        self._stop_timer()
        if not self._lingers:
            self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _wait_for_pause(self, seconds: float) -> None:
        if self._pipeline.state is not State.OPEN:
            return
        if self._timer is not None and self._timer.active():
            self._timer.reset(seconds)
        else:
            self._timer = self._options.clock.callLater(seconds, self._paused)

    def _paused(self) -> None:
        if not self._reads and self._idle_after is not None:
            self._wait_for_pause(self._idle_after)  # it is us who do not read
            return
        self._pipeline.idle()
        self._ask()

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def writeConnectionLost(self) -> None:
        """We closed our side, or the client reads no more; the end follows."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._free = False
        self._closing = True
        self._stop_timer()
        self._turn.drop()
        if self._dropping is not None:
            self._dropping.stopProducing()
        for cancel in self._pipeline.lose():
            cancel()

    def drain(self) -> None:
        """Take no more requests, finish those that were read, and close."""
        self._pipeline.drain()
        self._stop_timer()
        self._ask()

    def pauseProducing(self) -> None:
        """The client does not read: no more replies for now."""
        self._pipeline.pause()
        self._free = False

    def resumeProducing(self) -> None:
        """The client reads again."""
        self._pipeline.resume()
        self._turn.ask()

    def stopProducing(self) -> None:
        """The connection is lost; `connectionLost` follows."""


class FramedFactory(protocol.Factory, Generic[C, P]):
    """Makes the protocol of each connection.

    Arguments:
        options: of the service.
    """

    noisy = False

    def __init__(self, options: FramedOptions[C, P]) -> None:
        self.options = options

    def buildProtocol(self, addr: Any) -> protocol.Protocol:
        connection = FramedConnection(self.options)
        connection.factory = self
        return connection
