"""Opens connections to an origin: checked addresses only, several in parallel (RFC 8305).

The first address gets a head start. The next one is tried when the previous attempt failed or has
not succeeded within a short delay. The first connection wins and the other attempts are cancelled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.python.failure import Failure

from netserve.http.guard import Address, AddressGuard
from netserve.http.upstream.origin import Origin
from netserve.http.upstream.resolving import Resolver


class Dialer:
    """Connects for one pool.

    Arguments:
        reactor: connects.
        resolver: of the pool.
        guard: of the pool.
        timeout: seconds for one attempt.
        pause: seconds until the next address is tried.
    """

    def __init__(
        self, reactor: Any, resolver: Resolver, guard: AddressGuard, *, timeout: float, pause: float
    ) -> None:
        self._reactor = reactor
        self._resolver = resolver
        self._guard = guard
        self._timeout = timeout
        self._pause = pause

    async def dial(self, origin: Origin, build: Callable[[], Protocol]) -> None:
        """Connect; returns when one connection has been made, and the others are given up.

        Arguments:
            origin: where.
            build: makes the protocol of the connection that wins.

        Raises:
            HttpError: the name is unknown, or its addresses are forbidden.
            ConnectError: no address could be connected to; the error of the last one.
        """
        if origin.path:
            await _Race(self._reactor, build, self._timeout, self._pause).over_unix(origin.path)
        else:
            addresses = await self._resolver.resolve(origin.host, self._guard)
            race = _Race(self._reactor, build, self._timeout, self._pause)
            await race.over_tcp(addresses, origin.port)


class _Race:
    """Attempts to connect to one of several addresses."""

    def __init__(
        self, reactor: Any, build: Callable[[], Protocol], timeout: float, pause: float
    ) -> None:
        self._reactor = reactor
        self._build = build
        self._timeout = timeout
        self._pause = pause
        self._left: list[Address] = []
        self._port = 0
        self._under_way: set[_Attempt] = set()
        self._next: Any = None
        self._over: Deferred[None] = Deferred(lambda _: self._stop())

    def over_unix(self, path: str) -> Deferred[None]:
        """Connect to a UNIX socket."""
        attempt = _Attempt(self)
        self._under_way.add(attempt)
        attempt.connector = self._reactor.connectUNIX(path, attempt, timeout=self._timeout)
        return self._over

    def over_tcp(self, addresses: list[Address], port: int) -> Deferred[None]:
        """Connect to the first of these addresses that answers."""
        self._left, self._port = addresses[::-1], port
        self._try_next()
        return self._over

    def _try_next(self) -> None:
        self._stop_waiting()
        address = str(self._left.pop())
        attempt = _Attempt(self)
        self._under_way.add(attempt)
        if self._left:
            self._next = self._reactor.callLater(self._pause, self._try_next)
        attempt.connector = self._reactor.connectTCP(
            address, self._port, attempt, timeout=self._timeout
        )

    def won(self, attempt: _Attempt) -> Protocol:
        """An attempt has succeeded; gives the protocol for its connection."""
        self._under_way.discard(attempt)
        self._stop()
        self._over.callback(None)
        return self._build()

    def lost(self, attempt: _Attempt, reason: Failure) -> None:
        """An attempt has failed."""
        self._under_way.discard(attempt)
        if self._left:
            self._try_next()
        elif not self._under_way and not self._over.called:
            self._over.errback(reason)

    def _stop(self) -> None:
        self._stop_waiting()
        self._left.clear()
        under_way, self._under_way = self._under_way, set()
        for attempt in under_way:
            attempt.give_up()

    def _stop_waiting(self) -> None:
        waiting, self._next = self._next, None
        if waiting is not None and waiting.active():
            waiting.cancel()


class _Attempt(ClientFactory):
    """One attempt of a race."""

    noisy = False
    connector: Any = None

    def __init__(self, race: _Race) -> None:
        self._race: _Race | None = race

    def buildProtocol(self, addr: Any) -> Protocol | None:
        race, self._race = self._race, None
        return None if race is None else race.won(self)

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        race, self._race = self._race, None
        if race is not None:
            race.lost(self, reason)

    def give_up(self) -> None:
        """Another one was faster, or nobody wants it any more."""
        self._race = None
        if self.connector is not None:
            self.connector.disconnect()
