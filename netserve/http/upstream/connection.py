"""The driver of `ClientMachine`: one connection to an upstream, used by one request after another.

The pool owns the connection and starts requests on it (`begin`); the connection reports when it is
ready, idle, or closed.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener, IPushProducer
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from netserve.connection import connection_id
from netserve.http.corked import Corked
from netserve.http.errors import HttpError, HttpTimedOut, ReadTimedOut, TotalTimedOut
from netserve.http.h1 import (
    ClientMachine,
    End,
    Field,
    Informational,
    Response,
    Unsendable,
    Violation,
)
from netserve.http.h1.events import NEED_DATA, NOTHING_FOLLOWS, PAUSED
from netserve.http.h1.states import BODY, HEAD, RAW
from netserve.http.upstream.errors import (
    CannotSend,
    InternalError,
    PoolClosed,
    lost_error,
    violation_error,
)
from netserve.http.upstream.outgoing import IDEMPOTENT, Outgoing

if TYPE_CHECKING:
    from netserve.http.upstream.pool import Upstream

_PEEK: Final = socket.MSG_PEEK | socket.MSG_DONTWAIT
_MARGIN: Final = 1.0
"""Seconds before an upstream's own keep-alive time at which an idle connection is closed."""


@implementer(IHalfCloseableProtocol, IHandshakeListener, IPushProducer)
class ClientConnection(Corked, Protocol):
    """See the module.

    Arguments:
        upstream: the share of the pool that it belongs to.
    """

    transport: Any

    __slots__ = (
        "_deadlines", "_full_since", "_gone", "_moved", "_options", "_outgoing", "_over",
        "_paused", "_running", "_scheduled", "_upstream", "connected", "is_full", "is_ready",
        "keep_alive", "machine", "requests", "socket", "transport",
    )  # fmt: skip

    def __init__(self, upstream: Upstream) -> None:
        super().__init__()
        self._upstream = upstream
        self._options = options = upstream.pool.options
        self._deadlines = upstream.pool.deadlines
        self.machine = ClientMachine(options.limits)
        self.keep_alive = options.keep_alive
        "Seconds that it may be idle."
        self.is_ready = False
        "Whether it may be used: connected, and inside TLS where that is wanted."
        self.is_full = False
        "Whether the upstream has not yet taken what was written."
        self.requests = 0
        "How many were sent on it."
        self._outgoing: Outgoing | None = None
        self._paused = False  # whoever gets the response is slow
        self._running = False
        self._scheduled = False
        self._gone = False  # it has left the pool
        self._over = False  # nothing more is read from it
        self._moved = 0.0
        self._full_since = 0.0

    # What the transport calls.

    def makeConnection(self, transport: Any) -> None:
        """Connected; a tap may stand before this protocol from now on."""
        upstream = self._upstream
        tls = upstream.origin.tls is not None
        super().makeConnection(upstream.pool.tracker.outgoing(self, transport, tls=tls))

    def connectionMade(self) -> None:
        """Connected; where TLS is wanted, its handshake follows."""
        origin = self._upstream.origin
        self.socket = self.transport.getHandle()
        if origin.preface:
            self.transport.write(origin.preface)
        if origin.tls is not None:
            self.transport.startTLS(origin.tls.for_host(origin.host))
        else:
            self._ready()

    def handshakeCompleted(self) -> None:
        """TLS is there, and the certificate is the upstream's."""
        if not self._gone:
            self._ready()

    def _ready(self) -> None:
        self.is_ready = True
        self.transport.registerProducer(self, True)
        self._upstream.ready(self)

    def dataReceived(self, data: bytes) -> None:
        """Something came."""
        if self._over:
            return
        self._moved = self._deadlines.now
        self.machine.receive(data)
        if not (self._running or self._scheduled or self._paused):
            self._run()

    def readConnectionLost(self) -> None:
        """The upstream sends no more; what it has sent may be waiting to be taken."""
        self.machine.receive_eof()
        if not (self._running or self._scheduled or self._paused or self._over):
            self._run()

    def writeConnectionLost(self) -> None:
        """We have closed our side."""

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """The connection is gone."""
        if self._outgoing is not None and reason.check(ConnectionDone) and not self._over:
            # In order: what came before is handled as ever, and it may be the end of a body that
            # has no other.
            self._leave_pool(reason)
            self.readConnectionLost()
            return
        if self._outgoing is not None:
            self._fail(lost_error(str(self._upstream.origin), reason))
        self._over = True
        self._leave_pool(reason)

    def pauseProducing(self) -> None:
        """The upstream is slow."""
        if not self.is_full:
            self.is_full = True
            self._full_since = self._deadlines.now
            if self._outgoing is not None:
                self._outgoing.receiver.pause_request()

    def resumeProducing(self) -> None:
        """The upstream has taken what was sent."""
        if self.is_full:
            self.is_full = False
            self._moved = self._deadlines.now
            if self._outgoing is not None:
                self._outgoing.receiver.resume_request()

    def stopProducing(self) -> None:
        """The connection is lost; `connectionLost` tells."""

    # The request.

    @property
    def is_usable(self) -> bool:
        """Whether the next request may be sent on it."""
        return not self._gone and self.machine.is_idle

    def has_ended(self) -> bool:
        """Whether the upstream has closed it, or spoken, and the loop has not told us yet.

        One call of the system, for a request that must not be sent in vain.
        """
        try:
            self.socket.recv(1, _PEEK)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True
        return True

    def begin(self, outgoing: Outgoing) -> None:
        """Send a request, as far as it is there; one that is not complete waits for `flush`."""
        machine = self.machine
        try:
            data = [machine.send_request(outgoing.method, outgoing.target, outgoing.fields)]
            outgoing.attach(self)
            self._outgoing = outgoing
            for piece in outgoing.body:
                data += machine.send_data(piece)
            if outgoing.is_complete:
                data.append(machine.send_end(outgoing.trailers))
        except Unsendable as error:
            self._cannot_send(outgoing, error)
            return
        self.requests += 1
        self._moved = self._deadlines.now
        for one in data:
            self.put(one)
        if outgoing.is_complete:
            self.flush()
        if not outgoing.is_complete and outgoing.body and not self.is_full:
            outgoing.receiver.resume_request()

    def _cannot_send(self, outgoing: Outgoing, error: Unsendable) -> None:
        self._outgoing = None
        if self.machine.is_idle:
            self._upstream.free(self)
        else:
            self.close()
        outgoing.fail(CannotSend(f"{self._upstream.origin}: {error}"))

    def send_data(self, data: bytes) -> None:
        """A piece of the body."""
        for piece in self.machine.send_data(data):
            self.put(piece)
        self._moved = self._deadlines.now

    def send_end(self, trailers: Sequence[Field]) -> None:
        """The end of the request."""
        raw = self.machine.request_state is RAW
        try:
            data = self.machine.send_end(trailers)
        except Unsendable:
            self.abandon()
            raise
        if data:
            self.put(data)
        self._moved = self._deadlines.now
        if raw:
            self.half_close()
        else:
            self.flush()

    # The response.

    def pause_response(self) -> None:
        """Whoever gets the response is slow."""
        if not self._paused:
            self._paused = True
            self.transport.pauseProducing()

    def resume_response(self) -> None:
        """Whoever gets the response is ready for more."""
        if self._paused:
            self._paused = False
            self._moved = self._deadlines.now
            self.transport.resumeProducing()
            if not self._running:
                self._run_soon()

    def _run(self) -> None:
        """Handle events, as many as one turn may have."""
        self._running = True
        try:
            self._handle_events()
        except Exception:
            self._upstream.pool.log.failure(
                "handling a response from {origin} failed",
                origin=str(self._upstream.origin),
                connection_id=connection_id(self.transport),
            )
            self._fail(InternalError("an internal error; see the log"))
        finally:
            self._running = False
        if self._outgoing is not None:
            self._outgoing.receiver.response_flush()

    def _handle_events(self) -> None:
        machine, left = self.machine, self._options.turn
        while not (self._paused or self._over):
            if not left:
                self._run_soon()
                return
            left -= 1
            event = machine.next_event()
            kind = event.__class__
            if kind is bytes:
                if self._outgoing is not None:
                    self._outgoing.receiver.response_data(event)  # type: ignore[arg-type]  # it is
            elif kind is Response:
                self._start(event)  # type: ignore[arg-type]  # it is one
            elif kind is End:
                self._end(event)  # type: ignore[arg-type]  # it is one
                return
            elif event is NEED_DATA or event is PAUSED:
                return
            elif event is NOTHING_FOLLOWS:
                self.close()
                return
            else:
                self._take_other(event)  # type: ignore[arg-type]  # it is one of two

    def _start(self, response: Response) -> None:
        kept = response.fields.values.get(b"keep-alive")
        if kept is not None:
            self.keep_alive = _keep_alive(kept[0], self._options.keep_alive)
        if self._outgoing is not None:
            self._outgoing.receiver.response_started(response)

    def _end(self, end: End) -> None:
        outgoing = self._outgoing
        if outgoing is None:
            return
        receiver = outgoing.receiver
        if self.machine.request_state is RAW:
            outgoing.is_answered = True
        else:
            self._outgoing = None
            outgoing.finish()
            if self.machine.has_sent_all:
                self.machine.send_end()  # the upstream was faster than the caller
            if self.machine.is_idle:
                self._upstream.free(self)  # first, as the next request may come of what follows
            elif self.machine.request_state is BODY:
                self.abort()  # nobody will take the rest of the request
            else:
                self.close()
        receiver.response_end(end.trailers)

    def _take_other(self, event: Informational | Violation) -> None:
        outgoing = self._outgoing
        if isinstance(event, Violation):
            self._fail(violation_error(str(self._upstream.origin), event))
        elif outgoing is not None:
            outgoing.receiver.response_informed(event)

    def _run_soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._upstream.pool.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._scheduled = False
        if not (self._running or self._over or self._paused):
            self._run()

    # Its end.

    def close(self) -> None:
        """Close it when all is sent."""
        self._over = True
        self._leave_pool(None)
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def shut_down(self) -> None:
        """The pool is closed: so is this, and its request has failed."""
        outgoing, self._outgoing = self._outgoing, None
        if outgoing is None:
            self.close()
        else:
            self.abort()
            outgoing.fail(PoolClosed("the pool is closed"))

    def abandon(self) -> None:
        """Whoever asked does not want the response any more."""
        self._outgoing = None
        self.abort()

    def abort(self) -> None:
        """End it at once."""
        self._over = True
        self._leave_pool(None)
        self.transport.abortConnection()

    def _fail(self, error: HttpError) -> None:
        outgoing, self._outgoing = self._outgoing, None
        self.abort()
        if outgoing is not None:
            outgoing.detach()
            self._upstream.failed(outgoing, error, again=self._may_go_again(outgoing))

    def _may_go_again(self, outgoing: Outgoing) -> bool:
        """Whether the request may be sent once more (RFC 9110, 9.2.2).

        An upstream may close an idle connection while the next request is in flight. It is unknown
        whether the upstream has seen that request, so only an idempotent one is sent again. A
        request with another method is not sent on a connection that has ended, see `has_ended`.
        """
        return (
            self.requests > 1
            and not self.machine.has_answer_begun
            and outgoing.method in IDEMPOTENT
        )

    def _leave_pool(self, reason: Failure | None) -> None:
        if not self._gone:
            self._gone = True
            self._upstream.gone(self, reason)

    # Time.

    def wait_idle(self) -> None:
        """It is free from now on."""
        self._moved = self._deadlines.now

    def is_overdue(self, now: float) -> bool:
        """Whether the upstream has kept us waiting for too long, or nobody has a use for it."""
        options, outgoing, waited = self._options, self._outgoing, now - self._moved
        if outgoing is None:
            return waited >= self.keep_alive
        if now >= outgoing.total_deadline:
            return True
        if self.is_full:
            return now - self._full_since >= options.idle_timeout
        if self._paused or self.machine.request_state is BODY:
            return False
        state = self.machine.response_state
        if state is HEAD:
            return waited >= options.response_timeout
        return waited >= (options.tunnel_timeout if state is RAW else options.idle_timeout)

    def give_up(self) -> None:
        """It has."""
        outgoing, self._outgoing = self._outgoing, None
        if outgoing is None:
            self.close()
            return
        where = self._upstream.origin
        error: HttpTimedOut
        if outgoing.total_deadline <= self._deadlines.now - self._deadlines.tick:
            error = TotalTimedOut(f"{where}: the exchange took too long")
        else:
            error = ReadTimedOut(f"{where}: no data for too long")
        self.abort()
        outgoing.fail(error)


def _keep_alive(value: bytes, ours: float) -> float:
    """The time of an idle connection: ours, or less where the upstream's is shorter."""
    for option in value.lower().split(b","):
        name, _, seconds = option.strip().partition(b"=")
        if name == b"timeout" and seconds.isdigit() and len(seconds) < 10:
            return min(ours, max(int(seconds) - _MARGIN, 0.0))
    return ours
