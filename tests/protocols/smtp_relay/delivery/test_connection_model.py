"""A connection in random histories: servers of all kinds, bodies that fail, time that runs out."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from netserve.connection import Tracker
from netserve.mail.client.events import ClientSettings
from netserve.mail.client.machine import Client
from netserve.mail.envelope import Reply
from netserve.mail.queued import QueuedMessage, QueuedRecipient
from netserve.outbox import NotTried
from netserve.protocols.smtp_relay.delivery.smtp.connection import ServerConnection
from netserve.protocols.smtp_relay.delivery.smtp.jobs import Job, SessionFailed
from netserve.protocols.smtp_relay.delivery.smtp.options import Timeouts
from netserve.protocols.smtp_relay.delivery.smtp.preparing import CHUNK, Preparer
from netserve.protocols.smtp_relay.delivery.smtp.targets import Target
from netserve.testing.turns import ManualTurns, endless_turn

OFFERS = [b"PIPELINING", b"8BITMIME", b"SMTPUTF8", b"STARTTLS", b"DSN", b"SIZE 90000"]
RUDE = [
    b"421 4.3.2 going\r\n",
    b"250 ok\r\n",
    b"250-first\r\n",
    b"354 go\r\n",
    b"550 5.1.1 no\r\n",
    b"451 4.2.0 later\r\n",
    b"999 what\r\n",
    b"\x16\x03\x01",
    b"25",
    b"220 mx\r\n",
]


class Body(io.BytesIO):
    """A body that is looked after."""

    def __init__(self, world: World, data: bytes, *, breaks: bool) -> None:
        super().__init__(data)
        self.breaks = breaks
        world.bodies.append(self)

    def read(self, size: int | None = -1, /) -> bytes:
        if self.breaks and self.tell() >= CHUNK // 2:
            raise OSError(5, "Input/output error")
        return super().read(size)


class Transport:
    """What a connection does to the network."""

    def __init__(self) -> None:
        self.said = b""
        self.producer: Any = None
        self.ends = False
        self.reading = True

    def getHost(self) -> None:
        """It has no address."""

    def getPeer(self) -> None:
        """Nor has the other end."""

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def write(self, data: bytes) -> None:
        self.said += data

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self.producer is None
        assert not streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def loseConnection(self) -> None:
        self.ends = True

    def abortConnection(self) -> None:
        self.ends = True

    def startTLS(self, tls: Any) -> None:
        """It is there at once."""


class World:
    """One connection, its owner, its server, and what chance does."""

    def __init__(self, seed: int, manual: ManualTurns | None = None) -> None:
        self.manual = manual
        self.random = chance = random.Random(seed)
        self.clock = Clock()
        self.bodies: list[Body] = []
        self.jobs: list[Job] = []
        self.ended: dict[int, Any] = {}
        self.again: list[Job] = []
        self.ready = self.lost = False
        self.closings = 0
        self.manners = chance.choice([1.0, 0.95, 0.8])
        self.offers = [offer for offer in OFFERS if chance.random() < 0.6]
        self.pending = [b"220 mx\r\n"]
        settings = ClientSettings(hostname="me.example", remote="mx", tls="may")
        self.connection = ServerConnection(
            Client(settings),
            self,
            timeouts=Timeouts(),
            idle=300.0,
            tls=None,
            clock=self.clock,
            turns=self.manual.share() if self.manual else endless_turn(),
            tracker=Tracker(),
            preparer=Preparer(None, wall=lambda: 0.0, reactor=self.clock),
            target=Target("mx", 25),
        )
        self.transport = Transport()
        self.opened: Any = None
        self.connection.opened.addBoth(self.is_opened)
        self.connection.makeConnection(self.transport)

    # The owner.

    def is_opened(self, result: Any) -> None:
        self.opened = result
        self.ready = not isinstance(result, Failure)

    def connection_ready(self, connection: ServerConnection) -> None:
        assert not self.ready
        self.ready = True

    def connection_closed(self, connection: ServerConnection) -> None:
        self.closings += 1
        self.ready = False

    def job_again(self, job: Job) -> None:
        assert job.retried
        self.again.append(job)

    # The server.

    def answers(self) -> list[bytes]:
        """To what has been said."""
        said, self.transport.said = self.transport.said, b""
        replies = []
        for line in said.split(b"\r\n"):
            word = line[:4].upper()
            if word == b"EHLO":
                lines = [b"mx", *self.offers]
                replies.append(b"".join(b"250-%s\r\n" % each for each in lines[:-1])
                               + b"250 %s\r\n" % lines[-1])  # fmt: skip
            elif word == b"STAR":
                self.offers = [offer for offer in self.offers if offer != b"STARTTLS"]
                replies.append(b"220 go\r\n")
            elif word in {b"MAIL", b"RCPT", b"RSET", b"QUIT", b"HELO"}:
                fate = self.random.random()
                replies.append(b"250 ok\r\n" if fate < 0.9 else self.random.choice(RUDE[4:6]))
            elif word == b"DATA":
                replies.append(b"354 go\r\n" if self.random.random() < 0.9 else b"451 no\r\n")
            elif line == b".":
                replies.append(b"250 in\r\n" if self.random.random() < 0.8 else b"550 no\r\n")
        return [each if self.random.random() < self.manners else self.random.choice(RUDE)
                for each in replies]  # fmt: skip

    # What chance does.

    def send(self) -> None:
        chance, number = self.random, len(self.jobs)
        size = chance.choice([10, 10, CHUNK - 1, CHUNK + 5, 200_000])
        data = ("ä." if chance.random() < 0.5 else "x.").encode() * size
        data = b"Subject: x\r\n\r\n" + data[:size] + b"\r\n"
        breaks = chance.random() < 0.1
        message = QueuedMessage(
            id=str(number),
            number=number,
            service="mail",
            created=0.0,
            sender="a@example.org",
            body_type="7BIT" if data.isascii() else "8BITMIME",
            smtputf8=chance.random() < 0.2,
            size=len(data),
            tasks=2,
            open_body=lambda: Body(self, data, breaks=breaks),
        )
        to = [QueuedRecipient(at, f"r{at}@example.net") for at in range(chance.randrange(1, 3))]
        job = Job(message, to)
        self.jobs.append(job)
        job.done.addBoth(lambda result: self.ended.setdefault(number, []).append(result))
        self.ready = False
        self.connection.send(job)

    def step(self) -> None:
        deeds = [self.wait] * 2
        if self.transport.producer is not None:
            deeds += [self.transport.producer.resumeProducing] * 10
        if self.ready and self.connection.usable:
            deeds += [self.send] * 10
        if not self.lost:
            deeds += [self.hear] * 10
            deeds += [self.lose] * (10 if self.transport.ends else self.random.randrange(2))
        if self.random.random() < 0.02:
            deeds = [lambda: self.connection.abort(Reply(451, "4.3.2", "enough"))]
        self.random.choice(deeds)()

    def wait(self) -> None:
        self.clock.advance(self.random.choice([0, 0, 1, 10, 1000]))

    def hear(self) -> None:
        """Something of what the server says, in one piece or in two."""
        self.pending += self.answers()
        if not self.pending:
            return
        data = self.pending.pop(0)
        if self.random.random() < 0.3:
            data = b"".join([data, *self.pending])
            self.pending.clear()
        cut = self.random.randrange(len(data) + 1)
        for piece in (data[:cut], data[cut:]):
            if piece and not self.lost:
                self.connection.dataReceived(piece)
                if self.manual and self.random.random() < 0.7:
                    self.manual.turn()

    def lose(self) -> None:
        self.lost = True
        self.transport.producer = None
        self.connection.connectionLost(Failure(ConnectionDone()))


@pytest.mark.parametrize("in_turns", [False, True])
@pytest.mark.parametrize("block", range(8))
def test_every_job_ends_once_and_nothing_is_left(block: int, in_turns: bool) -> None:
    for seed in range(block * 50, block * 50 + 50):
        world = World(seed, ManualTurns() if in_turns else None)
        for _ in range(200):
            world.step()
        if world.manual:
            world.manual.all()
        for _ in range(5):  # whatever the server does, in the end there is no connection
            world.clock.advance(1000)
            if world.transport.ends and not world.lost:
                world.lose()
        assert world.lost, seed
        assert not world.clock.getDelayedCalls(), seed
        assert world.opened is not None
        assert world.closings == (not isinstance(world.opened, Failure)), seed
        if isinstance(world.opened, Failure):
            world.opened.trap(SessionFailed)
        assert all(body.closed for body in world.bodies), seed
        for number, job in enumerate(world.jobs):
            results = world.ended.get(number, [])
            assert len(results) + (job in world.again) == 1, (seed, number)
            if results and isinstance(results[0], Failure):
                results[0].trap(OSError, NotTried)
            elif results:
                assert results[0].keys() == {who.id for who in job.recipients}
