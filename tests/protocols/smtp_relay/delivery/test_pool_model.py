"""Pools in random histories, with connections that do what chance says: nobody waits for ever."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.python.failure import Failure

from netserve.mail.envelope import Outcome, Reply
from netserve.mail.mx import Undeliverable
from netserve.mail.queued import QueuedRecipient
from netserve.outbox import NotTried
from netserve.protocols.smtp_relay.delivery.deliver import Deliver
from netserve.protocols.smtp_relay.delivery.slots import Slots
from netserve.protocols.smtp_relay.delivery.smtp.jobs import Job, SessionFailed
from netserve.protocols.smtp_relay.delivery.smtp.pool import ServerPool
from netserve.protocols.smtp_relay.delivery.smtp.targets import Avoided, Target
from netserve.testing.next_hop import queued

OK = Reply(250, "2.0.0", "ok")
LATER = Reply(450, "4.2.0", "later")
GONE = Reply(451, "4.4.2", "gone")


class Connection:
    """What a pool sees of a connection."""

    def __init__(self, world: World, pool: ServerPool, target: Target) -> None:
        self.world, self.pool, self.target = world, pool, target
        self.uses, self.cost = 0, 1
        self.job: Job | None = None
        self.state = "ready"

    @property
    def usable(self) -> bool:
        return self.state == "ready" and self.job is None

    def send(self, job: Job) -> None:
        assert self.usable
        assert self.target.host not in job.tried, "a server gets no message twice in an attempt"
        self.uses += 1
        self.job = job

    def quit(self) -> None:
        if self.state == "ready":
            self.state = "quitting"

    def abort(self, reply: Reply) -> None:
        self.close(reply)

    # What chance does.

    def answer(self, kind: Any, reply: Reply) -> None:
        """The server's word about the message; first the next one may be sent."""
        job, self.job = self.job, None
        assert job is not None
        self.pool.connection_ready(self)  # type: ignore[arg-type]
        job.settle([Outcome(kind, reply, self.target.host)])

    def close(self, reply: Reply) -> None:
        """It is gone, with or without a message."""
        if self.state == "closed":
            return
        self.state = "closed"
        self.world.open.remove(self)
        job, self.job = self.job, None
        self.pool.connection_closed(self)  # type: ignore[arg-type]
        if job is None:
            return
        if self.uses > 1 and not job.retried:
            job.retried = True
            self.pool.job_again(job)
        else:
            job.settle([Outcome("deferred", reply)])


class World:
    """Pools that share slots, and all that is under way."""

    def __init__(self, seed: int, *, shared: bool) -> None:
        self.random = random.Random(seed)
        self.open: list[Connection] = []
        self.beginning: list[tuple[Deferred[Any], ServerPool, Target]] = []
        self.limit = self.random.randrange(1, 4)
        self.total = self.random.randrange(1, 5)
        self.settled: Counter[int] = Counter()
        self.sent = 0
        self.emptied: Counter[ServerPool] = Counter()
        deliver = Deliver.model_validate({"mx": True, "connections": self.limit, "uses": 3})
        avoided, slots = Avoided(Clock()), Slots(self.total) if shared else None
        self.slots = slots
        self.pools = []
        for at in range(3 if shared else 1):
            servers, dialer = Servers(self, at, shared=shared), Dialer(self)
            pool = ServerPool(
                deliver,
                servers,
                dialer,  # type: ignore[arg-type]
                avoided,
                log=Logger(observer=lambda _: None),
                slots=slots,
                emptied=lambda pool: self.emptied.update([pool]),
            )
            self.pools.append(pool)

    def deliver(self) -> None:
        pool = self.random.choice(self.pools)
        number, self.sent = self.sent, self.sent + 1
        done = pool.deliver(queued(number=number), [QueuedRecipient(0, "r@example.org")])
        done.addBoth(self.through, number)

    def through(self, result: Any, number: int) -> None:
        self.settled[number] += 1
        if isinstance(result, Failure):
            result.trap(NotTried)

    def step(self, *, calm: bool = False) -> bool:
        """Something happens; whether anything could."""
        deeds = [*(self.begun(each, calm=calm) for each in self.beginning)]
        for one in self.open:
            if one.state == "quitting":
                deeds.append(lambda one=one: one.close(GONE))  # type: ignore[misc]
            elif one.job is not None:
                kind, reply = self.random.choice([("delivered", OK), ("deferred", LATER)])
                if calm:
                    kind, reply = "delivered", OK
                deeds.append(lambda one=one, k=kind, r=reply: one.answer(k, r))  # type: ignore[misc]
            if not calm and self.random.random() < 0.1:
                deeds.append(lambda one=one: one.close(GONE))  # type: ignore[misc]
        if deeds:
            self.random.choice(deeds)()
        self.check()
        return bool(deeds)

    def begun(self, each: Any, *, calm: bool) -> Any:
        waiting, pool, target = each
        chance = 0 if calm else self.random.random()

        def happen() -> None:
            self.beginning.remove(each)
            if chance < 0.7:
                connection = Connection(self, pool, target)
                self.open.append(connection)
                waiting.callback(connection)
            elif chance < 0.9:
                waiting.errback(SessionFailed(GONE, target.host, begun=chance < 0.8))
            else:
                waiting.errback(Undeliverable(Reply(550, "5.1.2", "no such domain")))

        return happen

    def check(self) -> None:
        assert all(count == 1 for count in self.settled.values())
        for pool in self.pools:
            assert pool.connections <= self.limit
        if self.slots is not None:
            assert self.slots.used == sum(pool.connections for pool in self.pools) <= self.total


class Servers:
    """Three servers, two sessions in an attempt where slots are shared."""

    def __init__(self, world: World, at: int, *, shared: bool) -> None:
        self.sessions = 2 if shared else None
        self.hosts = [Target(f"{name}{at}", 25, rank=rank) for rank, name in enumerate("abc")]

    async def targets(self) -> list[Target]:
        return self.hosts

    async def security(self, target: Target) -> Any:
        return None


class Dialer:
    """Sessions begin when the world says so."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def find_login(self) -> None:
        """There is none."""

    async def begin(self, target: Target, security: Any, owner: ServerPool) -> Any:
        waiting: Deferred[Any] = Deferred(lambda _: self.world.beginning.remove(entry))
        entry = (waiting, owner, target)
        self.world.beginning.append(entry)
        return await waiting


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_every_message_comes_to_an_end_and_limits_hold(seed: int, shared: bool) -> None:
    world = World(seed, shared=shared)
    for _ in range(150):
        if world.random.random() < 0.4:
            world.deliver()
        else:
            world.step()
    for _ in range(2000):
        if not world.step(calm=True):
            break
    assert len(world.settled) == world.sent, "nobody waits any more"
    ended = [pool.close(cut=world.random.random() < 0.5) for pool in world.pools]
    while world.step(calm=True):
        pass
    assert all(each.called for each in ended)
    assert not any(pool.connections for pool in world.pools)
    assert all(world.emptied[pool] for pool in world.pools)
    assert world.slots is None or world.slots.used == 0


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_closing_at_any_time_ends_everything(seed: int, shared: bool) -> None:
    world = World(seed, shared=shared)
    for _ in range(world.random.randrange(60)):
        if world.random.random() < 0.5:
            world.deliver()
        else:
            world.step()
    ended = [pool.close(cut=True) for pool in world.pools]
    world.deliver()
    while world.step(calm=True):
        pass
    assert all(each.called for each in ended)
    assert len(world.settled) == world.sent
    assert world.slots is None or world.slots.used == 0
