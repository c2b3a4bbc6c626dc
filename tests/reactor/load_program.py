"""Connections that do everything that connections do, with every byte accounted for.

Arguments: `uvloop` or `asyncio`, connections, seconds, seed. It prints as JSON what it saw.

Each connection says in its first line what it will send and how it will end, sends it in pieces
with pauses, and checks what comes back: all of it, for one that ends in order or by closing its
half; a beginning of it, for one that is aborted.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.main import installReactor
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from netserve.reactor import NetserveReactor
from netserve.reactor import reactor as module

SEEN = {"connections": 0, "bytes": 0, "aborted": 0, "wrong": 0, "server_lost": 0, "client_lost": 0}


def content(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


@implementer(IHalfCloseableProtocol)
class Mirror(Protocol):
    """Gives back what comes, holding its peer when that does not read."""

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)

    def pauseProducing(self) -> None:
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        pass

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)

    def readConnectionLost(self) -> None:
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Any) -> None:
        SEEN["server_lost"] += 1


@implementer(IHalfCloseableProtocol)
class Talker(Protocol):
    """One connection's life, by its random numbers."""

    def __init__(self, reactor: Any, seed: int) -> None:
        chance = random.Random(seed)
        self.reactor = reactor
        self.chance = chance
        self.sent = content(seed, int(10 ** chance.uniform(0, 5.5)))
        self.end = chance.choice(["half", "full", "abort"])
        self.place = 0
        self.back = bytearray()
        self.done: Deferred[None] = Deferred()
        self.reason: Any = None

    def connectionMade(self) -> None:
        self.more()

    def more(self) -> None:
        if not self.transport.connected:
            return
        size = int(10 ** self.chance.uniform(0, 5))
        self.transport.write(self.sent[self.place : self.place + size])
        self.place += size
        if self.chance.random() < 0.1:
            self.transport.pauseProducing()
            self.reactor.callLater(0.01, self.transport.resumeProducing)
        if self.place < len(self.sent):
            self.reactor.callLater(self.chance.choice([0, 0, 0.001, 0.02]), self.more)
        elif self.end == "half":
            self.transport.loseWriteConnection()
        elif self.end == "abort":
            self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        self.back += data
        if self.end == "full" and len(self.back) == len(self.sent):
            self.transport.loseConnection()

    def readConnectionLost(self) -> None:
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Any) -> None:
        SEEN["client_lost"] += 1
        SEEN["bytes"] += len(self.back)
        right = self.sent.startswith(self.back)
        if self.end == "abort":
            SEEN["aborted"] += 1
        else:
            right = right and len(self.back) == len(self.sent)
            right = right and reason.check(ConnectionDone) is not None
        SEEN["wrong"] += not right
        self.done.callback(None)


async def work(reactor: Any, connections: int, seconds: float, seed: int) -> None:
    from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol

    # A connection that its client has aborted waits to be accepted beside that client's next one,
    # and the kernel drops what does not fit without telling the client.
    port = reactor.listenTCP(0, Factory.forProtocol(Mirror), 4 * connections, "127.0.0.1")
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)

    async def keep_one(number: int, until: float) -> None:
        while reactor.seconds() < until:
            talker = Talker(reactor, seed + number + SEEN["connections"] * 7919)
            SEEN["connections"] += 1
            await connectProtocol(endpoint, talker)
            await talker.done

    async def all_of_them(until: float) -> None:
        await gatherResults(
            [Deferred.fromCoroutine(keep_one(number, until)) for number in range(connections)]
        )

    # What is made once, such as caches, is there after a first round.
    await all_of_them(reactor.seconds() + 0.5)
    await settle(reactor)
    SEEN["descriptors_before"], SEEN["memory_before"] = descriptors(), memory()
    await all_of_them(reactor.seconds() + seconds)
    await settle(reactor)
    SEEN["descriptors"], SEEN["memory"], SEEN["left"] = (
        descriptors(),
        memory(),
        len(reactor.streams),
    )
    await port.stopListening()


async def settle(reactor: Any) -> None:
    """Until the other sides have noticed as well, and the loop has closed what it was done with."""
    end = reactor.seconds() + 10
    seen = -1
    while (reactor.streams or seen != descriptors()) and reactor.seconds() < end:
        seen = descriptors()
        await asyncio_sleep(reactor, 0.05)
    gc.collect()


def asyncio_sleep(reactor: Any, seconds: float) -> Deferred[None]:
    slept: Deferred[None] = Deferred()
    reactor.callLater(seconds, slept.callback, None)
    return slept


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def memory() -> int:
    """Objects, which say more of leaks than the allocator's pages do."""
    return len(gc.get_objects())


def main(loop: str, connections: int, seconds: float, seed: int) -> None:
    if loop == "asyncio":
        module.new_loop = asyncio.new_event_loop
    reactor = NetserveReactor()
    installReactor(reactor)
    running = Deferred.fromCoroutine(work(reactor, connections, seconds, seed))
    running.addErrback(lambda failure: SEEN.update(error=failure.getTraceback()))
    running.addBoth(lambda _: reactor.stop())
    reactor.run()
    print(json.dumps(SEEN))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
