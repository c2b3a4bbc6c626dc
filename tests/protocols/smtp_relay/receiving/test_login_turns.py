"""Whose login is verified next (S23, S24)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netserve.protocols.smtp_relay.receiving.login_turns import (
    CROWD,
    Lane,
    LoginTurns,
    Waiting,
)


def login(address: str, user: str = "u", lane: Lane = Lane.NEW) -> Waiting[str]:
    return Waiting(f"{address}/{user}", address, user, lane)


def order(turns: LoginTurns[str]) -> list[str]:
    """The jobs as they have their turns, one after another."""
    found = []
    while (waiting := turns.next()) is not None:
        found.append(waiting.job)
        turns.done(waiting)
    return found


def test_addresses_take_turns() -> None:
    turns: LoginTurns[str] = LoginTurns(places=2, queue=10)
    for name in "aaabbc":
        assert turns.enter(login(name)) is None
    assert order(turns) == ["a/u", "b/u", "c/u", "a/u", "b/u", "a/u"]


def test_users_of_an_address_take_turns() -> None:
    turns: LoginTurns[str] = LoginTurns(places=2, queue=10)
    for user in "xxxyyz":
        turns.enter(login("a", user))
    assert order(turns) == ["a/x", "a/y", "a/z", "a/x", "a/y", "a/x"]


def test_an_address_has_half_of_the_places() -> None:
    turns: LoginTurns[str] = LoginTurns(places=4, queue=10)
    for _ in range(5):
        turns.enter(login("a"))
    taken = [turns.next() for _ in range(3)]
    assert [each is not None for each in taken] == [True, True, False]
    turns.enter(login("b"))
    other = turns.next()
    assert other is not None
    assert other.address == "b"
    assert taken[0] is not None
    turns.done(taken[0])
    again = turns.next()
    assert again is not None
    assert again.address == "a"


def test_who_has_failed_leaves_a_place_free() -> None:
    turns: LoginTurns[str] = LoginTurns(places=2, queue=10)
    for number in range(5):
        turns.enter(login(f"a{number}", lane=Lane.FAILED))
    assert turns.next() is not None
    assert turns.next() is None
    turns.enter(login("new"))
    assert turns.next() is not None


@pytest.mark.parametrize("better", [Lane.KNOWN, Lane.NEW])
def test_lanes_have_their_order_and_none_is_passed_over_for_good(better: Lane) -> None:
    turns: LoginTurns[str] = LoginTurns(places=1, queue=100)
    for _ in range(2):
        turns.enter(login("failed", lane=Lane.FAILED))
    for number in range(8):
        turns.enter(login(f"good{number}", lane=better))
    names = [job.split("/")[0].rstrip("0123456789") for job in order(turns)]
    assert names == [*["good"] * 3, "failed", *["good"] * 3, "failed", "good", "good"]


def test_the_queue_of_an_address_is_bounded() -> None:
    """S8: the user who has most in it gives way, be it the one that comes."""
    turns: LoginTurns[str] = LoginTurns(places=2, queue=3)
    flood = [login("a", "x") for _ in range(4)]
    assert [turns.enter(each) for each in flood] == [None, None, None, flood[3]]
    other = login("a", "y")
    assert turns.enter(other) is flood[2]
    one_more = login("a", "y")
    assert turns.enter(one_more) is one_more
    assert turns.enter(login("b")) is None
    assert turns.enter(login("a", "x", Lane.KNOWN)) is None, "each lane has its own queue"
    assert len(turns) == 5


def test_the_newest_of_a_crowd_goes_first() -> None:
    """So that the first guesses of many addresses make nobody wait for all of them."""
    turns: LoginTurns[str] = LoginTurns(places=2, queue=3)
    for number in range(CROWD + 10):
        turns.enter(login(f"guesser{number}"))
    turns.enter(login("good"))
    assert order(turns)[0] == "good/u"
    turns.enter(login("one"))
    turns.enter(login("two"))
    assert order(turns) == ["one/u", "two/u"]


def test_who_leaves_has_no_turn() -> None:
    turns: LoginTurns[str] = LoginTurns(places=2, queue=3)
    gone, other = login("a", "x"), login("a", "y")
    turns.enter(gone)
    turns.enter(other)
    turns.leave(gone)
    turns.leave(gone)
    assert order(turns) == ["a/y"]
    turns.leave(other)
    assert len(turns) == 0


_ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.sampled_from("abcd"), st.sampled_from("xyz"),
                  st.sampled_from(Lane)),
        st.just(("next",)),
        st.tuples(st.sampled_from(["done", "leave"]), st.integers(0, 30)),
    ),
    max_size=80,
)  # fmt: skip


class History:
    """What `LoginTurns` has done, and what holds at any time."""

    def __init__(self, places: int, queue: int) -> None:
        self.turns: LoginTurns[str] = LoginTurns(places=places, queue=queue)
        self.places, self.queue = places, queue
        self.waiting: list[Waiting[str]] = []
        self.running: list[Waiting[str]] = []

    def enter(self, address: str, user: str, lane: Lane) -> None:
        new = login(address, user, lane)
        self.waiting.append(new)
        crowded_out = self.turns.enter(new)
        if crowded_out is not None:
            self.waiting.remove(crowded_out)

    def next(self) -> None:
        taken = self.turns.next()
        if taken is not None:
            self.waiting.remove(taken)
            self.running.append(taken)

    def done(self, at: int) -> None:
        if self.running:
            self.turns.done(self.running.pop(at % len(self.running)))

    def leave(self, at: int) -> None:
        if self.waiting:
            self.turns.leave(self.waiting.pop(at % len(self.waiting)))

    def check(self) -> None:
        assert len(self.turns) == len(self.waiting)
        assert len(self.running) <= self.places
        for address in "abcd":
            running = sum(each.address == address for each in self.running)
            assert running <= max(1, self.places // 2)
            for lane in Lane:
                here = [
                    each for each in self.waiting if (each.address, each.lane) == (address, lane)
                ]
                assert len(here) <= self.queue


@settings(deadline=None)
@given(_ACTIONS, st.integers(1, 5), st.integers(1, 4))
def test_in_any_history_each_login_has_one_end(
    actions: list[tuple[str, ...]], places: int, queue: int
) -> None:
    history = History(places, queue)
    for name, *arguments in actions:
        getattr(history, name)(*arguments)
        history.check()
    for each in history.running:
        history.turns.done(each)
    left = order(history.turns)
    assert sorted(left) == sorted(each.job for each in history.waiting)
    assert (history.turns._running, any(history.turns._running_in.values())) == ({}, False)
    assert not any(history.turns._lanes.values())
