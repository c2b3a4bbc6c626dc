"""The reactor's time in turns: bounded, and fair to services, addresses, connections (S23)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netserve.fairness.turns import SLICE, TURN, UNMEASURED, Share, Turn, Turns


class Reactor:
    """A reactor and a clock that only work moves on."""

    def __init__(self) -> None:
        self.now = 100.0
        self.soon: list[Callable[[], None]] = []
        self.turns = Turns(self.soon.append, now=lambda: self.now)
        self.failures: list[Exception] = []

    def share(self) -> Share:
        return self.turns.share(self.failures.append)

    def turn(self) -> None:
        """Do what was called for the next turn."""
        soon, self.soon[:] = list(self.soon), []
        for call in soon:
            call()


class Connection:
    """Has units of work, each of which takes its time."""

    def __init__(
        self, reactor: Reactor, share: Share, address: str, units: int, cost: float = 0.0004
    ) -> None:
        self.reactor = reactor
        self.left = units
        self.cost = cost
        self.aborted = False
        self.turn: Turn = share.turn(address, self.work, self.abort)

    def work(self) -> bool:
        while self.left:
            self.left -= 1
            self.reactor.now += self.cost
            if self.turn.is_over():
                break
        return bool(self.left)

    def abort(self) -> None:
        self.aborted = True


def test_a_little_work_is_done_at_once() -> None:
    reactor = Reactor()
    one = Connection(reactor, reactor.share(), "a", units=1)
    one.turn.ask()
    assert (one.left, one.turn.waits) == (0, False)


def test_much_work_is_done_in_slices() -> None:
    """S23: one connection does no more in one go than a slice, and one unit of work."""
    reactor = Reactor()
    one = Connection(reactor, reactor.share(), "a", units=1000)
    began = reactor.now
    one.turn.ask()
    assert reactor.now - began <= SLICE + one.cost
    assert one.turn.waits
    while one.left:
        began = reactor.now
        reactor.turn()
        assert reactor.now - began <= TURN + SLICE + one.cost
    assert not one.turn.waits


@pytest.mark.parametrize("connections", [1, 10, 1000])
def test_a_turn_of_the_reactor_is_bounded_whatever_the_connections(connections: int) -> None:
    """S23: new work stops when the turn is no longer young, and waits."""
    reactor = Reactor()
    share = reactor.share()
    began = reactor.now
    all_of_them = [Connection(reactor, share, "a", units=50) for _ in range(connections)]
    for one in all_of_them:
        one.turn.ask()
    assert reactor.now - began <= TURN + SLICE + 0.0004
    while any(one.left for one in all_of_them):
        began = reactor.now
        reactor.turn()
        assert reactor.now - began <= TURN + SLICE + 0.0004


def test_other_services_and_addresses_come_between() -> None:
    """S23, S24: 1,000 connections of one address delay others by one slice, not by 1,000."""
    reactor = Reactor()
    attacked, other = reactor.share(), reactor.share()
    hogs = [Connection(reactor, attacked, "a", units=10_000) for _ in range(1000)]
    for hog in hogs:
        hog.turn.ask()
    polite = Connection(reactor, other, "b", units=1)
    beside = Connection(reactor, attacked, "b", units=1)
    polite.turn.ask()
    beside.turn.ask()
    assert polite.turn.waits
    began = reactor.now
    while polite.left or beside.left:
        reactor.turn()
    assert reactor.now - began <= TURN + 3 * SLICE


def test_small_pieces_are_measured_once_there_are_many_in_a_turn() -> None:
    """S9: small pieces of work of thousands of connections end with the time of a turn as well."""
    reactor = Reactor()
    done = 0
    while reactor.turns.has_time():
        reactor.now += 0.00005
        done += 1
    assert UNMEASURED < done <= UNMEASURED + TURN / 0.00005 + 2
    reactor.turn()
    assert reactor.turns.has_time()


def test_work_that_only_begins_something_is_charged_for_it() -> None:
    """S23: what it brings about is done elsewhere, in the same turn of the reactor."""
    reactor = Reactor()
    share = reactor.share()
    begun: list[int] = []
    for number in range(1000):
        share.turn("a", lambda number=number: begun.append(number), cost=SLICE).ask()  # type: ignore[misc]  # binds the number
    assert len(begun) <= TURN / SLICE + 1
    for turn in range(2, 10):
        reactor.turn()
        assert len(begun) <= turn * (TURN / SLICE + 1)


def test_work_that_fails_in_its_turn_costs_its_connection_and_no_other() -> None:
    reactor = Reactor()
    share = reactor.share()
    hog = Connection(reactor, share, "a", units=1000)
    for _ in range(10):
        Connection(reactor, share, "a", units=1000).turn.ask()
    broken = Connection(reactor, share, "b", units=1)
    broken.turn.work = lambda: 1 / 0
    broken.turn.ask()
    hog.turn.ask()
    assert broken.turn.waits
    reactor.turn()
    assert (broken.aborted, [type(error) for error in reactor.failures]) == (
        True, [ZeroDivisionError],
    )  # fmt: skip
    while hog.left:
        reactor.turn()


def test_work_that_fails_at_once_fails_there() -> None:
    reactor = Reactor()
    turn = reactor.share().turn("a", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        turn.ask()
    assert not turn.waits


def test_who_is_gone_is_not_worked_for() -> None:
    reactor = Reactor()
    share = reactor.share()
    hogs = [Connection(reactor, share, "a", units=100) for _ in range(20)]
    for hog in hogs:
        hog.turn.ask()
    waits = [hog for hog in hogs if hog.turn.waits]
    left = [hog.left for hog in waits]
    for hog in waits:
        hog.turn.drop()
        hog.turn.ask()
    for _ in range(5):
        reactor.turn()
    assert [hog.left for hog in waits] == left
    assert (share.waiting, reactor.soon) == (0, [])


def test_who_is_asked_while_at_work_works_once_more() -> None:
    reactor = Reactor()
    calls: list[str] = []

    def work() -> bool:
        calls.append("work")
        if len(calls) == 1:
            turn.ask()
        return False

    turn = reactor.share().turn("a", work)
    turn.ask()
    reactor.turn()
    reactor.turn()
    assert calls == ["work", "work"]


def test_work_within_work_has_a_slice_of_its_own() -> None:
    reactor = Reactor()
    share = reactor.share()
    inner = Connection(reactor, share, "b", units=2)

    def work() -> bool:
        reactor.now += SLICE / 2
        inner.turn.ask()
        assert outer.is_over() is (reactor.now >= 100.0 + SLICE)
        return False

    outer = share.turn("a", work)
    outer.ask()
    assert inner.left == 0


@settings(deadline=None)
@given(
    plan=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from("abc"), st.integers(1, 60)),
        min_size=1, max_size=30,
    )
)  # fmt: skip
def test_everything_is_done_and_nobody_is_served_twice_before_the_others(
    plan: list[tuple[int, str, int]],
) -> None:
    """S23: whatever the connections, their work is done, in rounds."""
    reactor = Reactor()
    shares = [reactor.share() for _ in range(3)]
    all_of_them = [
        Connection(reactor, shares[number], address, units) for number, address, units in plan
    ]
    for one in all_of_them:
        one.turn.ask()
    rounds = Counter[int]()
    for _ in range(10_000):
        if not any(one.left for one in all_of_them):
            break
        before = [one.left for one in all_of_them]
        reactor.turn()
        rounds.update(n for n, one in enumerate(all_of_them) if one.left != before[n])
    assert not any(one.left for one in all_of_them)
    assert not reactor.failures
    reactor.turn()
    reactor.turn()
    assert reactor.soon == []
