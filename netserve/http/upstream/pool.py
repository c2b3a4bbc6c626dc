"""Connections to upstreams, kept and shared; requests that wait for one.

`Pool` enforces the limits of all origins together, `Upstream` those of one origin. A request uses
the connection that became idle last, so that the others can expire. Without an idle one, a new
connection is opened if the limits allow it; otherwise the request waits in a bounded queue, first
in, first out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from netserve.connection import Tracker
from netserve.http.deadlines import Deadlines
from netserve.http.errors import ConnectTimedOut, HttpError
from netserve.http.h1 import Field
from netserve.http.upstream.connection import ClientConnection
from netserve.http.upstream.dialing import Dialer
from netserve.http.upstream.errors import PoolBusy, PoolClosed, connect_error
from netserve.http.upstream.options import PoolOptions
from netserve.http.upstream.origin import Origin
from netserve.http.upstream.outgoing import IDEMPOTENT, Outgoing, ResponseReceiver
from netserve.http.upstream.resolving import Lookup, Resolver


class Pool:
    """The connections of one service to its upstreams.

    Arguments:
        reactor: connects, resolves, and is the clock.
        log: gets our own bugs.
        options: time, connections, bytes, addresses.
        lookup: resolves names in place of the reactor; tests give one.
        tracker: records each connection that is opened.
    """

    def __init__(
        self,
        *,
        reactor: Any,
        log: Logger,
        options: PoolOptions | None = None,
        lookup: Lookup | None = None,
        tracker: Tracker | None = None,
    ) -> None:
        self.reactor = reactor
        self.log = log
        self.tracker = tracker or Tracker()
        self.options = options = options or PoolOptions()
        self.is_closed = False
        self.connections = 0
        "Connections that are open or being made."
        times = [
            options.response_timeout,
            options.idle_timeout,
            options.keep_alive,
            options.wait_timeout,
            options.total_timeout or options.idle_timeout,
        ]
        self.deadlines = Deadlines(reactor, times)
        resolver = Resolver(reactor, kept=options.names_kept, lookup=lookup)
        self.dialer = Dialer(
            reactor,
            resolver,
            options.guard,
            timeout=options.connect_timeout,
            pause=options.next_address,
        )
        loop = getattr(reactor, "loop", None)
        self.call_soon: Callable[[Callable[[], None]], Any] = (
            loop.call_soon if loop is not None else lambda call: reactor.callLater(0, call)
        )
        self._upstreams: dict[Origin, Upstream] = {}

    def upstream(self, origin: Origin) -> Upstream:
        """The share of one origin; a caller with one upstream keeps it."""
        upstream = self._upstreams.get(origin)
        return Upstream(self, origin) if upstream is None else upstream

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection."""
        return sum(len(upstream.waiting) for upstream in self._upstreams.values())

    @property
    def idle(self) -> int:
        """Connections that are free."""
        return sum(len(upstream.idle) for upstream in self._upstreams.values())

    def close(self) -> None:
        """Close all connections; requests under way fail."""
        self.is_closed = True
        for upstream in list(self._upstreams.values()):
            upstream.close()

    # What the shares call.

    def known(self, upstream: Upstream) -> Upstream:
        """The one that counts for its origin: another one, where that has something under way."""
        return self._upstreams.get(upstream.origin, upstream)

    def know(self, upstream: Upstream) -> None:
        """It has something under way."""
        self._upstreams[upstream.origin] = upstream

    def forget(self, upstream: Upstream) -> None:
        """It has neither a connection nor a request."""
        if self._upstreams.get(upstream.origin) is upstream:
            del self._upstreams[upstream.origin]

    def make_room(self, upstream: Upstream) -> bool:
        """Whether one more connection may be made; a free one to another origin makes way."""
        if self.connections < self.options.connections:
            return True
        for other in self._upstreams.values():
            if other is not upstream and other.idle and not other.waiting:
                other.idle[0].close()  # whoever waits for a place may take this one at once
                break
        return self.connections < self.options.connections

    def has_room(self) -> None:
        """A connection is gone: others may have waited for its place."""
        for upstream in list(self._upstreams.values()):
            if upstream.waiting and self.connections < self.options.connections:
                upstream.connect()


class Upstream:
    """The connections to one origin, and the requests that wait for one.

    Arguments:
        pool: whose share it is.
        origin: where it goes.
    """

    def __init__(self, pool: Pool, origin: Origin) -> None:
        self.pool = pool
        self.origin = origin
        self.idle: list[ClientConnection] = []
        self.waiting: deque[Outgoing] = deque()
        self._connections: set[ClientConnection] = set()
        self._dialing: set[_Dial] = set()

    # What callers call.

    def send(
        self,
        method: bytes,
        target: bytes,
        fields: Sequence[Field],
        receiver: ResponseReceiver,
        *,
        body: bytes | None = None,
    ) -> Outgoing:
        """Begin a request.

        Arguments:
            method: a token.
            target: as it is to stand in the request line.
            fields: with one Host; they say how long the body is, see `ClientMachine`.
            receiver: gets the response, or `request_failed`, also before this returns.
            body: all of it; None: it is written to what is returned, flushed and ended there.
        """
        pool = self.pool
        if not self.idle and (known := pool.known(self)) is not self:
            return known.send(method, target, fields, receiver, body=body)
        outgoing = Outgoing(self, method, target, fields, receiver)
        if pool.options.total_timeout is not None:
            outgoing.total_deadline = pool.deadlines.now + pool.options.total_timeout
        if body is not None:
            if body:
                outgoing.hold(body)
            outgoing.is_complete = True
        if pool.is_closed:
            outgoing.fail(PoolClosed("the pool is closed"))
            return outgoing
        idle = self.idle
        while idle:
            connection = idle.pop()
            if connection.is_usable and (method in IDEMPOTENT or not connection.has_ended()):
                connection.begin(outgoing)
                return outgoing
            connection.close()
        self._enqueue(outgoing)
        return outgoing

    # What requests call.

    def withdraw(self, outgoing: Outgoing) -> None:
        """It does not wait any more."""
        self.pool.deadlines.forget(outgoing)
        if outgoing in self.waiting:
            self.waiting.remove(outgoing)

    def waited_too_long(self, outgoing: Outgoing) -> None:
        """Its time of waiting is over."""
        self.withdraw(outgoing)
        outgoing.fail(PoolBusy(f"{self.origin}: no connection was free in time"))

    def _enqueue(self, outgoing: Outgoing, *, first: bool = False) -> None:
        pool = self.pool
        pool.know(self)
        if len(self.waiting) >= pool.options.waiting:
            outgoing.fail(PoolBusy(f"{self.origin}: too many requests wait for a connection"))
            return
        if first:
            self.waiting.appendleft(outgoing)
        else:
            self.waiting.append(outgoing)
        outgoing.deadline = min(
            pool.deadlines.now + pool.options.wait_timeout + pool.options.connect_timeout,
            outgoing.total_deadline,
        )
        pool.deadlines.watch(outgoing)
        if len(self._dialing) < len(self.waiting):
            self.connect()

    def failed(self, outgoing: Outgoing, error: HttpError, *, again: bool) -> None:
        """A request has broken with its connection: it is sent once more, or has failed."""
        left = self.pool.options.tries - outgoing.tries
        if again and left > 0 and outgoing.is_replayable and not self.pool.is_closed:
            self._enqueue(outgoing, first=True)
        else:
            outgoing.fail(error)

    # Connections.

    def connect(self) -> None:
        """Make a connection, if the limits allow it."""
        pool = self.pool
        share = len(self._connections) + len(self._dialing)
        if share >= pool.options.connections_per_origin or not pool.make_room(self):
            return
        pool.connections += 1
        dial = _Dial(self)
        self._dialing.add(dial)
        dial.start()

    def ready(self, connection: ClientConnection) -> None:
        """A connection may be used for the first time."""
        for dial in list(self._dialing):
            if dial.connection is connection:
                dial.end()
                self._dialing.discard(dial)
        self._connections.add(connection)
        self.pool.deadlines.watch(connection)
        self.free(connection)

    def free(self, connection: ClientConnection) -> None:
        """A connection has no request: the next one that waits gets it."""
        while self.waiting:
            outgoing = self.waiting.popleft()
            self.pool.deadlines.forget(outgoing)
            if not outgoing.is_over:
                connection.begin(outgoing)
                connection.flush()
                return
        connection.wait_idle()
        self.idle.append(connection)

    def gone(self, connection: ClientConnection, reason: Failure | None) -> None:
        """A connection is no more, or will not be used any more."""
        for dial in self._dialing:
            if dial.connection is connection:
                dial.lost(reason)
                return
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self.pool.deadlines.forget(connection)
        if connection in self.idle:
            self.idle.remove(connection)
        self._one_less()

    def dialed_in_vain(self, dial: _Dial, error: HttpError) -> None:
        """No connection came about: the request that has waited longest has failed."""
        self._dialing.discard(dial)
        if self.waiting:
            outgoing = self.waiting.popleft()
            self.pool.deadlines.forget(outgoing)
            outgoing.fail(error)
        self._one_less()

    def _one_less(self) -> None:
        self.pool.connections -= 1
        if self.waiting and len(self._dialing) < len(self.waiting):
            self.connect()
        self.pool.has_room()
        if not (self._connections or self._dialing or self.waiting):
            self.pool.forget(self)

    def close(self) -> None:
        """Close everything."""
        while self.waiting:
            outgoing = self.waiting.popleft()
            self.pool.deadlines.forget(outgoing)
            outgoing.fail(PoolClosed("the pool is closed"))
        for dial in list(self._dialing):
            dial.cancel()
        for connection in list(self._connections):
            connection.shut_down()


class _Dial:
    """A connection that is being made, within its time."""

    def __init__(self, upstream: Upstream) -> None:
        self.connection: ClientConnection | None = None
        self._upstream = upstream
        self._dialing: Deferred[None] | None = None
        self._timeout: Any = None
        self._over = False

    def start(self) -> None:
        pool = self._upstream.pool
        self._timeout = pool.reactor.callLater(pool.options.connect_timeout, self._too_long)
        work = pool.dialer.dial(self._upstream.origin, self._build)
        self._dialing = Deferred.fromCoroutine(work)
        self._dialing.addErrback(self._failed)

    def _build(self) -> ClientConnection:
        self.connection = ClientConnection(self._upstream)
        return self.connection

    def end(self) -> None:
        """It has a connection that is ready."""
        self._over = True
        if self._timeout is not None and self._timeout.active():
            self._timeout.cancel()

    def lost(self, reason: Failure | None) -> None:
        """The connection went before it was ready."""
        where = str(self._upstream.origin)
        if reason is None:
            self._end_with(PoolClosed("the pool is closed"))
        else:
            self._end_with(connect_error(where, reason))

    def cancel(self) -> None:
        """Nobody wants it any more."""
        self._end_with(PoolClosed("the pool is closed"))

    def _too_long(self) -> None:
        self._end_with(ConnectTimedOut(f"{self._upstream.origin}: connecting took too long"))

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._end_with(connect_error(str(self._upstream.origin), failure))

    def _end_with(self, error: HttpError) -> None:
        if self._over:
            return
        self.end()
        if self._dialing is not None and not self._dialing.called:
            self._dialing.cancel()
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abort()
        self._upstream.dialed_in_vain(self, error)
