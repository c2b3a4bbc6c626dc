"""Random histories of the queue beside a model of it: nothing is lost, done twice, or left."""

import contextlib
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from netserve.mail.envelope import Outcome
from netserve.mail.kind import MailKind
from netserve.mail.queued import QueuedMessage, QueuedRecipient
from netserve.outbox import (
    BodyMissing,
    Destination,
    Filter,
    OutOfSpace,
    Schedule,
    State,
    agent,
    lanes,
)
from netserve.outbox.sqlite import due
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
        if outcome.verdict != "deferred":
            self.ended[message.id, recipient.address] += 1
            self.expected[message.id, recipient.address] = outcome.verdict
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


class Sight:
    """Histories in which nearly nothing is in memory, routes change and the disk is full at times.

    The model: what is queued is tried again as time goes on, though nobody asks for it; no
    recipient is under way twice at one time, or again once it has ended.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.lanes: dict[str, int] = {}
        self.under_way: dict[tuple[str, int], Any] = {}
        self.ended: set[tuple[str, int]] = set()
        self.dropped: set[str] = set()
        self.without_body: set[str] = set()
        self.wrong: list[str] = []
        self.calm = False

    kind = MailKind("relay.example.org")

    def destination(self, message: QueuedMessage, recipient: QueuedRecipient) -> Destination:
        lane = self.lanes.setdefault(recipient.address, self.random.randrange(3))
        return Destination(f"lane{lane}", concurrency=1 + lane, batch=2)

    def deliver(
        self,
        message: QueuedMessage,
        recipients: Sequence[QueuedRecipient],
        destination: Destination,
    ) -> Deferred[Any]:
        if message.id in self.without_body and not self.calm:
            return fail(BodyMissing(message.id))
        done: Deferred[Any] = Deferred()
        for one in recipients:
            key = message.id, one.id
            if key in self.under_way:
                self.wrong.append(f"{key} is under way twice")
            if key in self.ended and message.id not in self.dropped:
                self.wrong.append(f"{key} again, after its end")
            self.under_way[key] = done
        done.addBoth(self.through, message, recipients)
        return done

    def through(self, result: Any, message: QueuedMessage, recipients: Any) -> Any:
        for one in recipients:
            del self.under_way[message.id, one.id]
        if isinstance(result, Failure):
            return result
        outcomes = {}
        kinds = [DELIVERED] if self.calm else [DELIVERED, DEFERRED, DEFERRED, UNREACHED]
        for one in recipients:
            outcomes[one.id] = outcome = self.random.choice(kinds)
            if outcome is DELIVERED:
                self.ended.add((message.id, one.id))
        return outcomes

    def answer(self) -> None:
        """One delivery ends, or fails by a bug."""
        if self.under_way:
            done = self.random.choice(list(self.under_way.values()))
            if self.random.random() < 0.1 and not self.calm:
                done.errback(ZeroDivisionError())
            else:
                done.callback(None)

    def fill_disk_at_times(self, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        submit = store._commit.submit

        def sometimes(job: Any) -> None:
            if self.calm or job.is_new_mail or self.random.random() < 0.9:
                submit(job)
            else:
                reactor.callLater(0, job.settle, OutOfSpace("no space"))  # type: ignore[attr-defined]

        monkeypatch.setattr(store._commit, "submit", sometimes)

    async def step(self, outbox: Any, clock: SteeredReactor) -> None:
        chance = self.random.random()
        some = Filter(domain=f"d{self.random.randrange(4)}.org")
        if chance < 0.35:
            to = {f"{self.random.randrange(9)}@d{self.random.randrange(4)}.org" for _ in "1234"}
            body = bytes(self.random.choice([10, 4000]))
            message = await put(outbox, *sorted(to), sender="", body=body)
            if self.random.random() < 0.1:
                self.without_body.add(message)
        elif chance < 0.65:
            self.answer()
        elif chance < 0.75:
            clock.advance(self.random.choice([0.5, 1, 40, 300, 4000]))
        elif chance < 0.83:
            self.lanes.clear()
        else:
            verbs = outbox.verbs
            found = (await verbs.list(some)).messages
            verb = self.random.choice([verbs.hold, verbs.release, verbs.release, verbs.retry])
            if found and self.random.random() < 0.1:
                verb, some = verbs.drop, Filter(ids=(self.random.choice(found)["id"],))
                self.dropped.add(some.ids[0])
            with contextlib.suppress(OutOfSpace):
                await verb(some)

    async def written(self, outbox: Any) -> None:
        """Wait until the store has done what it was asked for."""
        await outbox._parts.storage._write(lambda *_: None)

    async def end(self, outbox: Any, clock: SteeredReactor) -> None:
        """Whatever is queued ends as time goes on."""
        self.calm = True
        clock.advance(1)
        for _ in range(400):
            await outbox.verbs.release(Filter(state=State.HELD))
            clock.advance(900)
            await self.written(outbox)
            while self.under_way:
                self.answer()
                await self.written(outbox)
            if not (await outbox.verbs.list()).messages:
                return
        left = (await outbox.verbs.list(limit=1000)).messages
        raise AssertionError(f"lost from sight: {left}")


@pytest.mark.parametrize("seed", range(12))
@ensureDeferred
async def test_nothing_queued_is_lost_from_sight(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (agent, due):
        monkeypatch.setattr(module, "PAGE", 3)
    monkeypatch.setattr(due, "_KEYS", 5)
    monkeypatch.setattr(lanes, "LANE_BYTES", 10_000)
    monkeypatch.setattr(lanes, "TOTAL_BYTES", 20_000)
    sight, clock = Sight(seed), SteeredReactor(reactor)
    schedule = Schedule(life=1000 * DAY, delay_notice=0)
    async with opened_queue(tmp_path, sight, reactor=clock, schedule=schedule) as outbox:  # type: ignore[arg-type]
        sight.fill_disk_at_times(outbox._parts.storage, monkeypatch)  # type: ignore[union-attr]
        for _ in range(150):
            await sight.step(outbox, clock)
        await sight.end(outbox, clock)
        assert not sight.wrong
        inside = outbox._parts.agent  # type: ignore[union-attr]
        await until(lambda: not inside._lanes, reactor=reactor)
        assert not inside._inside
        assert inside._bytes == 0
