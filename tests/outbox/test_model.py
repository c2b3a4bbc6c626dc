"""Random histories of the queue beside a model of it: nothing is lost, done twice, or left."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from netserve.mail.envelope import Outcome
from netserve.outbox import Filter, QueuedMessage, QueuedRecipient, Schedule
from netserve.testing.queue import (
    DEFERRED,
    DELIVERED,
    FAILED,
    UNREACHED,
    WALL,
    Courier,
    SteeredReactor,
    opened_queue,
    put,
    until,
)

DAY = 86400.0
SENDER = "sender@example.org"


class History:
    """Puts messages in, moves the clock, uses the verbs and restarts, as chance has it.

    The model: each recipient of each message ends once (delivered or failed), unless it is
    dropped; a failed one is told of once, unless the sender is null.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.courier = Courier(self.answer)
        self.now = WALL
        self.expected: dict[tuple[str, str], str] = {}
        self.senders: dict[str, str] = {}
        self.dropped: set[str] = set()
        self.ended: Counter[tuple[str, str]] = Counter()
        self.told = 0
        self.calm = False

    def answer(self, message: QueuedMessage, recipient: QueuedRecipient) -> Outcome:
        outcomes = [DELIVERED, FAILED, DEFERRED, UNREACHED]
        outcome = self.random.choice(outcomes[:2] if self.calm else outcomes)
        if recipient.address == SENDER:
            self.told += 1
            return DELIVERED
        if outcome.kind != "deferred":
            self.ended[message.id, recipient.address] += 1
            self.expected[message.id, recipient.address] = outcome.kind
        return outcome

    async def live(self, steps: int) -> None:
        """One life of the process."""
        clock = SteeredReactor(reactor)
        schedule = Schedule(life=1000 * DAY, delay_notice=0)
        async with opened_queue(
            self.folder, self.courier, reactor=clock, schedule=schedule, wall=self.now
        ) as outbox:
            for _ in range(steps):
                await self.step(outbox, clock)
        self.now += clock.seconds() + 1

    async def step(self, outbox: Any, clock: SteeredReactor) -> None:
        chance = self.random.random()
        some = Filter(domain=f"d{self.random.randrange(4)}.org")
        if chance < 0.5:
            await self.put(outbox)
        elif chance < 0.7:
            clock.advance(self.random.choice([1, 300, 4000, 20_000]))
        elif chance < 0.78:
            await outbox.verbs.hold(some)
        elif chance < 0.86:
            await outbox.verbs.release(some)
        elif chance < 0.95:
            await outbox.verbs.retry(some)
        else:
            chosen = [one["id"] for one in (await outbox.verbs.list(some, limit=2)).messages]
            self.dropped.update(chosen)
            await outbox.verbs.drop(Filter(ids=tuple(chosen) or ("0" * 11,)))

    async def put(self, outbox: Any) -> None:
        addresses = {
            f"{self.random.randrange(9)}@d{self.random.randrange(4)}.org"
            for _ in range(self.random.randrange(1, 6))
        }
        sender = self.random.choice(["", SENDER])
        body = bytes(self.random.choice([10, 100_000]))
        message = await put(outbox, *sorted(addresses), sender=sender, body=body)
        self.senders[message] = sender
        for address in addresses:
            self.expected.setdefault((message, address), "open")

    async def end(self) -> None:
        """Let everything end, and compare."""
        self.calm = True
        clock = SteeredReactor(reactor)
        async with opened_queue(
            self.folder, self.courier, reactor=clock, wall=self.now + DAY
        ) as outbox:

            async def empty() -> bool:
                await outbox.verbs.release(Filter())
                await outbox.verbs.flush()
                return not (await outbox.verbs.list()).messages

            await until(empty, reactor=reactor)
            await until(lambda: not list((self.folder / "bodies").iterdir()), reactor=reactor)
        for key, state in self.expected.items():
            if key[0] not in self.dropped:
                assert state != "open", key
                assert self.ended[key] == 1, key


@pytest.mark.parametrize("seed", range(8))
@ensureDeferred
async def test_every_recipient_ends_once(tmp_path: Path, seed: int) -> None:
    history = History(tmp_path, seed)
    for _ in range(3):
        await history.live(40)
    await history.end()
    failed = {
        message
        for (message, _), state in history.expected.items()
        if state == "failed" and history.senders[message] and message not in history.dropped
    }
    assert history.told >= len(failed), "each sender of a failed message is told"
