"""Several services share what an account may be given (S26)."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.logger import Logger

from netserve.crossing import ensure_deferred
from netserve.mail.envelope import Envelope, Recipient
from netserve.mail.queued import QueuedMessage, QueuedRecipient, submission
from netserve.outbox import Destination, Outbox, Schedule
from netserve.outbox.budgets import Budget, Budgets
from netserve.outbox.lanes import Delivery, Lane
from netserve.outbox.quota import Quota, Slice
from netserve.testing.queue import DELIVERED, UNREACHED, WALL, Courier, SteeredReactor, until

HOUR = 3600.0


def delivery(recipients: int = 1) -> Delivery:
    message = QueuedMessage(
        id="0", number=0, service="mail", created=0, sender="", size=9, tasks=recipients,
        open_body=lambda: None,  # type: ignore[arg-type, return-value]
    )  # fmt: skip
    some = [QueuedRecipient(n, f"{n}@example.org") for n in range(recipients)]
    return Delivery(message, some, Destination("x"))


def lanes(budget: Budget, *waiting: int) -> list[Lane]:
    made = [Lane(f"mail{at} x", limit=20) for at in range(len(waiting))]
    for lane, count in zip(made, waiting, strict=True):
        lane.budget, lane.window = budget, inf
        for _ in range(count):
            lane.put(delivery())
    return made


def begin(lane: Lane, now: float = 0.0) -> Delivery | None:
    """What the agent does when it pumps a lane, for one delivery."""
    budget = lane.budget
    assert budget is not None
    return lane.take(now) if lane.waiting and budget.grants(lane, now) else None


def test_lanes_take_turns() -> None:
    budget = Budget("a", limit=1)
    made = lanes(budget, 9, 9, 9)
    running = begin(made[0])
    for lane in made:
        assert begin(lane) is None
    order = []
    for _ in range(9):
        assert running is not None
        budget.give_back(0.0, 0)
        lane = budget.next_lane(0.0)
        assert lane is not None
        order.append(lane.name[:5])
        running = begin(lane)
        begin(lane)  # it wants the next one, too, and gets into the line
    assert order == ["mail0", "mail1", "mail2"] * 3


def test_a_lane_that_cannot_begin_loses_its_turn() -> None:
    budget = Budget("a", limit=1)
    first, second, third = lanes(budget, 1, 1, 1)
    budget.running = 1
    for lane in (first, second, third):
        assert not budget.grants(lane, 0.0)
    first.rests_until = 99.0
    second.waiting.clear()
    budget.running = 0
    assert budget.next_lane(0.0) is third
    assert list(budget.waiting) == [third]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=60), st.integers(1, 5))
def test_there_are_never_more_than_the_limit(steps: list[tuple[int, int]], limit: int) -> None:
    """Whatever begins and ends in whichever lane, and none waits where there is room."""
    budget = Budget("a", limit=limit)
    made = lanes(budget, 20, 20, 20, 20)
    running: list[Delivery] = []
    for which, ends in steps:
        if (one := begin(made[which])) is not None:
            running.append(one)
        for _ in range(min(ends, len(running))):
            running.pop()
            budget.give_back(0.0, 0)
        while (lane := budget.next_lane(0.0)) is not None:
            one = begin(lane)
            assert one is not None
            running.append(one)
        assert budget.running == len(running) <= limit


def test_a_quota_is_shared_and_taken_in_turns() -> None:
    budgets = Budgets(lambda _: None)
    destination = Destination("x", quotas=(Quota(2, HOUR),), account="a")
    budget = budgets.of(destination, 0.0)
    assert budget is not None
    first, second = lanes(budget, 5, 5)
    assert begin(first) is not None
    assert begin(first) is not None
    assert begin(first) is None
    assert begin(second) is None
    later = budget.free_at(first, 0.0)
    assert later >= HOUR
    assert budget.next_lane(0.0) is None
    order = [budget.next_lane(later)]
    assert begin(first, later) is not None
    assert begin(first, later) is None
    order.append(budget.next_lane(later))
    assert order == [first, second]


def test_what_nobody_there_has_counted_is_given_back() -> None:
    budgets = Budgets(lambda _: None)
    budget = budgets.of(Destination("x", quotas=(Quota(1, HOUR),)), 0.0)
    assert budget is not None
    (lane,) = lanes(budget, 3)
    one = begin(lane)
    assert one is not None
    lane.ended(one, {0: UNREACHED}, 0.0)
    lane.rests_until = 0.0
    one = begin(lane)
    assert one is not None
    lane.ended(one, {0: DELIVERED}, 0.0)
    assert begin(lane) is None


def test_a_budget_is_the_same_for_an_account_and_kept_while_it_counts() -> None:
    budgets = Budgets(lambda _: None)
    plain = Destination("x", account="a")
    first = budgets.of(plain, 0.0)
    assert first is not None
    assert budgets.of(Destination("y", 3, account="a"), 0.0) is first
    assert first.limit == 3
    assert budgets.of(Destination("x"), 0.0) is None, "without an account or a quota"
    first.lanes = 1
    budgets.lane_ended(first, 0.0)
    assert len(budgets) == 0
    limited = budgets.of(Destination("x", quotas=(Quota(1, HOUR),), account="a"), 0.0)
    assert limited is not None
    assert limited.usage is not None
    limited.usage.add(0.0, 1)
    limited.lanes = 1
    budgets.lane_ended(limited, 0.0)
    assert len(budgets) == 1, "what was used counts"
    limited.lanes = 1
    budgets.lane_ended(limited, 2 * HOUR)
    assert len(budgets) == 0


@pytest.mark.parametrize("name", ["a", "x"])
def test_what_was_used_before_a_restart_counts(name: str) -> None:
    """By the account, or as before version 3 by the destination's key."""
    budgets = Budgets(lambda _: None)
    budgets.begin({name: [Slice(HOUR, 0.0, 2)], "other": [Slice(HOUR, 0.0, 9)]})
    budget = budgets.of(Destination("x", quotas=(Quota(2, HOUR),), account="a"), 10.0)
    assert budget is not None
    (lane,) = lanes(budget, 1)
    assert budget.free_at(lane, 10.0) >= HOUR


class Shared(Courier):
    """A courier whose destinations are of one account.

    Arguments:
        options: of the destination.
    """

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.options = options

    def destination(self, message: QueuedMessage, recipient: QueuedRecipient) -> Destination:
        return Destination("x", account="the account", **self.options)  # type: ignore[arg-type]


@asynccontextmanager
async def services(
    folder: Path, couriers: Sequence[Courier], *, later: float = 0.0
) -> AsyncIterator[tuple[Outbox, SteeredReactor]]:
    """A queue of several services."""
    clock = SteeredReactor(reactor)
    outbox = Outbox(
        folder,
        reactor=clock,
        log=Logger(),
        random=random.Random(0),
        wall=lambda: WALL + later,
    )
    for at, courier in enumerate(couriers):
        outbox.attach(f"mail{at}", courier, Schedule(jitter=0))
    await outbox.open()
    try:
        yield outbox, clock
    finally:
        await outbox.close()


async def send(outbox: Outbox, service: int, count: int = 1) -> None:
    for number in range(count):
        incoming = outbox.incoming()
        incoming.write(b"x")
        envelope = Envelope(sender="", recipients=(Recipient(f"{number}@x.org"),))
        await incoming.commit(f"mail{service}", submission(envelope))
    await outbox.verbs.list()  # the last one is given to delivery after its commit was told


@ensureDeferred
async def test_services_share_concurrency_and_take_turns(tmp_path: Path) -> None:
    """S26: one with a long queue does not keep the other from its turn."""
    couriers = [Shared(concurrency=2), Shared(concurrency=2)]
    for courier in couriers:
        courier.waits = True
    async with services(tmp_path, couriers) as (outbox, _):
        await send(outbox, 0, 20)
        await send(outbox, 1, 5)
        while len(couriers[1].delivered) < 5:
            await until(lambda: any(courier.waiting for courier in couriers), reactor=reactor)
            assert sum(len(courier.waiting) for courier in couriers) <= 2
            next(courier for courier in couriers if courier.waiting).waiting.pop(0)()
        assert len(couriers[0].delivered) <= 10, "it had every second turn"
        while (await outbox.verbs.list()).messages:
            for courier in couriers:
                while courier.waiting:
                    courier.waiting.pop()()


@pytest.mark.parametrize("quotas", [(2, 2), (2, 2, 2, 2)])
@ensureDeferred
async def test_services_share_a_quota_over_a_restart(
    tmp_path: Path, quotas: tuple[int, ...]
) -> None:
    """S26: `2/hour` in each of several services is two an hour in all."""

    def made() -> list[Shared]:
        return [Shared(quotas=(Quota(count, HOUR),)) for count in quotas]

    def delivered() -> int:
        return sum(len(courier.delivered) for courier in couriers)

    couriers = made()
    async with services(tmp_path, couriers) as (outbox, clock):
        for at in range(len(quotas)):
            await send(outbox, at, 3)
        await until(lambda: delivered() == 2, reactor=reactor)
        clock.advance(HOUR / 2)
        await outbox.verbs.list()
        assert delivered() == 2
    couriers = made()
    async with services(tmp_path, couriers, later=HOUR / 2 + 1) as (outbox, clock):
        await outbox.verbs.list()
        assert delivered() == 0
        begun = []
        for round_ in range(1, len(quotas) + 1):
            clock.advance(HOUR * 1.02)
            await until(lambda wanted=2 * round_: delivered() >= wanted, reactor=reactor)
            assert delivered() == 2 * round_
            begun.append([len(courier.delivered) for courier in couriers])
        assert min(begun[-1]) >= 1, "each has had its turn"


@ensureDeferred
async def test_a_delivery_that_a_crash_has_ended_counts(tmp_path: Path) -> None:
    """S26: the server may have counted it, whatever we know."""
    courier = Shared(quotas=(Quota(2, HOUR),))
    courier.waits = True
    async with services(tmp_path, [courier]) as (outbox, clock):
        await send(outbox, 0, 3)
        assert len(courier.waiting) == 2
        outbox.cut()
        closing = ensure_deferred(outbox.close())
        clock.advance(0)
        await closing
    courier = Shared(quotas=(Quota(2, HOUR),))
    async with services(tmp_path, [courier], later=60) as (outbox, clock):
        await outbox.verbs.list()
        assert courier.delivered == []
        clock.advance(HOUR * 1.02)
        await until(lambda: len(courier.delivered) == 2, reactor=reactor)
