"""The driver of `ServerMachine`: one connection on a transport of the reactor.

The machine knows HTTP and the handler decides what to answer; this module handles the transport,
timeouts and flow control. It bounds the events handled in one turn of the reactor, the bytes
buffered of further requests, the bytes that wait for the client to read, and every wait for the
client (see `ServerOptions`).

How a connection ends:

==============================  =======================================================
what happened                   how
==============================  =======================================================
the exchange is complete        closed, after everything was sent
the client may still send       half-closed, and input discarded for two seconds, so that
                                the client sees the response and no reset
the response was cut short      reset, so that the client does not take it for complete
a timeout                       408 for a request that has begun, else closed
==============================  =======================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from netserve.http.corked import Corked
from netserve.http.h1 import End, Kind, Request, ServerMachine, Signal, Violation
from netserve.http.h1.events import NEED_DATA, NOTHING_FOLLOWS
from netserve.http.h1.states import BODY, CLOSED, DONE, HEAD, IDLE, RAW
from netserve.http.serving.exchange import Exchange
from netserve.reactor.lingering import close_lingering

if TYPE_CHECKING:
    from netserve.http.serving.factory import HttpServerFactory

_TIMED_OUT: Final = Violation(408, "request timed out", Kind.INCOMPLETE)
_INTERNAL: Final = Violation(500, "internal error")


@implementer(IHalfCloseableProtocol, IPushProducer)
class ServerConnection(Corked, Protocol):
    """See the module.

    Arguments:
        factory: what the connections of one server share.
    """

    transport: Any

    __slots__ = (
        "_body_paused", "_closing", "_deadlines", "_discarded", "_exchange", "_factory",
        "_full_since", "_in_head", "_linger", "_moved", "_options", "_read_paused", "_running",
        "_scheduled", "connected", "is_full", "machine", "transport",
    )  # fmt: skip

    def __init__(self, factory: HttpServerFactory) -> None:
        super().__init__()
        self._factory = factory
        self._options = factory.options
        self._deadlines = factory.deadlines
        self.machine = ServerMachine(factory.options.limits)
        self.is_full = False
        "Whether the client has not yet taken what was written."
        self._exchange: Exchange | None = None
        self._body_paused = False  # whoever gets the body is slow
        self._read_paused = False  # and so the transport does not read
        self._running = False
        self._scheduled = False
        self._closing = False
        self._discarded = 0
        self._linger: Any = None
        self._in_head = False  # a head has begun
        self._moved = 0.0  # when something has come, or the head begun that is coming
        self._full_since = 0.0

    # What the transport calls.

    def connectionMade(self) -> None:
        """A client is there."""
        self._factory.connections.add(self)
        self.transport.registerProducer(self, True)
        self._deadlines.watch(self)
        self._moved = self._deadlines.now

    def dataReceived(self, data: bytes) -> None:
        """Something came."""
        if self._closing:
            return
        if not self._in_head:
            self._moved = self._deadlines.now
        self.machine.receive(data)
        if self._running or self._scheduled or self._body_paused:
            self._hold_back()
        else:
            self._run()

    def readConnectionLost(self) -> None:
        """The client sends no more."""
        if self._closing:
            self.transport.loseConnection()
            return
        self.machine.receive_eof()
        if self._exchange is not None and self._options.gives_up:
            self.abort("it closed its sending side")
        elif not (self._running or self._scheduled or self._body_paused):
            self._run()

    def writeConnectionLost(self) -> None:
        """We have closed our side."""

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """The client is gone."""
        self._closing = True
        self._factory.connections.discard(self)
        self._deadlines.forget(self)
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        self._leave(reason.getErrorMessage())

    # The transport's producer: its buffer is full, or has drained.

    def pauseProducing(self) -> None:
        """The client is slow."""
        if not self.is_full:
            self.is_full = True
            self._full_since = self._deadlines.now
            if self._exchange is not None:
                self._exchange.receiver.pause_response()

    def resumeProducing(self) -> None:
        """The client has taken what was sent."""
        if self.is_full:
            self.is_full = False
            self._moved = self._deadlines.now
            if self._exchange is not None:
                self._exchange.receiver.resume_response()
            elif not (self._closing or self._running):
                self._run_soon()

    def stopProducing(self) -> None:
        """The connection is lost; `connectionLost` tells."""

    # The loop over the machine's events.

    def _run(self) -> None:
        """Handle events, as many as one turn may have."""
        self._running = True
        try:
            self._handle_events()
        except Exception:
            self._fail()
        finally:
            self._running = False
        exchange = self._exchange
        if exchange is not None and (exchange.is_raw or exchange.request.length != 0):
            exchange.receiver.request_flush()
        if self._body_paused or self._read_paused or self.machine.buffered:
            self._hold_back()

    def _handle_events(self) -> None:
        machine, left = self.machine, self._options.turn
        while not (self._closing or self._body_paused):
            if self.is_full and self._exchange is None:
                return  # what was answered has to be taken, before more is
            if not left:
                self._run_soon()
                return
            left -= 1
            event = machine.next_event()
            kind = event.__class__
            if kind is Request:
                self._begin(event)  # type: ignore[arg-type]  # it is one
            elif kind is End:
                self._end(event)  # type: ignore[arg-type]  # it is one
                if self._exchange is not None and machine.request_state is DONE:
                    return  # its response has to come first
            elif kind is bytes:
                self._take(event)  # type: ignore[arg-type]  # it is one
            elif kind is Signal:
                self._wait(event)  # type: ignore[arg-type]  # it is one
                return
            else:
                self._refuse(event)  # type: ignore[arg-type]  # it is a violation
                return

    def _begin(self, request: Request) -> None:
        self._in_head = False
        self._moved = self._deadlines.now
        self._discarded = 0
        self._exchange = exchange = Exchange(self, request)
        self._factory.requests += 1
        self._factory.handler(exchange)

    def _take(self, data: bytes) -> None:
        if self._exchange is not None:
            self._exchange.receiver.request_data(data)
            return
        # The response is complete; so long as it is not much, the connection is worth it.
        self._discarded += len(data)
        if self._discarded > self._options.discarded:
            self._close(linger=True)

    def _end(self, end: End) -> None:
        if self._exchange is not None:
            self._exchange.receiver.request_end(end.trailers)

    def _wait(self, signal: Signal) -> None:
        """There is no event: see what is waited for."""
        machine = self.machine
        if signal is NEED_DATA:
            self._in_head = machine.request_state is IDLE and not machine.is_idle
        elif signal is NOTHING_FOLLOWS and machine.response_state is CLOSED:
            self._leave("")
            self._close(linger=machine.has_left_unread or machine.buffered > 0)

    def _refuse(self, violation: Violation) -> None:
        """Say what is wrong, if that can still be said, and end the connection."""
        self._factory.refused(self, violation)
        self._leave(str(violation), told=True)
        self._end_with(violation)

    def _end_with(self, violation: Violation) -> None:
        machine = self.machine
        if machine.response_state is HEAD:
            reason, fields, body = self._factory.error_page(violation)
            self.put(machine.send_response(violation.status, reason, fields))
            if not machine.is_bodiless:
                for piece in machine.send_data(body):
                    self.put(piece)
                self.put(machine.send_end())
            self._close(linger=True)
        elif machine.response_state is CLOSED:
            self._close(linger=True)
        else:
            self.abort()

    def _fail(self) -> None:
        """A bug in netserve, in the handler or below it; called from the except block."""
        self._factory.failed(self)
        try:
            self._leave("internal error", told=True)
        except Exception:
            self._factory.failed(self)
        self.machine.give_up()
        if not self._closing:
            self._end_with(_INTERNAL)

    def _run_soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._factory.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._scheduled = False
        if not (self._closing or self._running or self._body_paused):
            self._run()

    def _hold_back(self) -> None:
        """Have the transport read, or not, as there is room."""
        if self._closing:
            return
        full = self._body_paused or self.machine.buffered > self._options.pipelined
        if full != self._read_paused:
            self._read_paused = full
            if full:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()

    # What the exchange calls.

    def pause_body(self) -> None:
        """Whoever gets the body is slow."""
        self._body_paused = True
        if not self._running:
            self._hold_back()

    def resume_body(self) -> None:
        """Whoever gets the body is ready for more."""
        if self._body_paused:
            self._body_paused = False
            self._moved = self._deadlines.now
            if not self._running:
                self._run_soon()

    def touch(self) -> None:
        """Something has moved, after a switch of protocols."""
        self._moved = self._deadlines.now

    def responded(self) -> None:
        """The head of a final response was put."""
        if self.machine.response_state is RAW:
            if self._exchange is not None:
                self._exchange.is_raw = True
            self.flush()
            self.touch()
            if not self._running:
                self._run_soon()

    def response_ended(self) -> None:
        """The response was sent; what comes next is another request, or the end."""
        self.flush()
        machine = self.machine
        if machine.response_state is CLOSED and machine.request_state is RAW:
            self.half_close()
            return
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.close()
        self._body_paused = False
        self._moved = self._deadlines.now
        if not (self._running or machine.is_idle) or machine.has_ended or self._read_paused:
            self._run_soon()

    def abort(self, reason: str = "") -> None:
        """End the connection at once."""
        self._closing = True
        self._leave(reason)
        self.transport.abortConnection()

    def _leave(self, reason: str, *, told: bool = False) -> None:
        """Let go of the exchange; whoever still answers learns that there is nobody to answer to.

        Arguments:
            reason: empty where that is known.
            told: whether the log has it.
        """
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            receiver = exchange.receiver
            exchange.close()
            if reason:
                if not told:
                    self._factory.left(self, exchange.request, reason)
                receiver.client_gone(reason)

    def _close(self, *, linger: bool) -> None:
        self.flush()
        self._closing = True
        self._full_since = self._deadlines.now
        self.transport.unregisterProducer()
        if linger:
            if self._read_paused:
                self._read_paused = False
                self.transport.resumeProducing()
            self._linger = close_lingering(self.transport, self._factory.reactor)
        else:
            self.transport.loseConnection()

    # Time.

    def is_overdue(self, now: float) -> bool:
        """Whether the client has kept us waiting for too long."""
        options = self._options
        if self.is_full or self._closing:
            return now - self._full_since >= options.send_timeout
        state, waited = self.machine.request_state, now - self._moved
        if state is IDLE:
            return waited >= (options.head_timeout if self._in_head else options.keep_alive)
        if state is BODY:
            return waited >= options.body_timeout and not self._body_paused
        return state is RAW and waited >= options.tunnel_timeout

    def give_up(self) -> None:
        """It has."""
        state = self.machine.request_state
        if self._closing or self.is_full:
            self.abort("it stopped reading")
        elif state is RAW:
            self.abort("no data for too long")
        elif state is IDLE and not self._in_head:
            self._close(linger=False)
        else:
            self.machine.give_up()
            self._refuse(_TIMED_OUT)

    # What the hosting layer calls.

    def drain(self) -> None:
        """Take no further request; end as soon as there is nothing under way."""
        self.machine.end_after_response()
        if self._exchange is None and not (self._closing or self._running):
            self._close(linger=False)

    def timed_out(self) -> None:
        """The hosting layer's own idle timeout."""
        if self._exchange is None and not self._closing:
            self._close(linger=False)
        else:
            self.abort("no data for too long")
