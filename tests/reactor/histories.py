"""Plays histories of one connection on one reactor, and prints what its protocols were told.

Argument: `epoll`, `uvloop` or `asyncio`. Each line of standard input is a history as JSON, each
line of standard output the callbacks of it::

    {"link": "tcp", "half": [true, false], "on": [{...}, {...}], "steps": [[0, ["write 10"]], ...]}

`link` is tcp, unix or tls. Side 0 is the server, side 1 the client; `half` tells which of them know
half-closed connections. A step has one side do something in one turn of the reactor; then the
connection comes to rest. `on` has what a side does when something happens to it for the first time.
"""

from __future__ import annotations

import fcntl
import json
import socket
import sys
import tempfile
import termios
import threading
from pathlib import Path
from typing import Any

from twisted.internet import ssl
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener
from twisted.internet.main import installReactor
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.internet.task import deferLater
from twisted.logger import globalLogBeginner
from zope.interface import implementer

BUFFER = 2**20
"""Bytes of a socket's buffers: what a history writes fits into them, or is far larger."""


@implementer(IHandshakeListener)
class Side(Protocol):
    """One end of the connection, which notes its callbacks. It is its own producer."""

    def __init__(self, on: dict[str, list[str]], tls: bool) -> None:
        self.on = dict(on)
        self.tls = tls
        self.events: list[Any] = []
        self.received = self.sent = 0
        self.chunks: list[int] = []
        self.over = False
        self.made: Deferred[None] = Deferred()
        self.wrong: list[str] = []
        self.paused = self.ended = self.half_closed = self.closing = False
        self.peer: Side

    def note(self, event: str) -> None:
        if self.events[-1:] != ["data"] or event != "data":
            self.events.append(event)
        name = event.split(maxsplit=1)[0]
        if name in self.on:
            self.act(self.on.pop(name))

    def act(self, actions: list[str]) -> None:
        for action in actions:
            verb, *numbers = action.split()
            getattr(self, f"do_{verb}")(*map(int, numbers))
            if verb in {"abort", "raise"}:
                return

    def may_write(self) -> bool:
        """Whether the peer gets it from all reactors.

        If the peer is closing, the kernel decides who is told what; if only its sending side is
        closed, Twisted may drop what netserve sends.
        """
        dropped = self.peer.half_closed and not isinstance(self, HalfCloseable)
        return not (self.peer.closing or self.peer.over or dropped or self.is_closing_tls())

    def is_closing_tls(self) -> bool:
        """Whether TLS is about to end; what Twisted does then with more to send is an error."""
        return self.tls and self.closing

    def connectionMade(self) -> None:
        sock = socket_of(self.transport)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        if sock.family == socket.AF_INET:
            # Without it, Twisted's transports may wait 40 ms for an acknowledgement.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self.note("made")
        self.made.callback(None)

    def dataReceived(self, data: bytes) -> None:
        if self.paused or self.over:
            self.wrong.append("data where none is wanted")
        self.received += len(data)
        self.note("data")

    def handshakeCompleted(self) -> None:
        self.note("handshake")

    def connectionLost(self, reason: Any) -> None:
        if self.over:
            self.wrong.append("lost twice")
        self.over = True
        self.note(f"lost {reason.type.__name__}")

    # As a producer.

    def pauseProducing(self) -> None:
        self.note("pause")

    def resumeProducing(self) -> None:
        self.note("resume")
        if self.chunks:
            size = self.chunks.pop()
            if self.may_write():
                self.sent += size
                self.transport.write(b"p" * size)
            else:
                self.chunks.clear()
            if not self.chunks:
                self.transport.unregisterProducer()

    def stopProducing(self) -> None:
        self.note("stop")

    # What it may do.

    def do_write(self, size: int) -> None:
        if self.may_write():
            self.sent += size
            self.transport.write(b"w" * size)

    def do_sequence(self, size: int) -> None:
        if self.may_write():
            self.sent += 1 + size
            self.transport.writeSequence([b"s", b"q" * size])

    def do_push(self) -> None:
        if self.may_register():
            self.transport.registerProducer(self, True)

    def do_pull(self, count: int, size: int) -> None:
        if self.may_register():
            self.chunks = [size] * count
            self.transport.registerProducer(self, False)

    def is_pulled_by_tls(self) -> bool:
        """Whether TLS has a pull producer: at the end Twisted loses data of it, or has an error."""
        return self.tls and bool(self.chunks)

    def may_register(self) -> bool:
        layer = getattr(self.transport, "_producer", None)
        return not (layer or getattr(self.transport, "producer", None) or self.is_closing_tls())

    def do_unregister(self) -> None:
        self.chunks = []
        self.transport.unregisterProducer()

    def do_pause(self) -> None:
        self.paused = True
        self.transport.pauseProducing()

    def do_resume(self) -> None:
        if not self.ended:  # Twisted would tell of the end once more
            self.paused = False
            self.transport.resumeProducing()

    def do_lose(self) -> None:
        # If not all was received, the kernel resets the connection.
        if self.received == self.peer.sent and not self.is_pulled_by_tls():
            self.closing = True
            self.transport.loseConnection()

    def do_losewrite(self) -> None:
        # Twisted loses the connection the second time. TLS has no half-closed connections.
        if not self.half_closed and not self.tls:
            self.half_closed = True
            self.transport.loseWriteConnection()

    def do_abort(self) -> None:
        if not self.is_closing_tls() and not self.is_pulled_by_tls():
            self.closing = True
            self.transport.abortConnection()

    def do_raise(self) -> None:
        self.closing = True
        raise ZeroDivisionError("as the history has it")


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Side):
    def readConnectionLost(self) -> None:
        self.ended = True
        self.note("readlost")

    def writeConnectionLost(self) -> None:
        self.note("writelost")


def socket_of(transport: Any) -> socket.socket:
    """The socket of a transport, beneath TLS as well."""
    while not hasattr(transport, "socket"):
        transport = transport.transport
    sock: socket.socket = transport.socket
    return sock


def queued(side: Side) -> bool:
    """Whether the kernel still has something for it, or from it."""
    if side.over:
        return False
    sock = socket_of(side.transport)
    counts = (
        fcntl.ioctl(sock.fileno(), request, b"\0\0\0\0")
        for request in (termios.TIOCOUTQ, termios.FIONREAD)
    )
    return any(any(count) for count in counts)


class One(ClientFactory):
    noisy = False

    def __init__(self, protocol: Side) -> None:
        self.given = protocol

    def buildProtocol(self, addr: Any) -> Side:
        return self.given


class Player:
    """Plays histories on a reactor."""

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.folder = tempfile.TemporaryDirectory(prefix="netserve-histories-")
        self.context: Any = None

    async def play(self, history: dict[str, Any]) -> dict[str, Any]:
        sides = [
            (HalfCloseable if half else Side)(on, history["link"] == "tls")
            for half, on in zip(history["half"], history["on"], strict=True)
        ]
        sides[0].peer, sides[1].peer = sides[1], sides[0]
        port, connector = self.connect(history["link"], sides)
        told: list[list[list[str]]] = [[], []]
        for side in sides:
            await side.made
        await self.rest(sides, told)
        for number, actions in history["steps"]:
            side = sides[number]
            if not side.over:
                self.reactor.callLater(0, self.step, side, actions)
            await self.rest(sides, told)
        before = [side.received for side in sides]
        for side in sides:
            if not side.over:
                side.on = {}
                side.transport.abortConnection()
        connector.disconnect()
        await port.stopListening()
        while not all(side.over for side in sides):
            await deferLater(self.reactor, 0.002)
        return {
            "told": told,
            "received": before,
            "wrong": [side.wrong for side in sides],
        }

    def step(self, side: Side, actions: list[str]) -> None:
        if not side.over:
            side.act(actions)

    def connect(self, link: str, sides: list[Side]) -> tuple[Any, Any]:
        server = Factory.forProtocol(lambda: sides[0])
        server.noisy = False
        client = One(sides[1])
        reactor = self.reactor
        if link == "unix":
            path = str(Path(self.folder.name) / "socket")
            return reactor.listenUNIX(path, server), reactor.connectUNIX(path, client)
        if link == "tls":
            context = self.certificate()
            port = reactor.listenSSL(0, server, context, interface="127.0.0.1")
            number = port.getHost().port
            trust = ssl.CertificateOptions()
            return port, reactor.connectSSL("127.0.0.1", number, client, trust)
        port = reactor.listenTCP(0, server, interface="127.0.0.1")
        return port, reactor.connectTCP("127.0.0.1", port.getHost().port, client)

    def certificate(self) -> Any:
        if self.context is None:
            import trustme

            made = trustme.CA().issue_cert("localhost")
            pem = made.private_key_and_cert_chain_pem.bytes()
            self.context = ssl.PrivateCertificate.loadPEM(pem).options()
        return self.context

    async def rest(self, sides: list[Side], told: list[list[list[str]]]) -> None:
        """Until nothing happens any more; then take down what has."""
        quiet = 0
        seen: Any = None
        while quiet < (3 if not any(map(queued, sides)) else 15):
            await deferLater(self.reactor, 0.002)
            now = [(len(side.events), side.received) for side in sides]
            quiet = quiet + 1 if now == seen else 0
            seen = now
        for side, events in zip(sides, told, strict=True):
            events.append(side.events)
            side.events = []


def main() -> None:
    kind = sys.argv[1]
    reactor: Any
    if kind == "epoll":
        from twisted.internet.epollreactor import EPollReactor

        reactor = EPollReactor()
    else:
        import asyncio

        from netserve.reactor import NetserveReactor
        from netserve.reactor import reactor as module

        if kind == "asyncio":
            module.new_loop = asyncio.new_event_loop
        reactor = NetserveReactor()
    installReactor(reactor)
    globalLogBeginner.beginLoggingTo([lambda event: None], redirectStandardIO=False)
    player = Player(reactor)

    ready = threading.Semaphore()

    def read() -> None:
        for line in sys.stdin:
            ready.acquire()
            reactor.callFromThread(begin, json.loads(line))
        ready.acquire()
        reactor.callFromThread(reactor.stop)

    def begin(history: dict[str, Any]) -> None:
        playing = Deferred.fromCoroutine(player.play(history))
        playing.addErrback(lambda failure: {"error": failure.getTraceback()})
        playing.addCallback(lambda told: print(json.dumps(told), flush=True))
        playing.addCallback(lambda _: ready.release())

    reactor.callWhenRunning(threading.Thread(target=read, daemon=True).start)
    reactor.run()


if __name__ == "__main__":
    main()
