"""Upstreams and receivers for the tests of the pool."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger

from netserve.http import AddressGuard, HttpError
from netserve.http.h1 import Field, Informational, Response, make_field
from netserve.http.upstream import Origin, Outgoing, Pool, PoolOptions, Upstream
from netserve.testing.queue import until as until_on

reactor: Any = _reactor
LOOPBACK = AddressGuard.parse(["127.0.0.0/8", "::1"])
HOST = (make_field(b"Host", b"a"),)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def until(condition: Callable[[], Any]) -> None:
    """Wait for it."""
    await until_on(condition, reactor=reactor)


class Talk(Protocol):
    """One connection of an upstream: `heads` counts the requests, `said` is all that came."""

    transport: Any

    def __init__(self, upstream: ScriptedUpstream) -> None:
        self.upstream = upstream
        self.said = b""
        self.heads = 0
        self.lost: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.upstream.talks.append(self)

    def dataReceived(self, data: bytes) -> None:
        self.said += data
        heads = self.said.count(b"\r\n\r\n")
        while self.heads < heads:
            self.heads += 1
            self.upstream.requests += 1
            self.upstream.answer(self)

    def connectionLost(self, reason: Any) -> None:  # type: ignore[override]
        self.lost.callback(None)


class ScriptedUpstream(Factory):
    """An upstream on a free port: `answer` is called at the end of each head.

    Arguments:
        answer: says something; by default `OK`.
        interface: an address of this machine.
        path: of a UNIX socket, in place of it.
        tls: a context factory.
    """

    noisy = False

    def __init__(
        self,
        answer: Callable[[Talk], Any] | bytes = OK,
        *,
        interface: str = "127.0.0.1",
        port: int = 0,
        path: str = "",
        tls: Any = None,
    ) -> None:
        said = answer
        if isinstance(said, bytes):
            self.answer: Callable[[Talk], Any] = lambda talk: talk.transport.write(said)
        else:
            self.answer = said
        self.talks: list[Talk] = []
        self.requests = 0
        if path:
            self._port = reactor.listenUNIX(path, self)
            self.port = 0
        elif tls is not None:
            self._port = reactor.listenSSL(port, self, tls, interface=interface)
            self.port = self._port.getHost().port
        else:
            self._port = reactor.listenTCP(port, self, interface=interface)
            self.port = self._port.getHost().port

    def buildProtocol(self, addr: Any) -> Talk:
        return Talk(self)

    @property
    def open(self) -> int:
        """Connections that are open."""
        return sum(not talk.lost.called for talk in self.talks)

    async def stop(self) -> None:
        """Close all."""
        await self._port.stopListening()
        for talk in self.talks:
            if not talk.lost.called:
                talk.transport.abortConnection()
        await until(lambda: not self.open)


class Receiver:
    """Receives one response; `done` fires with it, or fails."""

    def __init__(self, *, pauses: bool = False) -> None:
        self.done: Deferred[Receiver] = Deferred()
        self.head: Response | None = None
        self.body = b""
        self.informed: list[int] = []
        self.trailers: Sequence[Field] = ()
        self.flushes = self.pauses = self.resumes = 0
        self.outgoing: Outgoing | None = None

    def response_informed(self, response: Informational) -> None:
        self.informed.append(response.status)

    def response_started(self, response: Response) -> None:
        self.head = response

    def response_data(self, data: bytes) -> None:
        self.body += data

    def response_end(self, trailers: Sequence[Field]) -> None:
        self.trailers = trailers
        self.done.callback(self)

    def response_flush(self) -> None:
        self.flushes += 1

    def request_failed(self, error: HttpError) -> None:
        self.done.errback(error)

    def pause_request(self) -> None:
        self.pauses += 1

    def resume_request(self) -> None:
        self.resumes += 1


class PoolOfTest:
    """A pool, and what it logged."""

    def __init__(self, *, lookup: Any = None, **options: Any) -> None:
        self.events: list[dict[str, Any]] = []
        self.pool = Pool(
            reactor=reactor,
            log=Logger(observer=self.events.append),
            options=PoolOptions(**{"guard": LOOPBACK, **options}),
            lookup=lookup,
        )

    def to(self, port: int, **origin: Any) -> Upstream:
        """The share of an origin on loopback."""
        return self.pool.upstream(Origin(**{"host": "127.0.0.1", "port": port, **origin}))

    def ask(
        self,
        upstream: Upstream,
        *,
        method: bytes = b"GET",
        target: bytes = b"/",
        more: Sequence[Field] = (),
        body: bytes | None = b"",
    ) -> Receiver:
        """Send a request."""
        receiver = Receiver()
        receiver.outgoing = upstream.send(method, target, [*HOST, *more], receiver, body=body)
        return receiver

    async def stop(self) -> None:
        """Close, and see that nothing is left."""
        self.pool.close()
        await until(lambda: self.pool.connections == 0)
        assert not self.pool._upstreams
        assert not self.events, self.events


def deaf_port(family: socket.AddressFamily = socket.AF_INET) -> tuple[list[socket.socket], int]:
    """A port that takes no connection and refuses none, and the sockets that make it so."""
    listening = socket.socket(family)
    listening.bind(("::1" if family is socket.AF_INET6 else "127.0.0.1", 0))
    listening.listen(0)
    held = [listening]
    for _ in range(3):
        one = socket.socket(family)
        one.setblocking(False)
        one.connect_ex(listening.getsockname())
        held.append(one)
    return held, listening.getsockname()[1]
