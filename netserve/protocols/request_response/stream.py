"""The wiring of connections: bytes to requests, replies to bytes, and pausing in between.

`Connection` has four reasons not to take the next request: others have their turn
(`netserve.fairness.turns`), the peer does not read its replies (the transport pauses us as a
producer), as many requests as allowed wait for their handler, or the connection is about to end.
What was read by then waits in its `FrameInput`; nothing more is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from netserve.fairness.reading import LARGE, PacedReading
from netserve.fairness.shares import Shares
from netserve.fairness.turns import Share
from netserve.lingering import close_lingering
from netserve.plugin import Metrics
from netserve.protocols.request_response.handling import wait
from netserve.protocols.request_response.ordered import ReplyQueue
from netserve.protocols.request_response.responder import Pending, Responder
from netserve.wire.frame_input import SMALL, FrameInput
from netserve.wire.framing import Event, Framing, FramingError
from netserve.wire.peer import counting_key

BATCH: Final = 65536
"""Bytes of replies that are written at once, so that a peer that does not read is noticed."""
_FRAMES: Final = {bytes}


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """What all connections of a service have in common.

    Arguments:
        responder: gives replies with their framing.
        framing: of the requests.
        request_size: the most bytes of one.
        pipeline: how many may wait for their handler.
        timeout: seconds for a handler.
        metrics: the service's counters.
        clock: the reactor.
        turns: the service's share of the reactor's time.
        memory: what the unfinished requests of all connections may take, in bytes.
    """

    responder: Responder
    framing: Framing
    request_size: int
    pipeline: int
    timeout: float
    metrics: Metrics
    clock: Any
    turns: Share
    memory: Shares


def peer_text(address: Any) -> str:
    """An address as it is written: ``127.0.0.1:4711``, ``[::1]:4711``, else ``unix``.

    Arguments:
        address: Twisted's address of a connection, or the pair of a datagram.
    """
    if isinstance(address, tuple):
        host, port = address[0], address[1]
    else:
        host, port = getattr(address, "host", None), getattr(address, "port", None)
    if not isinstance(host, str):
        return "unix"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@implementer(IHalfCloseableProtocol, IPushProducer)
class Connection(Protocol):
    """One connection.

    Arguments:
        options: of the service.
    """

    transport: Any

    def __init__(self, options: StreamOptions) -> None:
        self._options = options
        self._respond = options.responder.respond
        self._replies = ReplyQueue()
        self._cancels: dict[int, Callable[[], None]] = {}
        self._idle_after = options.framing.idle_after
        self._timer: Any = None
        self._lingering: PacedReading | None = None
        self._metrics = options.metrics
        self._pipeline = options.pipeline
        self._turns = options.turns.turns
        self._free = True
        """Whether nothing waits, is paused, or ends; `_work` finds out, all others only deny."""
        self._write_paused = False
        self._read_paused = False
        self._read_ended = False
        self._finishing = False
        self._broken = False
        self._closed = False

    def connectionMade(self) -> None:
        options, transport = self._options, self.transport
        peer = transport.getPeer()
        self._peer = peer_text(peer)
        address = counting_key(getattr(peer, "host", ""))
        self._input = FrameInput(options.framing, options.request_size, options.memory, address)
        self._turn = options.turns.turn(address, self._work, transport.abortConnection)
        transport.registerProducer(self, True)

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
        if not self._finishing:
            self._input.add(data)
            self._ask()
        elif self._lingering is not None and len(data) >= LARGE:
            self._lingering.pauseProducing()
            self._lingering.resumeProducing()

    def _ask(self) -> None:
        """Have what waits replied to, and read nothing more until that was so."""
        self._free = False
        self._turn.ask()
        if self._turn.waits:
            self._regulate()

    def _take_small(self, data: bytes) -> None:
        """Reply at once: nothing is in the way, and this turn of the reactor has time for it."""
        frames = self._input
        events = frames.feed(data)
        if frames.held:
            frames.count()
        if len(events) == 1 and isinstance(event := events[0], bytes) and not frames.events:
            self._metrics.requests += 1
            reply = self._respond(event, self._peer)
            if isinstance(reply, bytes):
                self.transport.write(reply)
            elif reply is not None:
                self._begin(reply)
        elif frames.events or (events and not self._answer_all(events)):
            frames.events.extendleft(reversed(events))
            self._ask()

    def _answer_all(self, events: Sequence[Event]) -> bool:
        """Reply to many requests at once, where all replies are constant.

        Says whether that was so; if not, nothing was done.
        """
        if set(map(type, events)) != _FRAMES:
            return False
        frames: Sequence[bytes] = events  # type: ignore[assignment]  # as was just found
        replies = self._options.responder.constants(frames, BATCH)
        if replies is None:
            return False
        self._metrics.requests += len(events)
        data = b"".join(replies)
        if data:
            self.transport.write(data)
        return True

    def _work(self) -> bool:
        """Reply to what waits, as far as may be; says whether there is more to do at once."""
        if self._closed:
            return False
        frames, replies, is_over = self._input, self._replies, self._turn.is_over
        if replies:
            self._write(replies.take())
        may_go_on = True
        while may_go_on and self._may_take() and frames.fill():
            events = frames.events
            if not replies and len(events) > 1 and self._answer_all(events):
                events.clear()
            else:
                self._answer_some()
            may_go_on = not is_over()
        self._free = not (frames or replies or self._write_paused or self._finishing)
        if frames or self._read_paused or self._finishing:
            self._regulate()
        return bool(frames) and self._may_take()

    def _may_take(self) -> bool:
        return not (self._closed or self._write_paused or len(self._replies) >= self._pipeline)

    def _answer_some(self) -> None:
        """Reply to what was decoded, one request after another, as long as may be."""
        events, replies, is_over = self._input.events, self._replies, self._turn.is_over
        respond, peer = self._respond, self._peer
        ready: list[bytes] = []
        size = 0
        while events and self._may_take():
            event = events.popleft()
            self._metrics.requests += 1
            reply = respond(event, peer) if isinstance(event, bytes) else self._refuse(event)
            if isinstance(reply, Pending):
                self._begin(reply)
                ready += replies.take()
            elif replies:
                replies.open().fill(reply)
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

    def _refuse(self, error: FramingError) -> bytes | None:
        if error.fatal:
            self._broken = self._finishing = True
            self._input.clear()
        return self._options.responder.refuse(error, self._peer)

    def _begin(self, pending: Pending) -> None:
        """Let a handler work; its reply gets the next place."""
        self._free = False
        slot = self._replies.open()
        key = id(slot)

        def done(reply: bytes | None) -> None:
            self._cancels.pop(key, None)
            slot.fill(reply)
            self._turn.ask()

        options = self._options
        cancel = wait(
            pending, options.responder, done, clock=options.clock, timeout=options.timeout
        )
        if slot.is_open:
            self._cancels[key] = cancel

    def _regulate(self) -> None:
        """Read or do not, and close when everything is done."""
        if self._finishing and not self._input and not self._replies:
            self._close()
            return
        pause = bool(self._input) or (self._finishing and not self._broken)
        if pause == self._read_paused or self._read_ended:
            return
        self._read_paused = pause
        if pause:
            self.transport.pauseProducing()
        else:
            self.transport.resumeProducing()

    def _close(self) -> None:
        """End the connection, behind what is still to be written."""
        if self._closed:
            return
        self._closed = True
        self._stop_timer()
        self.transport.unregisterProducer()
        if not self._broken or self._read_ended:
            self.transport.loseConnection()
            return
        self._lingering = PacedReading(self.transport, self._options.turns, self._turn.address)
        self._timer = close_lingering(self.transport, self._options.clock)

    def _wait_for_pause(self, seconds: float) -> None:
        if self._finishing:
            return
        if self._timer is not None and self._timer.active():
            self._timer.reset(seconds)
        else:
            self._timer = self._options.clock.callLater(seconds, self._paused)

    def _paused(self) -> None:
        if self._read_paused and self._idle_after is not None:
            self._wait_for_pause(self._idle_after)  # it is us who do not read
            return
        self._input.idle()
        self._ask()

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def readConnectionLost(self) -> None:
        """The peer has sent all; what it asked for is still answered."""
        self._read_ended = True
        if self._closed:
            self._stop_timer()
            self.transport.loseConnection()
            return
        self._stop_timer()
        if not self._finishing:
            self._input.end()
        self._finishing = True
        self._free = False
        self._turn.ask()

    def writeConnectionLost(self) -> None:
        """We closed our side, or the peer reads no more; the end follows."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closed = self._finishing = True
        self._free = False
        self._stop_timer()
        self._turn.drop()
        if self._lingering is not None:
            self._lingering.stopProducing()
        self._input.clear()
        cancels, self._cancels = self._cancels, {}
        for cancel in cancels.values():
            cancel()

    def drain(self) -> None:
        """Take no more requests, finish those that were read, and close."""
        self._finishing = True
        self._free = False
        self._turn.ask()

    def pauseProducing(self) -> None:
        """The peer does not read: no more replies for now."""
        self._write_paused = True
        self._free = False

    def resumeProducing(self) -> None:
        """The peer reads again."""
        self._write_paused = False
        self._turn.ask()

    def stopProducing(self) -> None:
        """The connection is lost; `connectionLost` follows."""
